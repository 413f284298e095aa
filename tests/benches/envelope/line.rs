//! As much of MQTT 3.1.1 as load and ears need, and no more: a client library would cost more than what is measured.

use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;

/// A connection to the broker.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were looked at.
    used: usize,
}

/// A packet as it came.
#[derive(Debug)]
pub(crate) struct Packet {
    first: u8,
    body: std::ops::Range<usize>,
}

impl Line {
    /// A new session.
    pub(crate) fn connect(port: u16, name: &str) -> Result<Line> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("no broker")?;
        stream.set_nodelay(true)?;
        let mut line = Line { stream, buffer: Vec::new(), used: 0 };
        let mut body = Vec::new();
        put_text(&mut body, "MQTT");
        // Version 3.1.1, a clean session, no keep-alive.
        body.extend([4, 2, 0, 0]);
        put_text(&mut body, name);
        line.send(&packet(0x10, &body))?;
        let answer = line.next()?;
        ensure!(answer.first >> 4 == CONNACK, "the broker does not let {name} in");
        Ok(line)
    }

    /// Subscribes and waits for the answer.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let mut body = vec![0, 1];
        put_text(&mut body, filter);
        body.push(qos);
        self.send(&packet(0x82, &body))?;
        while self.next()?.first >> 4 != SUBACK {}
        Ok(())
    }

    /// The same connection, to send on while another thread reads.
    pub(crate) fn handle(&self) -> Result<TcpStream> {
        Ok(self.stream.try_clone()?)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next message, acknowledged: its topic and its payload.
    pub(crate) fn message(&mut self) -> Result<(&str, &[u8])> {
        loop {
            let Packet { first, body } = self.next()?;
            if first >> 4 != PUBLISH {
                continue;
            }
            let bytes = &self.buffer[body.clone()];
            let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            let id = 2 + length;
            let mut payload = body.start + id;
            if first & 0b110 != 0 {
                let acknowledgement = [0x40, 2, bytes[id], bytes[id + 1]];
                payload += 2;
                self.stream.write_all(&acknowledgement)?;
            }
            let topic = std::str::from_utf8(&self.buffer[body.start + 2..body.start + id])?;
            return Ok((topic, &self.buffer[payload..body.end]));
        }
    }

    fn next(&mut self) -> Result<Packet> {
        loop {
            if let Some((first, body)) = whole(&self.buffer[self.used..]) {
                let body = self.used + body.start..self.used + body.end;
                self.used = body.end;
                return Ok(Packet { first, body });
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let known = self.buffer.len();
            self.buffer.resize(known + 65_536, 0);
            let count = self.stream.read(&mut self.buffer[known..])?;
            self.buffer.truncate(known + count);
            ensure!(count > 0, "the broker has closed the connection");
        }
    }
}

/// The first packet, if it is whole.
fn whole(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (mut length, mut place) = (0, 1);
    loop {
        let byte = *bytes.get(place)?;
        length |= usize::from(byte & 0x7f) << (7 * (place - 1));
        place += 1;
        if byte < 0x80 {
            break;
        }
    }
    (bytes.len() >= place + length).then(|| (bytes[0], place..place + length))
}

/// Adds a message to what is to be sent; with a packet id it is one of QoS 1.
pub(crate) fn put_message(into: &mut Vec<u8>, topic: &str, payload: &[u8], packet_id: Option<u16>) {
    let length = 2 + topic.len() + packet_id.map_or(0, |_| 2) + payload.len();
    into.push(0x30 | u8::from(packet_id.is_some()) << 1);
    put_length(into, length);
    put_text(into, topic);
    into.extend(packet_id.into_iter().flat_map(u16::to_be_bytes));
    into.extend_from_slice(payload);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    put_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

fn put_length(into: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        into.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}
