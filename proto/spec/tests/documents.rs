//! The schemas and the reference page in `docs/reference` are what the tables say.
//!
//! After a change of the tables write them anew with `OCELOT_BLESS=1 cargo test -p ocelot-spec`.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::fs;

use ocelot_spec::{Job, Pipeline};

fn hold(file: &str, made: &str) {
    let path = format!("{}/../../docs/reference/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::vars().any(|(name, _)| name == "OCELOT_BLESS") {
        fs::write(&path, made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "docs/reference/{file} is not what the tables say: run with OCELOT_BLESS=1");
}

#[test]
fn the_schemas_are_what_the_tables_say() {
    hold("ocelot.schema.json", &ocelot_spec::pipeline_schema());
    hold("job.schema.json", &ocelot_spec::job_schema());
}

#[test]
fn the_reference_page_is_what_the_tables_say() {
    let page = ocelot_spec::reference_page();
    assert!(!page.contains("<!-- table"), "a table is missing");
    hold("ocelot-yml.md", &page);
}

/// Follows `$ref` and collects every property with the definition it stands in.
fn properties(schema: &serde_json::Value) -> Vec<String> {
    let names = |value: &serde_json::Value| -> Vec<String> {
        value["properties"].as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let mut found = names(schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        found.extend(names(definition).into_iter().map(|key| format!("{name}.{key}")));
    }
    found
}

#[test]
fn every_key_of_the_schema_is_in_the_reference() {
    let page = ocelot_spec::reference_page();
    for schema in [ocelot_spec::pipeline_schema(), ocelot_spec::job_schema()] {
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        let properties = properties(&schema);
        assert!(properties.len() > 60);
        for property in properties {
            let key = property.rsplit('.').next().unwrap();
            assert!(
                page.contains(&format!("| `{key}` |")) || page.contains(&format!("{{{key}}}")),
                "{property}"
            );
        }
    }
}

/// So that the snapshots of these two files show what every key does.
#[test]
fn the_files_of_every_key_use_every_key() {
    let job_only = [
        "name",
        "description",
        "organization",
        "authors",
        "contributors",
        "args",
        "authorized_groups",
        "schedule",
        "version",
    ];
    let pipeline: serde_json::Value = serde_json::from_str(&ocelot_spec::pipeline_schema()).unwrap();
    let job: serde_json::Value = serde_json::from_str(&ocelot_spec::job_schema()).unwrap();
    let of_job = properties(&job).into_iter().filter(|property| {
        job_only.contains(&property.as_str())
            || property.starts_with("argument.")
            || property.starts_with("schedule.")
    });
    let missing = |text: &str, property: &String| {
        let key = property.rsplit('.').next().unwrap();
        !text.contains(&format!("{key}: ")) && !text.contains(&format!("{key}:\n"))
    };
    let pipeline_text = include_str!("every-key.yml");
    let left: Vec<String> = properties(&pipeline)
        .into_iter()
        .filter(|property| missing(pipeline_text, property))
        .chain(of_job.filter(|property| missing(include_str!("every-key.job.yml"), property)))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_examples_of_the_documents_are_right() {
    let folder = format!("{}/../../docs/examples", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let result = match name.ends_with(".job.yml") {
            true => Job::parse(&name, &bytes).map(|_| ()),
            false => Pipeline::parse(&name, &bytes).map(|_| ()),
        };
        result.unwrap_or_else(|problems| panic!("{problems}"));
        count += 1;
    }
    assert!(count >= 6);
}
