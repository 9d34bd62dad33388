//! `ocelot validate`: every mistake of every file, in the order of its lines.

use std::fmt::Write;
use std::path::Path;

use ocelot_spec::{FileKind, Job, Pipeline, Problems};
use serde::Serialize;

use crate::args::Validate;
use crate::error::Error;
use crate::output::Output;

use super::read;

/// One file's result, as scripts see it.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    kind: &'static str,
    valid: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ocelot_spec::Problem>,
}

#[derive(Debug, Serialize)]
struct Checks {
    files: Vec<Checked>,
}

pub(crate) fn run(validate: &Validate, output: &Output) -> Result<(), Error> {
    let mut text = String::new();
    let mut files = Vec::new();
    for file in &validate.files {
        let (kind, checked) = check(file, &read(file)?);
        match &checked {
            // Writing to a String cannot fail.
            Ok(says) => drop(writeln!(text, "{}: {says}", file.display())),
            Err(problems) => drop(writeln!(text, "{problems}")),
        }
        files.push(Checked {
            file: file.display().to_string(),
            kind,
            valid: checked.is_ok(),
            problems: checked.err().map(|found| found.problems).unwrap_or_default(),
        });
    }
    let wrong = files.iter().filter(|file| !file.valid).count();
    output.result(text, &Checks { files })?;
    if wrong > 0 { Err(Error::MistakesShown { files: wrong }) } else { Ok(()) }
}

/// Returns what people are told of a good file.
fn check(file: &Path, bytes: &[u8]) -> (&'static str, Result<String, Problems>) {
    let name = file.display().to_string();
    match FileKind::of(bytes) {
        FileKind::Job => {
            let job = Job::parse(&name, bytes);
            ("job", job.map(|job| format!("job {}, good", job.name)))
        }
        FileKind::Pipeline => {
            let pipeline = Pipeline::parse(&name, bytes);
            (
                "pipeline",
                pipeline.map(|pipeline| match pipeline.tasks().count() {
                    1 => "pipeline of 1 task, good".to_owned(),
                    count => format!("pipeline of {count} tasks, good"),
                }),
            )
        }
    }
}
