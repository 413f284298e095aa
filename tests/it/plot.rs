//! `replay --plot`: the picture is whole, says what has to be said, and stays small; playing is not disturbed by it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEAD: &str = r#"
[gateway]
id = "gw"
[mqtt]
url = "mqtt://127.0.0.1:1883"
[[source]]
topic = "things/{thing}/properties/{property}"
"#;

fn trace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name)
}

/// Plays a recording with `--plot`; gives the picture and what was printed.
fn plot(config: &Path, recording: &Path, more: &[&str]) -> (String, Output) {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.svg");
    let output = Command::new(env!("CARGO_BIN_EXE_annunciator"))
        .args(["replay", "--config"])
        .args([config, recording])
        .arg("--plot")
        .arg(&picture)
        .args(more)
        .output()
        .unwrap();
    let svg = std::fs::read_to_string(&picture).unwrap();
    assert_whole(&svg);
    (svg, output)
}

/// The same for a configuration and a recording that are written here.
fn plot_text(alarms: &str, recording: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let [config, lines] = ["c.toml", "r.jsonl"].map(|name| folder.path().join(name));
    std::fs::write(&config, format!("{HEAD}{alarms}")).unwrap();
    std::fs::write(&lines, recording).unwrap();
    let (svg, output) = plot(&config, &lines, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    svg
}

/// Every element is closed, in the right order, and no text or attribute contains what would be read as markup.
fn assert_whole(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "a stray > in {text:?}");
        for entity in text.split('&').skip(1) {
            let name = entity.split(';').next().unwrap();
            assert!(["lt", "gt", "amp", "quot", "apos"].contains(&name), "an unknown entity in {text:?}");
        }
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "an open attribute in {tag:?}");
        match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name)),
            (None, Some(_)) => {}
            (None, None) => open.push(tag.split_whitespace().next().unwrap()),
        }
        rest = &rest[end + 1..];
    }
    assert_eq!(open, Vec::<&str>::new(), "elements are left open");
    assert!(svg.starts_with("<svg ") && !svg.contains("NaN") && !svg.contains("inf"));
    assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn every_recording_has_a_picture_and_the_same_events() {
    let mut played = 0;
    for entry in std::fs::read_dir(trace("")).unwrap() {
        let config = entry.unwrap().path();
        if config.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let recording = config.with_extension("jsonl");
        let (_, with) = plot(&config, &recording, &[]);
        let without = Command::new(env!("CARGO_BIN_EXE_annunciator"))
            .args(["replay", "--config"])
            .args([&config, &recording])
            .output()
            .unwrap();
        assert_eq!(with, without, "{}", config.display());
        played += 1;
    }
    assert!(played >= 20, "only {played} recordings were found");
}

#[test]
fn the_picture_says_why_the_alarm_came() {
    let picture =
        |name: &str| plot(&trace(&format!("{name}.toml")), &trace(&format!("{name}.jsonl")), &[]).0.replace('\n', "");
    for (name, labels) in [
        (
            "seed-1-standard",
            &[
                "press-1 / pressure",
                ">range<",
                "comes when the value is outside 10 … 20 for 5s, goes when it is within (standard, warning)",
                "15 limit: range",
                "20 upper edge: range",
                "10 lower edge: range",
                "activated once: 14 s",
                "activated 14 s",
                ">20 s<",
            ][..],
        ),
        ("seed-2-average", &["comes when the mean of the last 5s is above 19 for 5s", "mean: mean", "never activated"]),
        ("seed-3-no-value", &["comes when there was no value for 5s, goes with the next value", "activated 14 s"]),
        ("gap-pause", &["link down"]),
        ("types", &[">true<", ">false<", ">closed<", "limit: s", "comes when the value is “open”"]),
        ("lifecycle", &[">acknowledged<", ">off<"]),
        ("glob", &["press-1 / pressure", "press-2 / pressure"]),
    ] {
        let svg = picture(name);
        for label in labels {
            assert!(svg.contains(label), "{name}: no {label:?} in {svg}");
        }
    }
}

#[test]
fn texts_of_others_are_texts() {
    let alarms = r#"
[[alarm]]
thing = "a<&>\"b'"
property = "mode"
level = "</text>"
title = "<&> \"too\" hot"
type = "standard"
operator = "="
limit = "]]><script>"
"#;
    let values = [r#"]]><script>"#, r"\u0000\u001b\uffff", r"&lt;", "\\\""];
    let recording = values.iter().zip(0..).fold(String::new(), |mut lines, (value, t)| {
        let topic = r#"things/a<&>\"b'/properties/mode"#;
        writeln!(lines, r#"{{"t":{t},"topic":"{topic}","payload":"{value}"}}"#).unwrap();
        lines
    });
    let svg = plot_text(alarms, &recording, &[]);
    for label in
        ["a&lt;&amp;&gt;&quot;b&apos; / mode", "&lt;/text&gt;", "“&lt;&amp;&gt; &quot;too&quot; hot”", "&amp;lt;"]
    {
        assert!(svg.contains(label), "no {label:?} in {svg}");
    }
    assert!(!svg.contains("<script"));
}

#[test]
fn a_long_recording_has_a_small_picture() {
    let alarms = r#"
[[alarm]]
thing = "p"
property = "v"
level = "hi"
type = "standard"
operator = ">"
limit = 90
deadband = 1
observe_time = "3s"
[[alarm]]
thing = "p"
property = "v"
level = "mean"
type = "average"
operator = ">"
limit = 50
observe_time = "10s"
[[alarm]]
thing = "p"
property = "v"
level = "silent"
type = "no-value"
observe_time = "4s"
"#;
    let mut recording = String::new();
    let (mut t, mut random) = (1_777_629_600.0, 1_u64);
    for _ in 0..300_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        t += if random >> 52 == 0 { 5.0 } else { 1.0 };
        let value = (random >> 33) % 101;
        writeln!(recording, r#"{{"t":{t},"topic":"things/p/properties/v","payload":"{value}"}}"#).unwrap();
    }
    let svg = plot_text(alarms, &recording, &[]);
    assert!(svg.contains("300000 values (lowest and highest of every"));
    assert!(svg.len() < 150_000, "{} bytes", svg.len());
}

#[test]
fn an_alarm_that_flaps_is_drawn_and_it_is_said() {
    let alarms = r#"
[[alarm]]
thing = "p"
property = "v"
level = "hi"
type = "standard"
operator = ">"
limit = 50
"#;
    let recording = (0..10_000).fold(String::new(), |mut lines, t| {
        let value = 40 + t % 2 * 20;
        writeln!(lines, r#"{{"t":{t},"topic":"things/p/properties/v","payload":"{value}"}}"#).unwrap();
        lines
    });
    let svg = plot_text(alarms, &recording, &[]);
    for label in ["activated 5000 times, last 9999 s", "state changes within 8.4 s are drawn as one"] {
        assert!(svg.contains(label), "no {label:?} in {svg}");
    }
}

#[test]
fn what_has_no_room_is_counted_and_can_be_asked_for() {
    let alarms = r#"
[[alarm]]
thing = "t-*"
property = "v"
level = "hi"
type = "standard"
operator = ">"
limit = 10
"#;
    let recording = (0..120).fold(String::new(), |mut lines, n| {
        let value = if n == 100 { 11 } else { 9 };
        writeln!(lines, r#"{{"t":{n},"topic":"things/t-{n}/properties/v","payload":"{value}"}}"#).unwrap();
        lines
    });
    let svg = plot_text(alarms, &recording, &[]);
    assert_eq!(svg.matches(" / v\n").count(), 50);
    let note = "70 alarms are left out: there is room for 50 properties. They were activated once: t-100/v/hi";
    assert!(svg.contains(note), "{svg}");
    let svg = plot_text(alarms, &recording, &["--plot-only", "t-100/*"]);
    assert_eq!(svg.matches(" / v\n").count(), 1);
    assert!(svg.contains("t-100 / v") && svg.contains("activated once") && !svg.contains("left out"));
}

#[test]
fn there_is_a_picture_of_next_to_nothing() {
    let alarms = r#"
[[alarm]]
thing = "p"
property = "v"
level = "silent"
type = "no-value"
observe_time = "5s"
"#;
    assert!(plot_text(alarms, "", &[]).contains("nothing was played"));
    assert!(plot_text(alarms, "{\"t\":5}\n", &[]).contains("no value came"));
    let svg = plot_text(alarms, "{\"t\":0}\n{\"t\":20}\n", &[]);
    assert!(svg.contains("activated 5 s") && svg.contains("polygon"), "the clock ran from the start: {svg}");
    assert!(plot_text(alarms, "{\"t\":5}\n", &["--plot-only", "nobody"]).contains("there is no such alarm"));
}

#[test]
fn a_recording_that_breaks_off_is_drawn_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("r.jsonl");
    let whole = std::fs::read_to_string(trace("seed-1-standard.jsonl")).unwrap();
    std::fs::write(&lines, format!("{whole}not a line\n")).unwrap();
    let (svg, output) = plot(&trace("seed-1-standard.toml"), &lines, &[]);
    assert!(svg.contains("activated 14 s") && output.status.code() == Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(":23: "));
}
