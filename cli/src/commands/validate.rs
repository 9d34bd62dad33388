//! `ocelot validate`: every mistake of every file, in the order of its lines.

use std::path::Path;

use ocelot_spec::{FileKind, Job, Pipeline, Problems};
use serde::Serialize;

use crate::args::Validate;
use crate::error::Error;
use crate::show::Output;

use super::{own_definition, read};

/// One file's result, as scripts see it.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    valid: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ocelot_spec::Problem>,
    /// Why the file could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

#[derive(Debug, Serialize)]
struct Checks {
    files: Vec<Checked>,
}

pub(crate) fn run(validate: &Validate, output: &Output) -> Result<(), Error> {
    let own = [own_definition()];
    let wanted = if validate.files.is_empty() { &own[..] } else { &validate.files };
    if let [file] = wanted {
        // Alone, an unreadable file is the whole answer, with a hint.
        read(file)?;
    }
    let mut text = String::new();
    let files: Vec<Checked> = wanted.iter().map(|file| checked(file, &mut text)).collect();
    let wrong = files.iter().filter(|file| !file.valid).count();
    output.result(text, &Checks { files })?;
    if wrong > 0 { Err(Error::MistakesShown { files: wrong }) } else { Ok(()) }
}

/// Checks one file and adds to `text` what people are told of it.
fn checked(file: &Path, text: &mut String) -> Checked {
    let name = file.display().to_string();
    let nothing =
        Checked { file: name.clone(), kind: None, valid: false, problems: Vec::new(), unreadable: None };
    let bytes = match read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            text.push_str(&format!("{error}\n"));
            return Checked { unreadable: Some(error.to_string()), ..nothing };
        }
    };
    let (kind, found) = check(file, &bytes);
    match found {
        Ok(says) => {
            text.push_str(&format!("{name}: {says}\n"));
            Checked { kind: Some(kind), valid: true, ..nothing }
        }
        Err(problems) => {
            text.push_str(&format!("{problems}\n"));
            Checked { kind: Some(kind), problems: problems.problems, ..nothing }
        }
    }
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
