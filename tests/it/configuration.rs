//! The configuration: the reference file, every diagnostic, the files beside the main one, and what `check` says.
//!
//! `tests/configs/bad/NAME.toml` gives `NAME.txt`. After a change of words: `BLESS=1 cargo test --test it bad`, then
//! read the difference as a person who has to repair such a file.

use annunciator::config::Config;
use annunciator::config::keys::{SECTIONS, Section};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SOURCE: &str = "[[source]]\ntopic = \"things/{thing}/properties/{property}\"\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn reference() -> String {
    std::fs::read_to_string(root().join("config/annunciator.toml")).unwrap()
}

/// Runs the program in a folder, so that the paths in what it says are short.
fn annunciator(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_annunciator")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn alarm(level: &str) -> String {
    format!(
        "[[alarm]]\nthing = \"press-1\"\nproperty = \"pressure\"\nlevel = \"{level}\"\ntype = \"no-value\"\nobserve_time = \"5s\"\n"
    )
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// What `check --json` says: (file, line, column, severity, message).
fn problems(folder: &Path, config: &str) -> Vec<(String, usize, usize, String, String)> {
    let output = annunciator(folder, &["check", "--json", "--config", config]);
    text(&output.stdout)
        .lines()
        .map(|line| {
            let problem: Value = serde_json::from_str(line).unwrap();
            let members: Vec<&String> = problem.as_object().unwrap().keys().collect();
            assert_eq!(members, ["column", "file", "line", "message", "severity"]);
            let text = |name: &str| problem[name].as_str().unwrap().to_owned();
            let number = |name: &str| usize::try_from(problem[name].as_u64().unwrap()).unwrap();
            (text("file"), number("line"), number("column"), text("severity"), text("message"))
        })
        .collect()
}

// The reference file.

/// One `key = value` or header of the reference file, set or behind `# `.
struct Entry<'a> {
    section: &'static Section,
    /// None: the header itself.
    key: Option<&'a str>,
    value: &'a str,
    is_set: bool,
    line: &'a str,
}

fn entries(reference: &str) -> Vec<Entry<'_>> {
    let mut section = None;
    let mut entries = Vec::new();
    for line in reference.lines() {
        let is_set = !line.starts_with('#');
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') && line.ends_with(']') {
            let found = SECTIONS.iter().find(|section| section.header() == line);
            section = Some(*found.unwrap_or_else(|| panic!("{line} is no section")));
        } else if !line
            .split_once(" = ")
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        {
            assert!(!is_set || line.is_empty(), "what is this: {line}");
            continue;
        }
        let (key, value) = line.split_once(" = ").map_or((None, ""), |(key, value)| (Some(key), value));
        entries.push(Entry { section: section.unwrap(), key, value, is_set, line });
    }
    entries
}

fn toml_value(value: &str) -> Value {
    let table: Value = toml::from_str(&format!("x = {value}")).unwrap_or_else(|error| panic!("{value}: {error}"));
    table["x"].clone()
}

#[test]
fn the_reference_is_a_valid_configuration() {
    let output = annunciator(root(), &["check", "--config", "config/annunciator.toml"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (config, warnings) = Config::parse(Path::new("annunciator.toml"), &reference()).unwrap();
    assert!(warnings.is_empty(), "{}", warnings.to_text());
    assert_eq!(config.sources.len(), 1);
    assert!(config.model.definitions.is_empty(), "an alarm on a thing that does not exist only cries for it");
}

#[test]
fn the_reference_shows_every_key_with_its_default() {
    let reference = reference();
    let entries = entries(&reference);
    for section in SECTIONS {
        for key in section.keys {
            let shown: Vec<Value> = entries
                .iter()
                .filter(|entry| entry.section.name == section.name && entry.key == Some(key.name))
                .map(|entry| toml_value(entry.value))
                .collect();
            let name = format!("{} of {}", key.name, section.header());
            assert!(!shown.is_empty(), "{name} is not in the reference");
            assert!(
                key.default.is_empty() || shown.contains(&toml_value(key.default)),
                "{name} is {} by default, the reference shows {shown:?}",
                key.default
            );
        }
    }
    for Entry { section, key, .. } in &entries {
        let is_known = key.is_none_or(|key| section.keys.iter().any(|known| known.name == key));
        assert!(is_known, "{key:?} is not known in {}", section.header());
    }
}

#[test]
fn the_reference_is_valid_with_every_key_set() {
    let reference = reference();
    let entries = entries(&reference);
    let mut all = String::new();
    for (index, entry) in entries.iter().enumerate() {
        // An alternative behind a key that is set takes its place.
        let is_replaced =
            entry.is_set && entries.get(index + 1).is_some_and(|next| entry.key.is_some() && next.key == entry.key);
        if !is_replaced {
            all.push_str(entry.line);
            all.push('\n');
        }
    }
    match Config::parse(Path::new("all.toml"), &all) {
        Ok((config, warnings)) => {
            // Files that it names are not on this machine.
            let is_other = |line: &&str| line.contains("warning:") && !line.contains("there is no file");
            let others: Vec<String> = warnings.to_text().lines().filter(is_other).map(str::to_owned).collect();
            assert!(others.is_empty(), "{others:#?}");
            assert!(config.model.definitions.len() >= 4 && config.sources.len() >= 2 && config.mqtt.tls.is_some());
        }
        Err(problems) => panic!("{all}\n{}", problems.to_text()),
    }
}

// Diagnostics.

fn bad() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/configs/bad")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 80, "only {} bad configurations were found", files.len());
    files
}

#[test]
fn every_bad_configuration_is_explained() {
    let is_blessing = std::env::var_os("BLESS").is_some();
    for file in bad() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let output = annunciator(file.parent().unwrap(), &["check", "--config", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{name}: standard output is for data");
        let (said, golden) = (text(&output.stderr), file.with_extension("txt"));
        assert!(!said.contains("hunter2"), "{name}: secrets are not shown:\n{said}");
        if is_blessing {
            std::fs::write(&golden, said).unwrap();
        } else {
            let want = std::fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(said, want, "{name} is explained in other words; if they are better: BLESS=1");
        }
    }
}

#[test]
fn places_are_places_of_the_text() {
    for file in bad() {
        let name = file.file_name().unwrap().to_str().unwrap();
        let content = std::fs::read_to_string(&file).unwrap();
        let content = content.trim_start_matches('\u{feff}');
        let said = problems(file.parent().unwrap(), name);
        for (said_file, line, column, severity, message) in &said {
            assert_eq!(said_file, name);
            assert!(["error", "warning"].contains(&severity.as_str()));
            let text = content.lines().nth(line - 1).unwrap_or_default();
            assert!(*column >= 1 && *column <= text.chars().count() + 1, "{name}:{line}:{column}: {message}");
        }
        assert!(said.is_sorted_by_key(|(_, line, column, ..)| (*line, *column)), "{name}: in the order of the text");
        let human = std::fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        for (_, line, column, severity, _) in &said {
            let head = format!("{name}:{line}:{column}: {severity}: ");
            assert!(human.contains(&head), "{head} is in the JSON only");
        }
    }
}

#[test]
fn all_mistakes_are_found_in_one_run_where_they_are() {
    let config = "[gateway]\nid = \"größe/1\"\ncheckpoint =\t\"soon\"\n\n[mqtt]\nurl = nothing\nkeep_alive = \"1s\"\n\n\
        [[source]]\ntopic = \"a/#/b\"\n\n[[alarm]]\nthing = \"ä\"\nlevel = \"HH\"\ntype = \"standard\"\noperator = \">\"\n\
        limit = inf # ∞\ndeadband = -1\nbar = 5\n";
    let folder = folder(&[("c.toml", config.as_bytes())]);
    let places: Vec<(String, String)> = problems(folder.path(), "c.toml")
        .into_iter()
        .map(|(_, line, column, severity, message)| {
            assert_eq!(severity, "error");
            let text: String = config.lines().nth(line - 1).unwrap().chars().skip(column - 1).collect();
            (text, message)
        })
        .collect();
    for (index, (place, message)) in [
        ("\"größe/1\"", "cannot be a gateway id"),
        ("\"soon\"", "checkpoint: \"soon\" is not a duration"),
        ("nothing", "not TOML"),
        ("\"1s\"", "keep_alive is 1s"),
        ("\"a/#/b\"", "must be the last level"),
        ("[[alarm]]", "alarm has no property"),
        ("inf # ∞", "limit must be a finite number"),
        ("-1", "deadband is negative"),
        ("bar = 5", "unknown key bar"),
    ]
    .into_iter()
    .enumerate()
    {
        let (at, said) = places.get(index).unwrap_or_else(|| panic!("{message} is missing: {places:#?}"));
        assert_eq!(at, place, "{said}");
        assert!(said.contains(message), "{message}: {said}");
    }
    assert_eq!(places.len(), 9, "{places:#?}");
}

// Files beside the main one.

#[test]
fn conf_d_adds_alarms_in_the_order_of_names() {
    let (a, b) = (alarm("a"), alarm("b"));
    let folder = folder(&[
        ("c.toml", format!("{SOURCE}{}", alarm("main")).as_bytes()),
        ("conf.d/20-late.toml", b.as_bytes()),
        ("conf.d/10-early.toml", a.as_bytes()),
        ("conf.d/30-off.toml.disabled", b"no TOML"),
        ("conf.d/.#40-editor.toml", b"no TOML"),
    ]);
    let (config, warnings) = Config::load(&folder.path().join("c.toml")).unwrap();
    assert!(warnings.is_empty());
    let levels: Vec<&str> = config.model.definitions.iter().map(|definition| &*definition.level).collect();
    assert_eq!(levels, ["main", "a", "b"]);
}

#[test]
fn conf_d_adds_nothing_but_alarms() {
    let extra =
        "[mqtt]\nurl = \"nonsense\"\n\n[[source]]\ntopic = \"a/{thing}/{property}\"\n\n[[alrm]]\nthing = \"a\"\n";
    let folder = folder(&[("c.toml", SOURCE.as_bytes()), ("conf.d/x.toml", extra.as_bytes())]);
    let said = problems(folder.path(), "c.toml");
    let said: Vec<(&str, usize, usize, &str)> =
        said.iter().map(|(f, l, c, _, m)| (f.as_str(), *l, *c, m.as_str())).collect();
    let why =
        "files in conf.d add alarms, anomalies, reactions and templates; everything else belongs into the main file";
    assert_eq!(
        said,
        [
            ("conf.d/x.toml", 1, 2, format!("mqtt cannot stand in this file; {why}").as_str()),
            ("conf.d/x.toml", 4, 3, format!("source cannot stand in this file; {why}").as_str()),
            ("conf.d/x.toml", 7, 3, "unknown section alrm; did you mean alarm?"),
        ]
    );
}

#[test]
fn a_level_that_clashes_over_files_names_both_places() {
    let folder = folder(&[
        ("c.toml", format!("{SOURCE}\n{}", alarm("HH")).as_bytes()),
        ("conf.d/x.toml", format!("\n{}", alarm("HH")).as_bytes()),
    ]);
    let said = problems(folder.path(), "c.toml");
    let [(file, 5, 9, _, message)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(file, "conf.d/x.toml");
    assert!(message.contains("\"HH\" is used twice") && message.contains("at c.toml:7"), "{message}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = folder(&[("latin.toml", b"[gateway]\n# Gr\xf6\xdfe\nid = \"gw\"\n"), ("c.toml", SOURCE.as_bytes())]);
    let latin = problems(folder.path(), "latin.toml");
    let [(file, 2, 5, _, message)] = latin.as_slice() else { panic!("{latin:?}") };
    assert_eq!((file.as_str(), message.as_str()), ("latin.toml", "this is no UTF-8 text; save the file in UTF-8"));
    let missing = problems(folder.path(), "missing.toml");
    let [(file, 1, 1, _, message)] = missing.as_slice() else { panic!("{missing:?}") };
    assert!(file == "missing.toml" && message.contains("No such file"), "{message}");
    // What cannot be read in conf.d, here for a reason that root has too: the daemon must not run without those alarms.
    std::fs::create_dir_all(folder.path().join("conf.d/x.toml")).unwrap();
    std::fs::write(folder.path().join("conf.d/y.toml"), b"\xff").unwrap();
    let said = problems(folder.path(), "c.toml");
    let files: Vec<&str> = said.iter().map(|(file, ..)| file.as_str()).collect();
    assert_eq!(files, ["conf.d/x.toml", "conf.d/y.toml"], "{said:?}");
}

// The command line.

#[test]
fn the_exit_status_says_what_happened() {
    let folder = folder(&[("good.toml", SOURCE.as_bytes()), ("bad.toml", b"[gateway]\nid = 5\n")]);
    for (arguments, status) in [
        (&["check", "--config", "good.toml"][..], 0),
        (&["check", "--json", "--config", "good.toml"], 0),
        (&["check", "--config", "bad.toml"], 2),
        (&["check", "--json", "--config", "bad.toml"], 2),
        (&["check", "--config", "none.toml"], 2),
        (&["check", "--confg", "good.toml"], 2),
        (&["schema"], 0),
        (&["--help"], 0),
        (&["check", "--help"], 0),
        (&["--version"], 0),
        (&["chek"], 2),
        (&[], 2),
    ] {
        let output = annunciator(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", text(&output.stderr));
        let is_silent = output.stdout.is_empty() && output.stderr.is_empty();
        assert_eq!(is_silent, arguments.contains(&"--json") && status == 0, "{arguments:?}");
    }
}

// What it names.

#[test]
fn files_and_secrets_that_cannot_be_used_are_errors_of_check_and_no_more() {
    let folder = folder(&[
        ("empty.pem", b""),
        ("garbage.pem", b"\x7fELF"),
        ("empty", b"\n"),
        ("binary", b"\xff\xfe"),
        ("lines", b"abc\ndef\n"),
    ]);
    crate::tls::certificates(folder.path());
    let mqtt = |ca: &str, cert: &str, key: &str| {
        format!("[mqtt]\nurl = \"mqtts://b\"\nca_file = \"{ca}\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n")
    };
    let password = |file: &str| format!("[mqtt]\nusername = \"u\"\npassword = {{ file = \"{file}\" }}\n");
    for (content, line, message) in [
        (mqtt("empty.pem", "client.pem", "client.key"), 3, "there is no certificate in it"),
        (mqtt("garbage.pem", "client.pem", "client.key"), 3, "ca_file garbage.pem"),
        (mqtt("conf.d", "client.pem", "client.key"), 3, "Is a directory"),
        (mqtt("ca.pem", "empty.pem", "client.key"), 4, "cert_file empty.pem: there is no certificate in it"),
        (mqtt("ca.pem", "client.pem", "client.pem"), 5, "key_file client.pem: there is no private key in it"),
        (mqtt("ca.pem", "client.pem", "server.key"), 4, "key_file"),
        (password("empty"), 3, "file empty is empty"),
        (password("binary"), 3, "it is no UTF-8 text"),
        (
            "[smtp]\nhost = \"m\"\nfrom = \"a@b.c\"\nca_file = \"empty.pem\"\n".to_owned(),
            4,
            "there is no certificate in it",
        ),
        (
            "[[reaction]]\nname = \"r\"\ntype = \"webhook\"\nurl = \"https://h/\"\nca_file = \"garbage.pem\"\n"
                .to_owned(),
            5,
            "ca_file garbage.pem",
        ),
        (
            "[[reaction]]\nname = \"r\"\ntype = \"webhook\"\nurl = \"https://h/\"\nsecret = { env = \"EMPTY\" }\n"
                .to_owned(),
            5,
            "environment variable EMPTY is empty",
        ),
        (
            "[[reaction]]\nname = \"r\"\ntype = \"webhook\"\nurl = \"https://h/\"\ntoken = { file = \"lines\" }\n"
                .to_owned(),
            5,
            "file lines has no single line of ASCII: character 4 is another",
        ),
    ] {
        std::fs::create_dir_all(folder.path().join("conf.d")).unwrap();
        std::fs::write(folder.path().join("c.toml"), &content).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_annunciator"))
            .current_dir(folder.path())
            .env("EMPTY", "")
            .args(["check", "--json", "--config", "c.toml"])
            .output()
            .unwrap();
        let said = text(&checked.stdout);
        assert_eq!(checked.status.code(), Some(2), "{content}{said}");
        let errors: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let errors: Vec<&Value> = errors.iter().filter(|line| line["severity"] == "error").collect();
        let [error] = errors.as_slice() else { panic!("{content}{said}") };
        assert!(error["line"] == line && error["message"].as_str().unwrap().contains(message), "{content}{error}");
        // The daemon starts with it, and so does whatever else reads it.
        let replayed = annunciator(folder.path(), &["replay", "--config", "c.toml", "empty"]);
        assert!(replayed.status.success(), "{content}{}", text(&replayed.stderr));
    }
    std::fs::write(folder.path().join("c.toml"), mqtt("ca.pem", "client.pem", "client.key")).unwrap();
    assert!(annunciator(folder.path(), &["check", "--config", "c.toml"]).status.success());
}

// The schema.

/// Whether a document fits, by as much of JSON Schema 2020-12 as the schema of the configuration uses. What it does not
/// know is an error, so that no constraint is passed over.
fn fits(schema: &Value, document: &Value) -> bool {
    schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
        "$schema" | "title" | "description" | "default" | "examples" => true,
        "type" => match rule.as_array() {
            Some(types) => types.iter().any(|one| is_type(one.as_str().unwrap(), document)),
            None => is_type(rule.as_str().unwrap(), document),
        },
        "enum" => rule.as_array().unwrap().contains(document),
        "anyOf" => rule.as_array().unwrap().iter().any(|schema| fits(schema, document)),
        "minimum" => document.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
        "maximum" => document.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
        "pattern" => {
            assert!(rule.as_str().unwrap().ends_with("%\\s*$"), "{rule}");
            document.as_str().is_none_or(|text| {
                let number = text.trim().strip_suffix('%').map(str::trim);
                number.is_some_and(|n| !n.starts_with(['-', 'i', 'n']) && n.parse::<f64>().is_ok())
            })
        }
        "items" => document.as_array().is_none_or(|array| array.iter().all(|element| fits(rule, element))),
        "minItems" => document.as_array().is_none_or(|array| array.len() as u64 >= rule.as_u64().unwrap()),
        "uniqueItems" => document.as_array().is_none_or(|array| {
            array.iter().enumerate().all(|(index, element)| !array.iter().take(index).any(|other| other == element))
        }),
        "required" => document.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "minProperties" => document.as_object().is_none_or(|object| object.len() as u64 >= rule.as_u64().unwrap()),
        "maxProperties" => document.as_object().is_none_or(|object| object.len() as u64 <= rule.as_u64().unwrap()),
        "properties" => document.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| rule.get(name).is_none_or(|schema| fits(schema, value)))
        }),
        "additionalProperties" => document.as_object().is_none_or(|object| {
            let known = schema.get("properties");
            let mut others = object.iter().filter(|(name, _)| known.is_none_or(|known| known.get(name).is_none()));
            others.all(|(_, value)| rule.as_bool().unwrap_or_else(|| fits(rule, value)))
        }),
        other => panic!("{other} is new in the schema: check it here too"),
    })
}

fn is_type(name: &str, document: &Value) -> bool {
    match name {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "boolean" => document.is_boolean(),
        "integer" => document.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => document.is_number(),
        other => panic!("{other} is no type of JSON Schema that is used here"),
    }
}

#[test]
fn the_schema_knows_what_the_check_knows() {
    let output = annunciator(root(), &["schema"]);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let uncommented: String = entries(&reference())
        .iter()
        .filter(|entry| !(entry.is_set && matches!(entry.key, Some("url" | "protocol"))))
        .map(|entry| format!("{}\n", entry.line))
        .collect();
    for text in [reference(), uncommented] {
        assert!(fits(&schema, &toml::from_str(&text).unwrap()), "{text}");
    }
    for trace in std::fs::read_dir(root().join("tests/traces")).unwrap().map(|entry| entry.unwrap().path()) {
        if trace.extension().is_some_and(|extension| extension == "toml") {
            let document = toml::from_str(&std::fs::read_to_string(&trace).unwrap()).unwrap();
            assert!(fits(&schema, &document), "{}", trace.display());
        }
    }
    // What is about names and kinds of values an editor has to know as well.
    let words = [
        ": unknown ",
        " outside of any section",
        " is a section, not ",
        "source has no ",
        "alarm has no ",
        " must be a string",
        " must be one of ",
        " must be true or false",
        " must be a whole number",
        " must be a duration",
        " must be a finite number, a string",
        " must be a table",
        " cannot be the integer",
        " is written in ",
        "secrets do not belong",
    ];
    let mut rejected = 0;
    for file in bad() {
        let Ok(document) = toml::from_str::<Value>(&std::fs::read_to_string(&file).unwrap()) else { continue };
        let said = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        if words.iter().any(|word| said.contains(word)) {
            assert!(!fits(&schema, &document), "the schema accepts {}", file.display());
            rejected += 1;
        }
    }
    assert!(rejected >= 15, "only {rejected} bad configurations are about names and kinds of values");
}

// Whatever somebody feeds it.

/// Parses, and looks at all that comes out of it.
fn digest(text: &str) {
    let outcome = Config::parse(Path::new("x.toml"), text);
    let problems = match &outcome {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    assert_eq!(problems.has_errors(), outcome.is_err());
    problems.to_text();
    for line in problems.to_json_lines().lines() {
        let problem: Value = serde_json::from_str(line).unwrap();
        let (line, column) = (problem["line"].as_u64().unwrap(), problem["column"].as_u64().unwrap());
        assert!(line >= 1 && line <= text.matches('\n').count() as u64 + 1);
        assert!(column >= 1 && column <= text.chars().count() as u64 + 1);
    }
}

/// Valid configurations and all the bad ones: what mutations start from.
fn seeds() -> Vec<String> {
    let bad = bad().into_iter().map(|file| std::fs::read_to_string(file).unwrap());
    bad.chain([reference().replace("# ", ""), format!("{SOURCE}{}", alarm("HH"))]).collect()
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        digest(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_text_like_toml_makes_it_panic(
        text in "(\\[\\[?(alarm|source|gateway|mqtt)\\]?\\]?\n|(limit|deadband|thing|topic|password|map|observe_time) ?= ?|[0-9.e+-]{1,9}\n|\"[a-z{}/#+%ä]{0,9}\"\n?|[\\[\\]{}=,\"' \t\r\n]){0,40}"
    ) {
        digest(&text);
    }

    #[test]
    fn no_mutation_makes_it_panic(
        seed in prop::sample::select(seeds()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[\\[\\]{}=,.\"'#\n\r\t ä0-9a-z\u{0}-]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = seed.chars().collect();
        for (place, removed, inserted) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        digest(&text.into_iter().collect::<String>());
    }
}

/// The next reaction that uses it would be refused, at night perhaps.
#[test]
fn a_template_that_no_reaction_uses_is_read_too() {
    let template = "[[template]]\nname = \"mail\"\ntype = \"email\"\nmessage = \"{{ event.title\"\n";
    let folder = folder(&[("c.toml", format!("{SOURCE}\n{template}").as_bytes())]);
    let (_, warnings) = Config::load(&folder.path().join("c.toml")).unwrap();
    let said = warnings.to_text();
    assert!(said.contains("message: syntax error") && said.contains("no reaction uses it now"), "{said}");
}
