//! Receivers of reactions as processes of their own: aiosmtpd and Python's HTTP server, told what to do line by line.

use super::{PATIENCE, free_port, until};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A server, and everything that it has received.
pub struct Server {
    pub port: u16,
    script: PathBuf,
    arguments: Vec<String>,
    process: Option<(Child, ChildStdin)>,
    lines: Receiver<Value>,
    sender: std::sync::mpsc::Sender<Value>,
    /// Everything received so far, over restarts too.
    pub all: Vec<Value>,
}

impl Server {
    /// An SMTP server; `mode` is starttls, login, tls or none.
    pub fn mail(certificates: &Path, mode: &str) -> Server {
        let file = |name: &str| certificates.join(name).display().to_string();
        Server::start("mail.py", vec![file("server.pem"), file("server.key"), mode.to_owned()])
    }

    /// An HTTP server.
    pub fn http() -> Server {
        Server::start("web.py", Vec::new())
    }

    /// An HTTPS server that asks for a client certificate.
    pub fn https(certificates: &Path) -> Server {
        let file = |name: &str| certificates.join(name).display().to_string();
        Server::start("web.py", vec![file("server.pem"), file("server.key"), file("ca.pem")])
    }

    fn start(script: &str, arguments: Vec<String>) -> Server {
        let (sender, lines) = channel();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers").join(script);
        let mut server = Server { port: free_port(), script, arguments, process: None, lines, sender, all: Vec::new() };
        server.restart();
        server
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        // Debian's Python, because Debian's aiosmtpd is installed there.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(&self.script).arg(self.port.to_string()).args(&self.arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let input = process.stdin.take().unwrap();
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        self.process = Some((process, input));
        self.control(|line| line["ready"] == true);
    }

    /// Ends it: from now on connections are refused.
    pub fn stop(&mut self) {
        if let Some((mut process, _)) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Changes what it does with whoever comes from now on.
    pub fn behave(&mut self, how: &str) {
        let (_, input) = self.process.as_mut().unwrap();
        writeln!(input, "{how}").unwrap();
        self.control(|line| line["behaves"] == how);
    }

    /// Waits for a word about the server itself; what was received meanwhile is kept.
    fn control(&mut self, mut fits: impl FnMut(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the server is there; is python3-aiosmtpd installed?");
            if fits(&line) {
                return;
            }
            self.all.push(line);
        }
    }

    /// Takes what has come without waiting for more.
    pub fn drain(&mut self) -> &[Value] {
        self.all.extend(self.lines.try_iter());
        &self.all
    }

    /// Waits until so many that fit were received, and gives them.
    pub fn received(&mut self, count: usize, mut fits: impl FnMut(&Value) -> bool) -> Vec<Value> {
        until("what the server should receive", || {
            let found: Vec<Value> = self.drain().iter().filter(|seen| fits(seen)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last: Vec<String> = self.drain().iter().rev().take(10).map(ToString::to_string).collect();
            eprintln!("the last things that the server on port {} has received:\n{}", self.port, last.join("\n"));
        }
        self.stop();
    }
}
