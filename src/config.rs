//! The configuration: from TOML files to an immutable [`Config`], with every problem found in one go.
//!
//! Four steps, each in its own room: `syntax` takes out what is no TOML, so that the rest can be checked all the same;
//! `document` and `reader` look at sections and tables and say where something is not as [`keys`] declares it;
//! `alarms`, `sources` and `connection` compile sections into the types that the program works with; [`report`] shows
//! problems to people and to editors. The same declarations give the JSON Schema ([`schema`]).

mod alarms;
mod anomalies;
mod connection;
mod document;
mod duration;
mod files;
pub mod keys;
mod operations;
mod pieces;
mod pool;
mod reactions;
mod reader;
pub mod report;
pub mod schema;
mod shard;
mod sources;
mod syntax;

pub use crate::io::secret::Secret;
pub(crate) use crate::io::secret::open_file;
pub use connection::{Credentials, MqttSettings, Protocol, Tls};
pub use duration::parse as parse_duration;
pub use operations::HttpSettings;
pub(crate) use reactions::test_delivery;
pub use shard::{Shard, Standby};

use crate::api::topics::Topics;
use crate::domain::anomaly::definition::AnomalyDefinition;
use crate::domain::model::Model;
use crate::domain::notify::Reactions;
use crate::domain::time::Span;
use crate::ingest::source::Source;
use crate::io::send::action::Actions;
use document::Document;
use pool::Pool;
use reader::Table;
use report::{Problem, Problems};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use syntax::Mended;

/// Everything that the configuration says, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The main file.
    pub file: PathBuf,
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[mqtt]`.
    pub mqtt: MqttSettings,
    /// `[http]`; none: nothing listens.
    pub http: Option<HttpSettings>,
    /// `[home_assistant]`: the discovery prefix; none: nothing is announced.
    pub home_assistant: Option<String>,
    /// `[[source]]`, in order.
    pub sources: Arc<[Source]>,
    /// `[[alarm]]` and then the alarms of `[[anomaly]]`, in order.
    pub model: Arc<Model>,
    /// `[[anomaly]]` with a model, in order.
    pub anomalies: Arc<[AnomalyDefinition]>,
    /// `[smtp]`, `[[template]]` and `[[reaction]]`.
    pub reactions: Arc<Reactions>,
    /// The actions of the reactions, in their order.
    pub actions: Arc<Actions>,
}

/// Who this daemon is and how it keeps house.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Its name in events. Of several instances each has a name of its own: `gw-01/2`.
    pub id: String,
    /// The name that all instances have in common, which is the one in topics.
    pub shared_id: String,
    /// Which part of the things is evaluated here; none: all of them.
    pub shard: Option<Shard>,
    /// How another instance stands by; none: there is no other.
    pub standby: Option<Standby>,
    /// The topics under its base.
    pub topics: Topics,
    /// The base itself.
    pub base: String,
    /// Where its state is kept.
    pub state_dir: PathBuf,
    /// How often what changes with values is written, at most.
    pub checkpoint: Span,
    /// Bytes that a payload may have.
    pub max_payload: usize,
    /// How often metrics are published.
    pub metrics_interval: Span,
    /// Events that may wait for the broker.
    pub outbox_max: usize,
    /// How long an alarm may be shelved.
    pub max_shelve: Span,
    /// How long events are kept in the history.
    pub history: Span,
    /// How many are kept.
    pub history_max: usize,
    /// Whether commands are listened for.
    pub commands: bool,
    /// How old a command that says when it was given may be.
    pub command_max_age: Span,
}

impl Config {
    /// Reads the file and the `conf.d` beside it.
    ///
    /// # Errors
    /// All problems, each with its place. Warnings alone are no error; they are returned beside the configuration.
    pub fn load(path: &Path) -> Result<(Config, Problems), Problems> {
        let mut problems = Problems::default();
        let Some(main) = read(path, &mut problems) else { return Err(problems) };
        let mut texts = vec![(path.to_owned(), main)];
        for extra in conf_d(path, &mut problems) {
            texts.extend(read(&extra, &mut problems).map(|text| (extra, text)));
        }
        Config::compile(texts, problems)
    }

    /// Compiles the text of one file, as if it stood at `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<(Config, Problems), Problems> {
        Config::compile(vec![(path.to_owned(), text.to_owned())], Problems::default())
    }

    /// Reads as much of the main file as it takes to talk to the daemon that runs with it: `[gateway]`, `[mqtt]`, and
    /// which instances there are. Mistakes anywhere else are no matter: whoever acknowledges an alarm at night must not
    /// have to mend what somebody else was writing. There are no sources, alarms and reactions in what is returned.
    ///
    /// # Errors
    /// Mistakes in these sections.
    pub fn load_connection(path: &Path) -> Result<Config, Problems> {
        let mut problems = Problems::default();
        let Some(text) = read(path, &mut problems) else { return Err(problems) };
        let file = problems.add_file(path, &text);
        let mended = syntax::mend(file, &text, &mut problems);
        let document = Document::of_rest(file, &mended);
        let mut here = Problems::default();
        here.add_file(path, &text);
        let Identity { gateway, .. } = identity(&document, &mut here);
        let mqtt = connection::compile(&document.table(&keys::MQTT, &mut here), &gateway, &mut here);
        let sections = [&keys::GATEWAY, &keys::SHARD, &keys::STANDBY, &keys::MQTT];
        let extents: Vec<_> = sections.into_iter().flat_map(|section| document.extents(section)).collect();
        // A mistake before a section, like a text that does not end, may have taken it: what it says is not the default.
        let is_there =
            |section: &keys::Section| text.lines().any(|line| line.trim_start().starts_with(&section.header()));
        let is_hidden = problems.has_errors()
            && sections.into_iter().any(|section| document.extents(section).is_empty() && is_there(section));
        if here.has_errors() || is_hidden || problems.touch(&extents) {
            problems.append(here);
            return Err(problems.sorted());
        }
        Ok(Config {
            file: path.to_owned(),
            gateway,
            mqtt,
            http: None,
            home_assistant: None,
            sources: Arc::default(),
            model: Arc::default(),
            anomalies: Arc::default(),
            reactions: Arc::default(),
            actions: Arc::default(),
        })
    }

    fn compile(texts: Vec<(PathBuf, String)>, mut problems: Problems) -> Result<(Config, Problems), Problems> {
        let files: Vec<(usize, &str)> =
            texts.iter().map(|(path, text)| (problems.add_file(path, text), text.as_str())).collect();
        // Most texts have no mistake, and are parsed once.
        let mut documents: Vec<Option<Document<'_>>> =
            beside(|| files.iter().map(|(file, text)| Document::whole(*file, text)).collect());
        let mended: Vec<Option<Mended>> = beside(|| {
            let mut mend = |(file, text): &(usize, &str)| syntax::mend(*file, text, &mut problems);
            files.iter().zip(&documents).map(|(file, document)| document.is_none().then(|| mend(file))).collect()
        });
        for ((document, (file, _)), mended) in documents.iter_mut().zip(&files).zip(&mended) {
            if let Some(mended) = mended {
                *document = Some(Document::of_rest(*file, mended));
            }
        }
        let documents: Vec<Document<'_>> = documents.into_iter().flatten().collect();
        let (main, extra) = match documents.split_first() {
            Some((main, extra)) => (main, extra),
            None => return Err(problems),
        };
        main.check_sections(&keys::SECTIONS, "", &mut problems);
        for document in extra {
            document.check_sections(
                &keys::ADDITIONS,
                "files in conf.d add alarms, anomalies, reactions and templates; everything else belongs into the main file",
                &mut problems,
            );
        }
        let Identity { table: gateway_table, gateway } = identity(main, &mut problems);
        let max_things = gateway_table.integer("max_things", &mut problems);
        let max_id_bytes = gateway_table.integer("max_id_bytes", &mut problems);
        let share = gateway.shard.map(Shard::share).unwrap_or_default();
        let mqtt = connection::compile(&main.table(&keys::MQTT, &mut problems), &gateway, &mut problems);
        let http = operations::http(&main.table(&keys::HTTP, &mut problems), &mut problems);
        let table = main.table(&keys::HOME_ASSISTANT, &mut problems);
        let home_assistant = operations::home_assistant(&table, &gateway.topics, &mut problems);
        let source_tables = main.tables(&keys::SOURCE, &mut problems);
        let sources = sources::compile(&source_tables, &mut problems);
        let alarm_tables: Vec<Table<'_, '_>> =
            documents.iter().flat_map(|document| document.tables(&keys::ALARM, &mut problems)).collect();
        let are_sources_known = main.is_whole() && sources.len() == source_tables.len() && !sources.is_empty();
        let known_sources = are_sources_known.then_some(sources.as_slice());
        let (mut taken, mut pool) = (alarms::Taken::default(), Pool::default());
        let definitions = alarms::compile(&alarm_tables, known_sources, &mut taken, &mut pool, &mut problems);
        let anomaly_tables: Vec<Table<'_, '_>> =
            documents.iter().flat_map(|document| document.tables(&keys::ANOMALY, &mut problems)).collect();
        let anomalies = anomalies::compile(&anomaly_tables, known_sources, &mut taken, &mut pool, &mut problems);
        let first = alarm_tables.first().or(anomaly_tables.first());
        if let (true, [], Some(alarm)) = (main.is_whole(), source_tables.as_slice(), first) {
            problems.add(Problem::error(
                alarm.header(),
                "there are alarms, but no [[source]] that says where values come from",
                "add [[source]] with topic = \"things/{thing}/properties/{property}\", or as your devices publish",
            ));
        }
        let all = |section, problems: &mut Problems| -> Vec<Table<'_, '_>> {
            documents.iter().flat_map(|document| document.tables(section, problems)).collect()
        };
        let (templates, reactions) = (all(&keys::TEMPLATE, &mut problems), all(&keys::REACTION, &mut problems));
        let of_anomalies = anomalies.iter().map(|found| found.as_ref().map(|(alarm, _)| alarm.clone()));
        let alarms: Vec<_> =
            alarm_tables.into_iter().zip(definitions).chain(anomaly_tables.into_iter().zip(of_anomalies)).collect();
        let tables = reactions::Tables {
            gateway: &gateway_table,
            gateway_id: &gateway.id,
            topics: &gateway.topics,
            sources: &sources,
            smtp: &main.table(&keys::SMTP, &mut problems),
            templates: &templates,
            reactions: &reactions,
            alarms: &alarms,
            are_whole: documents.iter().all(Document::is_whole),
        };
        let (reactions, actions) = reactions::compile(&tables, &mut problems);
        let (reactions, actions) = (Arc::new(reactions), Arc::new(actions));
        if problems.has_errors() {
            return Err(problems.sorted());
        }
        let mut definitions: Vec<_> = alarms.into_iter().filter_map(|(_, definition)| definition).collect();
        definitions.shrink_to_fit();
        let before = definitions.len() - anomalies.iter().flatten().count();
        let anomalies = anomalies.into_iter().flatten().enumerate();
        let anomalies = anomalies
            .filter_map(|(place, (_, model))| Some(AnomalyDefinition { alarm: before + place, ..model? }))
            .collect();
        let model = Arc::new(Model { definitions, max_things, max_id_bytes, share });
        let file = texts.first().map(|(path, _)| path.clone()).unwrap_or_default();
        let sources = sources.into();
        let config =
            Config { file, gateway, mqtt, http, home_assistant, sources, model, anomalies, reactions, actions };
        Ok((config, problems.sorted()))
    }

    /// What of `other` would take effect only after a restart; none: all of it can at once.
    pub fn needs_a_restart(&self, other: &Config) -> Option<&'static str> {
        let (old, new) = (&self.gateway, &other.gateway);
        match () {
            () if old.id != new.id => Some("the gateway's id"),
            () if old.base != new.base => Some("the base of topics"),
            () if old.shard != new.shard => Some("[shard]"),
            () if old.standby != new.standby => Some("[standby]"),
            () if old.state_dir != new.state_dir => Some("state_dir"),
            () if self.mqtt != other.mqtt => Some("[mqtt]"),
            () if self.http != other.http => Some("[http]"),
            () => None,
        }
    }
}

/// The identity of this daemon, and the table that it is read from.
struct Identity<'d, 't> {
    table: Table<'d, 't>,
    gateway: Gateway,
}

/// `[gateway]`, `[shard]` and `[standby]`.
fn identity<'d, 't>(main: &'d Document<'t>, problems: &mut Problems) -> Identity<'d, 't> {
    let table = main.table(&keys::GATEWAY, problems);
    let shard_table = main.table(&keys::SHARD, problems);
    let shard = shard::shard(&shard_table, &host_name(), problems);
    let standby_table = main.table(&keys::STANDBY, problems);
    let standby = shard::standby(&standby_table, problems);
    for (is_given, of_instance) in [(shard.is_some(), &shard_table), (standby.is_some(), &standby_table)] {
        if is_given && table.lacks("id") {
            let help = "by default it is the host name, and each instance would be a gateway of its own: write id in [gateway]";
            let message = format!("{} needs the id that all instances have in common", of_instance.section.name);
            problems.add(Problem::error(of_instance.header(), message, help));
        }
    }
    Identity { table, gateway: gateway(&table, shard, standby, problems) }
}

/// Does something on a thread of its own. A parsed text needs ten times its length for a moment. Allocators give a thread
/// a place of its own, which goes back to the system whole when the text is done with; between what stays of it, it would
/// go back in pieces, or never.
fn beside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// The text of a file.
fn read(path: &Path, problems: &mut Problems) -> Option<String> {
    let bytes = std::fs::read(path).map_err(|error| problems.add_unreadable(path, &error)).ok()?;
    String::from_utf8(bytes).map_err(|error| problems.add_undecodable(path, error.as_bytes(), error.utf8_error())).ok()
}

/// True for what is neither a file nor a folder.
fn is_no_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The files beside the main one that add to it, by name.
fn conf_d(path: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(".")).join("conf.d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.add_unreadable(&folder, &error);
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "toml"))
        // Editors keep their own files under such names.
        .filter(|file| !file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
        .collect();
    files.sort();
    let (others, files): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|file| is_no_file(file));
    for other in others {
        problems.add_unreadable(&other, &std::io::Error::other("it is no regular file"));
    }
    files
}

fn gateway(table: &Table<'_, '_>, shard: Option<Shard>, standby: Option<Standby>, problems: &mut Problems) -> Gateway {
    let shared_id = match table.text("id", problems) {
        Some(id) => {
            if id.is_empty() || id.contains(['/', '+', '#', '%']) || id.contains(char::is_control) {
                problems.add(Problem::error(
                    table.place("id"),
                    format!("{id:?} cannot be a gateway id: it is one level of a topic"),
                    "letters, digits, dots, dashes and underscores are safe",
                ));
            }
            id
        }
        None => host_name(),
    };
    let index = shard.and_then(|shard| shard.index);
    let parts = [index.map(|index| index.to_string()), standby.as_ref().map(|standby| standby.name.clone())];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let id = if parts.is_empty() { shared_id.clone() } else { format!("{shared_id}/{}", parts.join(".")) };
    let base = table.text("base", problems).unwrap_or_else(|| format!("annunciator/{shared_id}"));
    let is_topic = !base.is_empty() && !base.ends_with('/') && !base.contains(['+', '#']);
    if table.has("base") && (!is_topic || base.starts_with('$') || base.contains(char::is_control)) {
        problems.add(Problem::error(
            table.place("base"),
            format!("{base:?} cannot be the base of topics"),
            "no wildcards, no $ at the beginning, no slash at the end: \"annunciator/gw-01\"",
        ));
    }
    Gateway {
        topics: match index {
            Some(index) => Topics::of_shard(&base, index),
            None => Topics::new(&base),
        },
        base,
        id,
        shared_id,
        shard,
        standby,
        state_dir: table.path("state_dir", problems).unwrap_or_default(),
        checkpoint: table.duration_within("checkpoint", Span::from_millis(100), Span::from_secs(3_600), problems),
        max_payload: table.integer("max_payload", problems),
        metrics_interval: table.duration_within(
            "metrics_interval",
            Span::from_secs(1),
            Span::from_secs(86_400),
            problems,
        ),
        outbox_max: table.integer("outbox_max", problems),
        max_shelve: table.duration_within("max_shelve", Span::from_secs(1), Span::from_secs(31_622_400), problems),
        history: Span::from_secs(86_400 * i64::try_from(table.integer("history_days", problems)).unwrap_or(i64::MAX)),
        history_max: table.integer("history_max", problems),
        commands: table.boolean("commands", problems),
        command_max_age: table.duration_within(
            "command_max_age",
            Span::from_secs(1),
            Span::from_secs(365 * 86_400),
            problems,
        ),
    }
}

/// The name of this machine, as one topic level.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect();
    if name.is_empty() { "gateway".to_owned() } else { name }
}
