//! The command line as an operator uses it, and somebody who answers in the daemon's place.

use super::{PATIENCE, PROGRAM, until};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

/// Somebody with a configuration and a shell.
pub struct Operator {
    folder: TempDir,
}

/// What a command line has brought about.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// What a terminal shows when the program has ended in it.
const LEFT: &str = "-- left --";

impl Operator {
    /// With what an operator needs to know of the gateway `gw`: who it is, and which broker it uses.
    pub fn at(port: u16) -> Operator {
        Operator::with(&format!("[gateway]\nid = \"gw\"\n\n[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\n"))
    }

    pub fn with(config: &str) -> Operator {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("annunciator.toml"), config).unwrap();
        Operator { folder }
    }

    fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(verb.split(' ')).arg("--config").arg(self.folder.path().join("annunciator.toml")).args(args);
        command.env("TZ", "UTC").env("USER", "kim").env_remove("SUDO_USER").stdin(Stdio::null());
        command
    }

    /// Does it and waits for the end.
    pub fn does(&self, verb: &str, args: &[&str]) -> Done {
        let Output { status, stdout, stderr } = self.command(verb, args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
    }

    /// Does it and succeeds.
    pub fn succeeds(&self, verb: &str, args: &[&str]) -> String {
        let done = self.does(verb, args);
        assert_eq!(done.code, 0, "{verb} {args:?}: {done:?}");
        done.out
    }

    /// Begins something that goes on.
    pub fn begins(&self, verb: &str, args: &[&str]) -> Ongoing {
        let mut command = self.command(verb, args);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        for pipe in [
            Box::new(process.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
            Box::new(process.stderr.take().unwrap()),
        ] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(pipe).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
            });
        }
        Ongoing { process, lines }
    }

    /// Does it in a terminal of 80 columns, and types Ctrl-C when this has appeared; everything that the terminal got.
    pub fn looks_until(&self, verb: &str, sign: &str) -> String {
        let (code, seen) = self.breaks_off_at(verb, sign);
        assert_eq!(code, Some(0), "{seen:?}");
        seen
    }

    /// The same, with the exit status.
    pub fn breaks_off_at(&self, verb: &str, sign: &str) -> (Option<i32>, String) {
        let file = self.folder.path().join("annunciator.toml");
        // Ctrl-C throws away what is on its way to the screen, and so may the end of the terminal: it is told not to, and
        // the shell stays until everything was seen.
        let look = format!("{PROGRAM} {verb} --config {}", file.display());
        let line =
            format!("trap : INT; stty cols 80 rows 10 noflsh; {look}; code=$?; echo {LEFT}; read key; exit $code");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm").env("TZ", "UTC");
        command.env_remove("NO_COLOR").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (mut keyboard, mut screen) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4_096];
            while let Ok(length @ 1..) = screen.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut seen = Vec::new();
        let text = |seen: &[u8]| String::from_utf8_lossy(seen).into_owned();
        for (sign, key) in [(sign, b"\x03"), (LEFT, b"\n")] {
            while !text(&seen).contains(sign) {
                let piece = pieces.recv_timeout(PATIENCE);
                seen.extend(piece.unwrap_or_else(|_| panic!("waited for {sign:?} in {:?}", text(&seen))));
            }
            keyboard.write_all(key).unwrap();
        }
        let status = until("the end", || process.try_wait().unwrap());
        seen.extend(pieces.iter().flatten());
        (status.code(), text(&seen))
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// A command line that has not ended.
pub struct Ongoing {
    process: Child,
    lines: Receiver<String>,
}

impl Ongoing {
    /// The next line that it writes, for data or for people.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// The next line with this in it.
    pub fn line_with(&self, part: &str) -> String {
        std::iter::repeat_with(|| self.line()).find(|line| line.contains(part)).unwrap()
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers commands as it is told to.
pub struct Responder {
    client: Client,
    asked: Receiver<(String, Value)>,
}

impl Responder {
    /// Says that it is online, and answers. No answer: it keeps silent.
    pub fn start(port: u16, mut answer: impl FnMut(&str, &Value) -> Option<Value> + Send + 'static) -> Responder {
        let mut options = MqttOptions::new("responder", "127.0.0.1", port);
        options.set_max_packet_size(1 << 24, 1 << 24);
        let (client, mut connection) = Client::new(options, 10_000);
        let (sender, asked) = channel();
        let (ready, subscribed) = channel();
        let answerer = client.clone();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => ready.send(()).unwrap(),
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let verb = publish.topic.strip_prefix("annunciator/gw/commands/").unwrap().to_owned();
                        let command: Value = serde_json::from_slice(&publish.payload).unwrap();
                        if let Some(mut reply) = answer(&verb, &command) {
                            reply["request"] = command["request"].clone();
                            let topic = "annunciator/gw/replies";
                            answerer.try_publish(topic, QoS::AtLeastOnce, false, reply.to_string()).unwrap();
                        }
                        if sender.send((verb, command)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        client.subscribe("annunciator/gw/commands/#", QoS::AtLeastOnce).unwrap();
        subscribed.recv_timeout(PATIENCE).unwrap();
        let responder = Responder { client, asked };
        responder.status(&json!({ "state": "online", "since": "2026-05-01T12:00:00Z" }));
        responder
    }

    /// Publishes a retained status.
    pub fn status(&self, status: &Value) {
        self.publish("status", &status.to_string(), true);
    }

    /// Publishes under the gateway's base.
    pub fn publish(&self, topic: &str, payload: &str, retain: bool) {
        self.client.publish(format!("annunciator/gw/{topic}"), QoS::AtLeastOnce, retain, payload).unwrap();
    }

    /// The next command, as it came.
    pub fn heard(&self) -> (String, Value) {
        self.asked.recv_timeout(PATIENCE).expect("another command")
    }

    /// The next command, without what every command carries.
    pub fn asked(&self) -> (String, Value) {
        let (verb, mut command) = self.heard();
        let members = command.as_object_mut().unwrap();
        assert!(members.remove("request").unwrap().is_string());
        let time = members.remove("time").unwrap();
        annunciator::domain::time::Stamp::parse(time.as_str().unwrap()).unwrap();
        (verb, command)
    }
}
