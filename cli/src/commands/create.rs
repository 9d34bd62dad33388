//! `ocelot create`: jobs from files. A folder is created as a whole or, where a file has a mistake,
//! not at all.

use std::fs;
use std::path::{Path, PathBuf};

use ocelot_proto::wire;
use ocelot_spec::{FileKind, Job};
use serde::Serialize;

use super::{Session, read};
use crate::args::Create;
use crate::client::{Api, Client, Repeat};
use crate::error::{Error, Result};
use crate::show::plain;

/// A commented job to begin with.
pub(crate) const TEMPLATE: &str = include_str!("template.job.yml");

/// A job file that has no mistake.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What became of one job.
#[derive(Debug, Serialize)]
pub(crate) struct Put {
    pub(crate) job: String,
    pub(crate) version: u64,
    pub(crate) result: PutResult,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PutResult {
    Created,
    Updated,
    Unchanged,
}

#[derive(Debug, Serialize)]
pub(crate) struct Puts {
    pub(crate) jobs: Vec<Put>,
}

pub(crate) async fn run(create: &Create, session: &Session) -> Result<()> {
    let Some(file) = create.file.as_deref().filter(|_| !create.template) else {
        return session.output.bytes(TEMPLATE.as_bytes());
    };
    let checked = checked(file)?;
    let client = session.client()?;
    let mut jobs = Vec::new();
    for job in checked {
        jobs.push(put(&client, &job, create.update, 0).await?);
    }
    tell(session, jobs)
}

pub(crate) fn tell(session: &Session, jobs: Vec<Put>) -> Result<()> {
    let line = |put: &Put| {
        let word = match put.result {
            PutResult::Created => "created",
            PutResult::Updated => "updated",
            PutResult::Unchanged => "unchanged:",
        };
        let version = if put.version > 1 { format!(", version {}", put.version) } else { String::new() };
        format!("{word} {}{version}\n", plain(&put.job))
    };
    let text: String = jobs.iter().map(line).collect();
    session.output.result(text, &Puts { jobs })
}

/// Reads a job file, or every job file of a folder; one mistake is enough to do nothing.
pub(crate) fn checked(file: &Path) -> Result<Vec<Checked>> {
    let folder = file.is_dir();
    let files = if folder { files_of(file)? } else { vec![file.to_owned()] };
    let mut checked = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        let bytes = read(&file)?;
        if folder && FileKind::of(&bytes) != FileKind::Job {
            continue;
        }
        match Job::parse(&file.display().to_string(), &bytes) {
            Ok(job) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                checked.push(Checked { file, name: job.name.to_string(), text });
            }
            Err(problems) => wrong.push(problems),
        }
    }
    match wrong.len() {
        0 if checked.is_empty() => Err(Error::usage(
            format!("there is no job file in {}", file.display()),
            "a job file ends in .yml or .yaml and has a `name`; see one: ocelot create --template",
        )),
        0 => Ok(checked),
        1 => Err(Error::Mistakes(wrong.remove(0))),
        count => {
            let all: Vec<String> =
                wrong.iter().map(|problems| problems.to_string().trim_end().to_owned()).collect();
            Err(Error::Usage {
                what: format!("{count} files have mistakes, so nothing was created\n{}", all.join("\n")),
                hint: None,
            })
        }
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |source| Error::Unreadable { file: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
        if yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Puts one job; doing it twice changes nothing.
pub(crate) async fn put(client: &Client, job: &Checked, update: bool, if_version: u64) -> Result<Put> {
    let request = wire::PutJobRequest { definition: job.text.clone(), update, if_version };
    let call = async |api: Api, request| api.jobs().put_job(request).await;
    let verb = if update { "update" } else { "create" };
    let doing = format!("{verb} the job {} from {}", plain(&job.name), job.file.display());
    // With a version named, the second answer would say that it is not that version any more.
    let repeat = if if_version == 0 { Repeat::Safe } else { Repeat::Never };
    let answer = client.call(&doing, repeat, request, call).await.map_err(|error| {
        error.with_hint(format!(
            "if it is there already and should change: ocelot update -f {}",
            job.file.display()
        ))
    })?;
    let stored = answer.job.unwrap_or_default();
    let result = match (answer.changed, stored.version) {
        (false, _) => PutResult::Unchanged,
        (true, 0 | 1) => PutResult::Created,
        (true, _) => PutResult::Updated,
    };
    Ok(Put { job: stored.name, version: stored.version, result })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_good_job() {
        let job = Job::parse("template", TEMPLATE.as_bytes()).map_err(|problems| problems.to_string());
        assert_eq!(job.map(|job| job.name.to_string()), Ok("hello".to_owned()));
    }
}
