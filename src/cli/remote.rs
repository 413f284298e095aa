//! What all verbs have in common that talk to a running daemon: how to reach it, who asks, and how answers are shown.

pub(crate) mod acknowledge;
pub(crate) mod change;
pub(crate) mod disable;
pub(crate) mod enable;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod reload;
pub(crate) mod shelve;
pub(crate) mod states;
pub(crate) mod stats;
pub(crate) mod test_reaction;
pub(crate) mod unshelve;
pub(crate) mod watch;

use super::output::terminal::{Paper, json_line};
use super::{ConfigArg, Failure, say};
use crate::api::topics::Topics;
use crate::client::{Client, Command, Reply, Trouble};
use crate::config::{Config, Shard, parse_duration};
use crate::domain::model::owner_of_alarm;
use crate::domain::time::Span;
use anyhow::anyhow;
use serde::Deserialize;
use serde_json::Value;
use std::io::Write as _;

/// How to reach the daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    #[command(flatten)]
    config: ConfigArg,
    /// How long to wait for the broker, and for the daemon's answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Span,
}

impl Remote {
    /// Connects to everybody who has a part in the gateway.
    pub(super) fn open_all(&self) -> Result<Everybody, Failure> {
        let config = self.load()?;
        let Some(Shard { count, .. }) = config.gateway.shard else {
            return Ok(Everybody { clients: vec![self.connect(&config)?] });
        };
        let instance = |index| {
            let mut config = config.clone();
            config.gateway.topics = Topics::of_shard(&config.gateway.base, index);
            config.gateway.shared_id = format!("{}/{index}", config.gateway.shared_id);
            self.connect(&config)
        };
        Ok(Everybody { clients: (0..count).map(instance).collect::<Result<_, _>>()? })
    }

    /// Connects to the one whose configuration it is: each of several instances has models of its own.
    pub(super) fn open(&self) -> Result<Client, Failure> {
        let config = self.load()?;
        self.connect(&config)
    }

    /// Reads who the daemon is and how to reach it. What else is in the configuration, and what is wrong with that, is
    /// for the daemon and for `check`.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        Config::load_connection(&self.config.config).map_err(|problems| {
            say(&problems.to_text());
            Failure::Config
        })
    }

    /// Reads all of the configuration, for what goes by its sources and models.
    pub(super) fn load_all(&self) -> Result<Config, Failure> {
        Config::load(&self.config.config).map(|(config, _)| config).map_err(|problems| {
            say(&problems.to_text());
            Failure::Config
        })
    }

    /// Reads all of the configuration, or as much as [`Remote::load`] where there is something wrong with the rest.
    pub(super) fn load_what_is_right(&self) -> Result<Config, Failure> {
        Config::load(&self.config.config).map(|(config, _)| config).or_else(|_| self.load())
    }

    /// Connects.
    pub(super) fn connect(&self, config: &Config) -> Result<Client, Failure> {
        Client::open(config, self.timeout).map_err(|trouble| {
            if let Trouble::Settings(what) = &trouble {
                say(&format!("annunciator: {what}"));
                return Failure::Config;
            }
            Failure::Run(trouble.into())
        })
    }
}

/// Everybody who can be asked: the daemon, or all of several instances.
pub(super) struct Everybody {
    clients: Vec<Client>,
}

impl Everybody {
    /// Those who have a say about an alarm or a pattern.
    pub(super) fn about(&mut self, alarm: Option<&str>) -> &mut [Client] {
        let count = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let owner = alarm.and_then(|alarm| owner_of_alarm(alarm, count));
        match owner.and_then(|owner| usize::try_from(owner).ok()) {
            Some(owner) => self.clients.get_mut(owner..=owner).unwrap_or_default(),
            None => &mut self.clients,
        }
    }

    /// The one that does what has to be done once.
    pub(super) fn first(&mut self) -> Result<&mut Client, Failure> {
        self.clients.first_mut().ok_or_else(|| Failure::Run(anyhow!("there is nobody to ask")))
    }
}

/// Asks one after the other. What some of several cannot answer keeps none of the others from being asked: it is said,
/// and ends in failure after everything else.
pub(super) fn ask_each<T>(
    clients: &mut [Client],
    mut ask: impl FnMut(&mut Client) -> Result<T, Failure>,
) -> Result<(Vec<T>, Result<(), Failure>), Failure> {
    let (count, mut answers, mut silent) = (clients.len(), Vec::new(), 0);
    for client in clients {
        match ask(client) {
            Ok(answer) => answers.push(answer),
            Err(Failure::Run(error)) if count > 1 && error.downcast_ref::<std::io::Error>().is_none() => {
                say(&format!("annunciator: {error:#}"));
                silent += 1;
            }
            Err(failure) => return Err(failure),
        }
    }
    let outcome = match silent {
        0 => Ok(()),
        _ => Err(Failure::Run(anyhow!("{silent} of {count} instances have not answered; this is not everything"))),
    };
    Ok((answers, outcome))
}

/// Who changes something, and why.
#[derive(Debug, clap::Args)]
pub(super) struct Signature {
    /// Who does it [default: $SUDO_USER, else $USER]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

impl Signature {
    /// Who it is, as far as anybody knows.
    pub(super) fn name(&self) -> Option<String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.by.clone().or_else(|| variable("SUDO_USER")).or_else(|| variable("USER"))
    }

    /// Adds it to a command.
    pub(super) fn sign(&self, command: &mut Command) {
        put(command, "by", self.name());
        put(command, "comment", self.comment.clone());
    }
}

/// Adds a member to a command, if there is one.
pub(super) fn put(command: &mut Command, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        command.insert(name.to_owned(), value.into());
    }
}

/// The answer, unless it is a refusal.
pub(super) fn accepted(reply: Reply) -> Result<Reply, Failure> {
    match reply.error() {
        None => Ok(reply),
        Some(error) => Err(Failure::Run(anyhow!("{error}"))),
    }
}

/// The answer as a script wants it. A refusal is shown there, too, and ends in failure.
pub(super) fn print_json(reply: Reply) -> Result<(), Failure> {
    std::io::stdout().write_all(json_line(reply.text()).as_bytes())?;
    accepted(reply).map(drop)
}

/// What became of one alarm.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    alarm: String,
    state: String,
    changed: bool,
    error: Option<String>,
    shelved_until: Option<String>,
}

/// What became of the alarms of a command.
#[derive(Debug, Deserialize)]
pub(super) struct Outcomes {
    #[serde(default)]
    pub(super) alarms: Vec<Outcome>,
    /// How many more there are.
    #[serde(default)]
    pub(super) not_listed: u64,
}

impl Outcome {
    /// As a line of a table.
    pub(super) fn row(&self) -> [super::output::table::Cell; 3] {
        use super::output::table::Cell;
        use super::output::terminal::{Look, local_time, printable};
        let remark = match (&self.error, self.changed, &self.shelved_until) {
            (Some(error), _, _) => Cell::new(Look::Warning, printable(error)),
            (None, _, Some(until)) => Cell::plain(format!("shelved until {}", local_time(until))),
            (None, false, None) => Cell::new(Look::Faint, "nothing to change"),
            (None, true, None) => Cell::plain(""),
        };
        let state = Cell::new(Look::of_state(&self.state), printable(&self.state));
        [Cell::plain(printable(&self.alarm)), state, remark]
    }
}

/// Prints a table, or nothing where there are no rows.
pub(super) fn print_table<const N: usize>(
    head: [&str; N],
    rows: &[[super::output::table::Cell; N]],
    paper: Paper,
) -> Result<(), Failure> {
    if !rows.is_empty() {
        std::io::stdout().write_all(super::output::table::render(head, rows, paper).as_bytes())?;
    }
    Ok(())
}
