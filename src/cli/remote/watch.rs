//! `annunciator watch`: the active alarms, live.
//!
//! On a terminal a picture that is drawn anew when something changes, and once a second because times do; anywhere else
//! one line for each change. It only reads what is published: no command is sent, so a read-only user can watch.

mod board;

use super::super::output::interrupt::leave_with;
use super::super::output::terminal::{Paper, json_line, printable};
use super::super::{Failure, say};
use super::Remote;
use crate::client::{Client, Message, Trouble};
use crate::config::Config;
use crate::domain::time::Span;
use crate::io::clock;
use board::Board;
use std::io::Write as _;

/// Times are shown in seconds.
const TICK: Span = Span::from_secs(1);
/// Messages that may be taken before the picture is drawn: all retained states of a large gateway in a few pictures.
const AT_ONCE: usize = 1_000;
/// Before it is tried to connect again.
const PAUSE: Span = Span::from_secs(2);

/// Another screen, no cursor, lines that are too long do not wrap (xterm control sequences, DECSET).
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// And back.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    remote: Remote,
    /// One line for each change, as JSON: the alarm's retained state
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.remote.load()?;
    let mut client = open(args, &config)?;
    let paper = Paper::stdout();
    let mut view: Box<dyn View> = if paper.is_terminal && !args.json {
        leave_on_signals()?;
        Box::new(Screen::enter(paper, Board::of(&config.gateway))?)
    } else {
        Box::new(Lines { board: Board::of(&config.gateway), is_json: args.json, was: None })
    };
    loop {
        let trouble = match look(&mut client, view.as_mut()) {
            Err(Failure::Run(error)) => error.downcast::<Trouble>()?,
            Err(other) => return Err(other),
            Ok(never) => match never {},
        };
        view.lost(&trouble.to_string())?;
        client = loop {
            std::thread::sleep(PAUSE.to_std());
            match open(args, &config) {
                Ok(client) => break client,
                Err(Failure::Run(error)) => view.lost(&error.to_string())?,
                Err(Failure::Config) => return Err(Failure::Config),
            }
        };
        view.found()?;
    }
}

fn open(args: &Args, config: &Config) -> Result<Client, Failure> {
    let mut client = args.remote.connect(config)?;
    let topics = client.topics();
    let mut filters = vec![topics.alarms()];
    filters.extend(config.gateway.shard.map(|_| topics.every_status()));
    client.follow(filters)?;
    Ok(client)
}

/// What cannot happen: watching ends by a signal or by an error.
enum Never {}

/// Takes what comes, until the connection is lost.
fn look(client: &mut Client, view: &mut dyn View) -> Result<Never, Failure> {
    let mut wait = Span::ZERO;
    loop {
        let mut next = client.next(wait)?;
        for _ in 0..AT_ONCE {
            let Some(message) = next else { break };
            view.take(client, &message)?;
            next = client.next(Span::ZERO)?;
        }
        if let Some(last) = next {
            view.take(client, &last)?;
        }
        view.draw()?;
        wait = TICK;
    }
}

/// One way to show things.
trait View {
    fn take(&mut self, client: &Client, message: &Message) -> Result<(), Failure>;
    fn draw(&mut self) -> Result<(), Failure>;
    fn lost(&mut self, why: &str) -> Result<(), Failure>;
    fn found(&mut self) -> Result<(), Failure>;
}

/// A picture on a terminal.
struct Screen {
    board: Board,
    paper: Paper,
    last: String,
}

impl Screen {
    fn enter(paper: Paper, board: Board) -> Result<Screen, Failure> {
        put(ENTER)?;
        Ok(Screen { board, paper, last: String::new() })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing any more.
        let _ = put(LEAVE);
    }
}

impl View for Screen {
    fn take(&mut self, client: &Client, message: &Message) -> Result<(), Failure> {
        if client.topics().is_status(&message.topic) {
            self.board.take_status(message);
        } else {
            self.board.take(message);
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let size = self.paper.size().unwrap_or((80, 24));
        let lines = self.board.picture(self.paper, size, clock::wall());
        // From the corner, each line cleared to its end, then the rest: nothing flickers.
        let picture = format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"));
        if picture != self.last {
            put(&picture)?;
            self.last = picture;
        }
        Ok(())
    }

    fn lost(&mut self, why: &str) -> Result<(), Failure> {
        self.board.trouble = Some(why.to_owned());
        self.draw()
    }

    fn found(&mut self) -> Result<(), Failure> {
        self.board.forget();
        Ok(())
    }
}

/// A line for each change.
struct Lines {
    board: Board,
    is_json: bool,
    /// What was said of the daemon.
    was: Option<String>,
}

impl View for Lines {
    fn take(&mut self, client: &Client, message: &Message) -> Result<(), Failure> {
        if client.topics().is_status(&message.topic) {
            self.board.take_status(message);
            let state = self.board.status().map(|status| status.state);
            if state != self.was
                && let Some(state) = &state
            {
                say(&format!("the daemon is {}", printable(state)));
                self.was = Some(state.clone());
            }
            return Ok(());
        }
        let Some(change) = self.board.take(message) else { return Ok(()) };
        match (self.is_json, std::str::from_utf8(&message.payload)) {
            (true, Ok(json)) if !json.is_empty() => put(&json_line(json)),
            (true, _) => put(&json_line(&serde_json::json!({ "alarm": change.alarm, "state": null }).to_string())),
            (false, _) => put(&change.line(clock::wall())),
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn lost(&mut self, why: &str) -> Result<(), Failure> {
        if self.board.trouble.replace(why.to_owned()).is_none() {
            say(why);
        }
        Ok(())
    }

    fn found(&mut self) -> Result<(), Failure> {
        self.board.trouble = None;
        say("the connection is there again");
        Ok(())
    }
}

fn put(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Gives the terminal back when somebody has seen enough.
fn leave_on_signals() -> Result<(), Failure> {
    leave_with(|| {
        // The lock stays with this thread, which is the last: nobody draws over what comes now.
        let mut stdout = std::mem::ManuallyDrop::new(std::io::stdout().lock());
        let _ = stdout.write_all(LEAVE.as_bytes()).and_then(|()| stdout.flush());
        0
    })
}
