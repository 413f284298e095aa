//! `[smtp]`, `[[template]]` and `[[reaction]]`: what is sent when an alarm changes.
//!
//! A reaction is its template with what it says itself on top. Every text in it is rendered here with sample events of
//! every alarm that names it (`sample`), so that an unknown variable is found now and not at night.

mod action;
mod sample;

pub(crate) use sample::test_delivery;

use super::connection::Tls;
use super::reader::{Table, suggestion};
use super::report::{Problem, Problems};
use crate::api::topics::Topics;
use crate::domain::model::{AlarmDefinition, Glob, Severity};
use crate::domain::notify::{Hours, Plan, Reaction, ReactionIx, Reactions, Terms, ThingFilter, Transition, Zone};
use crate::domain::time::Span;
use crate::ingest::source::Source;
use crate::io::send::action::{Action, Actions};
use crate::io::send::email::{Security, Smtp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Repeats faster than this would be a stream, not a reminder.
const LEAST_REPEAT: Span = Span::from_millis(100);

/// The tables that are compiled together.
pub(super) struct Tables<'a, 'd, 't> {
    pub(super) gateway: &'a Table<'d, 't>,
    pub(super) gateway_id: &'a str,
    pub(super) topics: &'a Topics,
    pub(super) sources: &'a [Source],
    pub(super) smtp: &'a Table<'d, 't>,
    pub(super) templates: &'a [Table<'d, 't>],
    pub(super) reactions: &'a [Table<'d, 't>],
    /// Alarms, each with its definition if it has one.
    pub(super) alarms: &'a [(Table<'d, 't>, Option<AlarmDefinition>)],
    /// Whether nothing was taken out of any file: otherwise nobody knows what is missing.
    pub(super) are_whole: bool,
}

pub(super) fn compile(tables: &Tables<'_, '_, '_>, problems: &mut Problems) -> (Reactions, Actions) {
    let time_zone = time_zone(tables.gateway, problems);
    let smtp = smtp(tables.smtp, problems);
    let templates = named(tables.templates, problems);
    let names = named(tables.reactions, problems);
    for template in tables.templates {
        action::check_alone(template, tables.topics, problems);
        // What is wrong with these words themselves is told elsewhere.
        let word = |table: &Table<'_, '_>, key: &str| table.text(key, &mut Problems::default());
        let name = word(template, "name");
        if !tables.reactions.iter().any(|reaction| word(reaction, "template") == name) {
            action::check_unused(template, problems);
        }
    }
    let (mut list, mut actions) = (Vec::new(), Vec::new());
    let mut sources = Vec::new();
    for (index, table) in tables.reactions.iter().enumerate() {
        let template = template_of(table, &templates, tables, problems);
        let layers = action::Layers { own: *table, template };
        let plan = plan(table, problems);
        let terms = terms(table, problems);
        let action = action::compile(&layers, tables.topics, problems);
        if let (Some(Action::Email(_)), None, false) = (&action, &smtp, tables.smtp.has("host")) {
            let help = "add [smtp] with host = \"…\" and from = \"…\"";
            table.missing("an e-mail reaction needs a mail server, and there is no [smtp]", help, problems);
        }
        let name = table.text("name", problems).filter(|name| names.get(name.as_str()) == Some(&index));
        if let (Some(name), Some(plan), Some(action)) = (name, plan, action) {
            let (destination, tells_of_others) = (action.destination(&name), action.tells_of_others());
            list.push(Arc::new(Reaction { name, plan, terms, destination, tells_of_others }));
            actions.push(Arc::new(action));
            sources.push(layers);
        }
    }
    let are_all_known = tables.are_whole && list.len() == tables.reactions.len();
    let reactions = Reactions { list, of_definitions: Vec::new(), time_zone };
    let actions = Actions { list: actions, smtp: smtp.map(Arc::new) };
    let mut of_definitions = Vec::new();
    for (table, definition) in tables.alarms {
        let named = reactions_of(table, &reactions, &names, are_all_known, problems);
        if definition.is_some() {
            of_definitions.push(named.into_boxed_slice());
        }
    }
    of_definitions.shrink_to_fit();
    let reactions = Reactions { of_definitions, ..reactions };
    let definitions = tables.alarms.iter().filter_map(|(_, definition)| definition.as_ref());
    let own = sample::Own { topics: tables.topics, sources: tables.sources };
    let all = sample::All { reactions: &reactions, actions: &actions, layers: &sources };
    let feeding = sample::render_all(tables.gateway_id, own, all, definitions, problems);
    let mut list = reactions.list.clone();
    for ix in feeding {
        if let Some(reaction) = list.get_mut(ix.index()) {
            Arc::make_mut(reaction).terms.feeds_sources = true;
        }
    }
    (Reactions { list, ..reactions }, actions)
}

/// The tables by name; a name that is used twice or cannot be one is a problem.
fn named(tables: &[Table<'_, '_>], problems: &mut Problems) -> BTreeMap<String, usize> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for (index, table) in tables.iter().enumerate() {
        let Some(name) = table.text("name", problems) else { continue };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            let help = "it becomes a part of topics and of message ids: letters, digits, dashes, underscores and dots";
            problems.add(Problem::error(table.place("name"), format!("{name:?} cannot be a name here"), help));
            continue;
        }
        match names.get(&name) {
            Some(other) => {
                let line = problems.line(&tables[*other].place("name"));
                let message = format!("{} {name:?} is there twice", table.section.name);
                problems.add(Problem::error(table.place("name"), message, format!("the other one is at {line}")));
            }
            None => {
                names.insert(name, index);
            }
        }
    }
    names
}

fn template_of<'d, 't>(
    table: &Table<'d, 't>,
    templates: &BTreeMap<String, usize>,
    tables: &Tables<'_, 'd, 't>,
    problems: &mut Problems,
) -> Option<Table<'d, 't>> {
    let name = table.text("template", problems)?;
    let Some(template) = templates.get(&name).and_then(|index| tables.templates.get(*index)) else {
        if tables.are_whole {
            let user = table.text("name", &mut Problems::default()).unwrap_or_default();
            let message = format!("there is no template {name:?}; reaction {user:?} uses it");
            let known = templates.keys().map(String::as_str);
            let help = if templates.is_empty() {
                format!("add [[template]] with name = {name:?}")
            } else {
                suggestion(&name, known)
            };
            problems.add(Problem::error(table.place("template"), message, help));
        }
        return None;
    };
    let mut ignored = Problems::default();
    let (wanted, is) = (table.word("type", &mut ignored), template.word("type", &mut ignored));
    if let (Some(wanted), Some(is)) = (wanted, is)
        && wanted != is
    {
        let line = problems.line(&template.place("type"));
        let message = format!("template {name:?} is of type {is}, this reaction of type {wanted}");
        problems.add(Problem::error(table.place("template"), message, format!("the template's type is at {line}")));
        return None;
    }
    Some(*template)
}

/// The reactions that an alarm names.
fn reactions_of(
    table: &Table<'_, '_>,
    reactions: &Reactions,
    names: &BTreeMap<String, usize>,
    are_all_known: bool,
    problems: &mut Problems,
) -> Vec<ReactionIx> {
    let mut named = Vec::new();
    for (name, place) in table.texts("reactions", problems) {
        match reactions.find(&name) {
            Some(ix) if named.contains(&ix) => {
                problems.add(Problem::error(place, format!("reaction {name:?} is listed twice"), "once is enough"));
            }
            Some(ix) => named.push(ix),
            None if are_all_known => {
                let help = if names.is_empty() {
                    format!("add [[reaction]] with name = {name:?}")
                } else {
                    suggestion(&name, names.keys().map(String::as_str))
                };
                problems.add(Problem::error(place, format!("there is no reaction {name:?}"), help));
            }
            None => {}
        }
    }
    named
}

fn plan(table: &Table<'_, '_>, problems: &mut Problems) -> Option<Plan> {
    let initial = table.duration("initial", problems);
    let mut repeat = Vec::new();
    for (span, place) in table.durations("repeat", problems) {
        if span < LEAST_REPEAT {
            problems.add(Problem::error(place, format!("repeat is {span}"), format!("{LEAST_REPEAT} or more")));
        }
        repeat.push(span);
    }
    let on_clear = table.boolean("on_clear", problems);
    let mut on = words(table, "on", &Transition::ALL.map(|t| (t.as_str(), t)), problems);
    if !table.has("on") {
        on.push(Transition::Activated);
    }
    let mut severities = words(table, "severities", &Severity::ALL.map(|s| (s.as_str(), s)), problems);
    if !table.has("severities") {
        severities.extend(Severity::ALL);
    }
    if !on.contains(&Transition::Activated) {
        for name in ["initial", "repeat", "on_clear"].into_iter().filter(|name| table.has(name)) {
            let message = format!("{name} has no meaning where an activation causes nothing");
            problems.add(Problem::error(table.place(name), message, "add \"activated\" to on, or leave it out"));
        }
    }
    let things = table
        .texts("things", problems)
        .into_iter()
        .map(|(text, _)| Glob::parse(&text).map_or(ThingFilter::Exactly(text), ThingFilter::Matching))
        .collect();
    let hours = table.texts("hours", problems);
    let hours = match Hours::parse(hours.iter().map(|(text, _)| text)) {
        Ok(parsed) => table.has("hours").then_some(parsed),
        Err((index, message)) => {
            let place = hours.get(index).map_or_else(|| table.place("hours"), |(_, place)| place.clone());
            let help = "like \"mon-fri 08:00-18:00\" or \"sat,sun 09:00-12:00\"";
            problems.add(Problem::error(place, format!("hours: {message}"), help));
            None
        }
    };
    Some(Plan { initial: initial?, repeat, on_clear, on, severities, things, hours })
}

/// Words of a closed list.
fn words<T: Copy>(table: &Table<'_, '_>, name: &str, known: &[(&str, T)], problems: &mut Problems) -> Vec<T> {
    let mut found = Vec::new();
    for (text, place) in table.texts(name, problems) {
        match known.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => found.push(*meaning),
            None => {
                let help = suggestion(&text, known.iter().map(|(word, _)| *word));
                problems.add(Problem::error(place, format!("{name} cannot be {text:?}"), help));
            }
        }
    }
    found
}

fn terms(table: &Table<'_, '_>, problems: &mut Problems) -> Terms {
    let most = Span::from_secs(366 * 86_400);
    let give_up = table.duration_within("give_up", Span::from_secs(1), most, problems);
    let valid_for =
        table.has("valid_for").then(|| table.duration_within("valid_for", Span::from_millis(100), most, problems));
    let window = table.duration_within("rate_window", Span::from_secs(1), Span::from_secs(86_400), problems);
    if table.has("rate_window") && table.lacks("rate_limit") {
        let help = "add rate_limit = …, the deliveries that may begin in that time";
        problems.add(Problem::error(table.place("rate_window"), "rate_window without rate_limit", help));
    }
    let rate = table.has("rate_limit").then(|| (table.integer("rate_limit", problems).max(1), window));
    Terms {
        valid_for,
        give_up,
        concurrency: table.integer("concurrency", problems),
        queue_max: table.integer("queue_max", problems),
        rate,
        feeds_sources: false,
    }
}

fn time_zone(table: &Table<'_, '_>, problems: &mut Problems) -> Zone {
    let Some(name) = table.text("time_zone", problems) else { return Zone::default() };
    match jiff::tz::TimeZone::get(&name) {
        Ok(zone) => Zone(zone),
        // A machine without tzdata knows this one all the same.
        Err(_) if name == "UTC" => Zone::default(),
        Err(_) => {
            let help = "a name like Europe/Vienna or UTC; Debian's tzdata has to be installed";
            problems.add(Problem::error(table.place("time_zone"), format!("{name:?} is no time zone here"), help));
            Zone::default()
        }
    }
}

fn smtp(table: &Table<'_, '_>, problems: &mut Problems) -> Option<Smtp> {
    let port = u16::try_from(table.integer("port", problems)).unwrap_or(587);
    let security = match table.word("tls", problems) {
        Some("tls") => Security::Tls,
        Some("none") => Security::None,
        _ => Security::StartTls,
    };
    let username = table.text("username", problems);
    let password = table.secret("password", problems);
    for (name, other) in [("username", "password"), ("password", "username")] {
        if table.has(name) && table.lacks(other) {
            problems.add(Problem::error(table.place(name), format!("{name} without {other}"), "give both or neither"));
        }
    }
    let ca_file = table.file("ca_file", problems);
    if security == Security::None && table.has("ca_file") {
        let help = "write tls = \"starttls\", or leave the key out";
        problems.add(Problem::error(table.place("ca_file"), "ca_file has no effect without TLS", help));
    }
    if security == Security::None && table.has("password") {
        let help = "write tls = \"starttls\" or \"tls\" unless the server is on this machine";
        problems.add(
            Problem::warning(table.place("tls"), "the password goes over the network for everybody to read", help)
                .without_source(),
        );
    }
    let files = Tls { ca_file, client: None };
    super::files::check_tls(&files, |name| table.place(name), problems);
    let timeout = table.duration_within("timeout", Span::from_secs(1), Span::from_secs(600), problems);
    let from = table.text("from", problems).and_then(|text| {
        let parsed = text.parse::<lettre::message::Mailbox>();
        parsed
            .map_err(|error| {
                let help = "like \"gw-01@example.org\" or \"Boiler house <gw-01@example.org>\"";
                problems.add(Problem::error(
                    table.place("from"),
                    format!("{text:?} is no mail address: {error}"),
                    help,
                ));
            })
            .ok()
    });
    let host = table.text("host", problems);
    if table.has("host") && table.lacks("from") {
        table.missing("smtp has no from", "from: the sender of mails, such as \"gw-01@example.org\"", problems);
    }
    if table.entries.iter().next().is_some() && table.lacks("host") {
        table.missing("smtp has no host", "host: the name or address of the mail server", problems);
    }
    let hello = table.text("hello", problems).unwrap_or_else(super::host_name);
    Some(Smtp { host: host?, port, security, tls: files, login: username.zip(password), from: from?, hello, timeout })
}
