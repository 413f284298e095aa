//! `anomaly score`: a series goes in, scores come out, and no row has to wait for the one after it.

use crate::support::{PATIENCE, PROGRAM};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

/// Row `index` of a daily swing of five-minute values with a fault in its eleventh day.
fn row(index: usize) -> String {
    let at = 1_400_000_000 + 300 * index;
    let noise = (index * 7_919 % 1_009) as f64 / 1_009.0;
    let swing = 5.0 * (std::f64::consts::TAU * (index % 288) as f64 / 288.0).sin();
    let fault = if (3_000..3_010).contains(&index) { 30.0 } else { 0.0 };
    format!("{at},{:.3}", 20.0 + swing + noise + fault)
}

fn series(rows: usize) -> String {
    (0..rows).fold("timestamp,value\n".to_owned(), |mut text, index| {
        writeln!(text, "{}", row(index)).unwrap();
        text
    })
}

fn score(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("series.csv");
    std::fs::write(&file, text).unwrap();
    Command::new(PROGRAM).args(["anomaly", "score"]).args(more).arg(&file).output().unwrap()
}

fn scores(output: &[u8]) -> Vec<f64> {
    let text = String::from_utf8(output.to_vec()).unwrap();
    text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn every_row_gets_a_score_and_a_fault_the_highest() {
    let text = series(4_000);
    let output = score(&text, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    let without: Vec<&str> = told.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    assert_eq!(without, text.lines().collect::<Vec<_>>(), "the rows come back as they were written");
    let scores = scores(&output.stdout);
    assert!(scores[..600].iter().all(|score| *score == 0.0), "nothing is unusual while learning");
    let highest = scores.iter().copied().fold(0.0, f64::max);
    assert_eq!(scores.iter().position(|score| *score >= highest), Some(3_000), "the fault begins here");
    let errors = String::from_utf8(output.stderr).unwrap();
    let fault = errors.lines().find(|line| line.contains("from 2014-05-24T02:53:20Z"));
    assert!(fault.is_some_and(|line| line.starts_with("anomaly (critical)")), "{errors}");
}

#[test]
fn anomalies_are_told_as_json_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.svg");
    let output = score(&series(4_000), &["--json", "--plot", picture.to_str().unwrap(), "--train", "700"]);
    assert!(output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    let told: Vec<serde_json::Value> = errors.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        told[0]["learnt"] == 700 && told[0]["anomalies_per_day"].is_number(),
        "how many there would have been comes first: {errors}"
    );
    assert!(
        told.iter().any(|told| told["from"] == "2014-05-24T02:53:20Z" && told["severity"] == "critical"),
        "{errors}"
    );
    let svg = std::fs::read_to_string(&picture).unwrap();
    for text in ["learnt on the first 700 rows", "3.5 limit: warning", "an anomaly began", "score: expected once in"] {
        assert!(svg.contains(text), "the picture lacks {text:?}");
    }
}

#[test]
fn a_row_is_scored_before_the_next_one_is_there() {
    let mut child = Command::new(PROGRAM)
        .args(["anomaly", "score", "--train", "700", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || output.lines().for_each(|line| sender.send(line.unwrap()).unwrap()));
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "timestamp,value,score");
    for index in 0..1_000 {
        writeln!(input, "{}", row(index)).unwrap();
        let line = lines.recv_timeout(PATIENCE).expect("a score, though no other row is there");
        assert!(line.starts_with(&row(index)), "{line}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
}

#[test]
fn the_same_scores_come_out_of_a_file_and_of_a_pipe() {
    let text = series(2_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("series.csv");
    std::fs::write(&file, &text).unwrap();
    let piped = |input: &Path| {
        let input = std::fs::File::open(input).unwrap();
        Command::new(PROGRAM).args(["anomaly", "score", "--train", "300", "-"]).stdin(input).output().unwrap().stdout
    };
    assert_eq!(piped(&file), score(&text, &["--train", "15%"]).stdout);
}

#[test]
fn a_past_that_teaches_nothing_is_named_and_every_row_is_scored() {
    let flat: String = (0..1_000).map(|index| format!("{index},{}\n", if index < 900 { 5 } else { 6 })).collect();
    let output = score(&flat, &[]);
    assert!(output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("never changes") && errors.contains("anomaly (critical) from 1970-01-01T00:15:00Z"),
        "{errors}"
    );
    let scores = scores(&output.stdout);
    assert_eq!(scores.len(), 1_000);
    assert!(scores[..900].iter().all(|score| *score == 0.0) && scores[900] > 4.0);
}

#[test]
fn what_cannot_be_scored_says_why() {
    let said = |text: &str| {
        let output = score(text, &[]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let short = said(&series(100));
    assert!(short.contains("the first 15 rows of 100 are too few to learn from: at least 30"), "{short}");
    assert!(said("timestamp,value\n").contains("there are no rows in it"));
    assert!(said(&format!("{}1500000000,x\n", series(1_000))).contains("line 1002: \"x\" is not a finite number"));
    let newest_first: Vec<String> = (0..1_000).rev().map(row).collect();
    assert!(said(&newest_first.join("\n")).contains("are not in the order of time (149 of the first 150 are earlier"));
    assert!(said(&"26.2.2015 19:31,1\n".repeat(100)).contains("write it like 2026-05-01T12:00:14Z"));
}

#[test]
fn a_table_as_a_spreadsheet_writes_it_gives_the_same_scores() {
    let plain = score(&series(2_000), &["--train", "300"]);
    let rows = (0..2_000).map(|index| format!("{};x", row(index).replace(',', ";").replace('.', ",")));
    let sheet = format!("\u{feff}Zeit;Wert;Ort\r\n{}\r\n\r\n", rows.collect::<Vec<_>>().join("\r\n"));
    let output = score(&sheet, &["--train", "300"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("those of the column \"Wert\""), "{errors}");
    assert_eq!(scores_quoted(&output.stdout), scores(&plain.stdout));
}

/// Scores of rows whose values have a comma.
fn scores_quoted(output: &[u8]) -> Vec<f64> {
    let text = String::from_utf8(output.to_vec()).unwrap();
    assert!(text.lines().nth(1).unwrap().starts_with("1400000000,\"20,000\","), "{text:.80}");
    scores(output)
}

#[test]
fn a_missing_value_scores_nothing_and_teaches_nothing() {
    let all = series(2_000);
    let with_holes: Vec<String> = all
        .lines()
        .enumerate()
        .flat_map(|(index, line)| {
            let hole = (index > 0 && index % 100 == 0).then(|| format!("{},NaN", line.split(',').next().unwrap()));
            hole.into_iter().chain([line.to_owned()])
        })
        .collect();
    let output = score(&with_holes.join("\n"), &["--train", "303"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("20 rows have no value"), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (holes, values): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains(",NaN,"));
    assert!(holes.iter().all(|line| line.ends_with(",NaN,0.0000")));
    let plain = score(&all, &["--train", "300"]);
    assert_eq!(scores(values.join("\n").as_bytes()), scores(&plain.stdout));
}

#[test]
fn nobody_has_to_listen_to_what_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, picture) = (folder.path().join("series.csv"), folder.path().join("picture.svg"));
    std::fs::write(&file, series(4_000)).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["anomaly", "score", "--plot"]).arg(&picture).arg(&file).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    assert!(std::fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
}
