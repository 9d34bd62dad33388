//! The document, and the shapes beside those of the command line.
//!
//! After a change write the document anew with `OCELOT_BLESS=1 cargo test -p ocelot-controller`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");
const SHAPES: &str = include_str!("../../../docs/reference/cli-json.md");

#[test]
fn the_document_is_what_the_routes_say() {
    let made = document::written(&document());
    if std::env::vars().any(|(name, _)| name == "OCELOT_BLESS") {
        std::fs::write(PATH, &made).unwrap();
    }
    let kept = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(kept == made, "docs/reference/openapi.json is not what the routes say: run with OCELOT_BLESS=1");
}

/// Returns what the command line gives, out of its page of shapes.
fn shape(heading: &str) -> Value {
    let part = SHAPES.split(&format!("## `ocelot {heading}")).nth(1).unwrap();
    let json = part.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    serde_json::from_str(json).unwrap()
}

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn fields_are_those_of_the_command_line() {
    let document = serde_json::to_value(document()).unwrap();
    let ours = |name: &str| {
        let schema = &document["components"]["schemas"][name]["properties"];
        schema.as_object().unwrap_or_else(|| panic!("{name}")).keys().cloned().collect::<BTreeSet<_>>()
    };
    let status = shape("status");
    let task = &status["tasks"][0];
    let describe = shape("describe");
    for (name, theirs, more) in [
        ("Run", &status, &[][..]),
        ("Task", task, &[]),
        ("Stage", &task["stages"][0], &[]),
        ("Attempt", &task["attempts"][0], &[]),
        ("Job", &shape("list")["jobs"][0], &[]),
        ("Argument", &describe["arguments"][0], &[]),
        ("LogLine", &shape("getlogs"), &["exit", "signal", "next"]),
        ("Outcome", &task["outcome"], &["signal", "by"]),
        ("RunPage", &shape("runs"), &["next_page_token"]),
    ] {
        let expected: BTreeSet<String> =
            fields(theirs).into_iter().chain(more.iter().copied()).map(str::to_owned).collect();
        assert_eq!(ours(name), expected, "{name}");
    }
}
