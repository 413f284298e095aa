//! The structure of the source, as the architecture page tells it.

use std::path::{Path, PathBuf};

/// Rooms at the edges, which the domain does not know.
const EDGES: [&str; 10] = ["api", "cli", "client", "config", "daemon", "demo", "ingest", "io", "plot", "replay"];
/// Ways to the world, and what belongs to edges alone.
const WORLD: [&str; 12] = [
    "tokio",
    "serde",
    "serde_json",
    "postcard",
    "sled",
    "rumqttc",
    "lettre",
    "hyper",
    "tracing",
    "std::fs",
    "std::net",
    "std::env",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The code of a file: without its comments and its tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.map(|(place, line)| (place + 1, line.split("//").next().unwrap_or_default().to_owned())).collect()
}

#[test]
fn the_domain_names_no_edge_and_asks_for_nothing_of_the_world() {
    let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let names: Vec<String> =
        EDGES.iter().map(|edge| format!("crate::{edge}")).chain(WORLD.iter().map(|name| format!("{name}::"))).collect();
    let mut broken = Vec::new();
    for path in files(&domain).into_iter().filter(|path| !path.ends_with("tests.rs")) {
        for (line, code) in code(&path) {
            let is_word = |name: &String| {
                let places = code.match_indices(name.as_str()).map(|(place, _)| &code[..place]);
                places.into_iter().any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            broken.extend(
                names
                    .iter()
                    .find(|name| is_word(name))
                    .map(|name| format!("{}:{line}: {name}", path.strip_prefix(&domain).unwrap().display())),
            );
        }
    }
    assert!(broken.is_empty(), "the domain is pure:\n{}", broken.join("\n"));
}
