//! JSON Schema (draft 2020-12) of the configuration, for editors: completion, documentation and squiggles.

use super::keys::{Key, SECTIONS, Section, Shape};
use serde_json::{Map, Value, json};

/// The schema as formatted JSON.
pub fn render() -> String {
    let properties: Map<String, Value> =
        SECTIONS.iter().map(|section| (section.name.to_owned(), of_section(section))).collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Annunciator configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    format!("{schema:#}\n")
}

fn of_section(section: &Section) -> Value {
    let properties: Map<String, Value> = section.keys.iter().map(|key| (key.name.to_owned(), of_key(key))).collect();
    let required: Vec<&str> = section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let table = json!({
        "type": "object",
        "description": section.doc,
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    });
    if section.repeated { json!({ "type": "array", "description": section.doc, "items": table }) } else { table }
}

fn of_key(key: &Key) -> Value {
    let mut schema = match key.shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::TextOrList => json!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true },
            ]
        }),
        Shape::OneOf(words) => json!({ "enum": words }),
        Shape::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Duration => json!({ "type": ["string", "integer"], "minimum": 0, "examples": ["5s", "1h 30m", 250] }),
        Shape::Durations => json!({
            "anyOf": [
                { "type": ["string", "integer"], "minimum": 0 },
                { "type": "array", "items": { "type": ["string", "integer"], "minimum": 0 }, "minItems": 1 },
            ],
            "examples": ["15m", ["15m", "30m", "1h"]],
        }),
        Shape::Scalar => json!({ "type": ["number", "string", "boolean"] }),
        Shape::Deadband => json!({
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "pattern": "^\\s*\\+?[0-9.]+([eE][+-]?[0-9]+)?\\s*%\\s*$" },
            ]
        }),
        Shape::Secret => json!({
            "type": "object",
            "properties": {
                "file": { "type": "string" },
                "env": { "type": "string" },
                "credential": { "type": "string" },
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Table(section) => of_section(section),
        Shape::Map => json!({
            "type": "object",
            "additionalProperties": { "type": ["number", "string", "boolean"] },
        }),
    };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), key.doc.into());
        if let Some(default) = default_of(key) {
            object.insert("default".to_owned(), default);
        }
    }
    schema
}

/// The default as JSON. TOML and JSON spell the defaults that occur alike.
fn default_of(key: &Key) -> Option<Value> {
    serde_json::from_str(key.default).ok()
}
