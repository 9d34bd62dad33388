//! `ocelot update`: jobs that exist change; what does not exist is not made by accident.

use super::Session;
use super::create::{checked, put, tell};
use super::describe::job;
use crate::args::Update;
use crate::error::{Error, Result};

pub(crate) async fn run(update: &Update, session: &Session) -> Result<()> {
    let checked = checked(&update.file)?;
    let client = session.client()?;
    if update.if_version.is_some() && checked.len() > 1 {
        return Err(Error::usage("--if-version is for one job", "name one file with --file"));
    }
    for new in &checked {
        let there = job(&client, &new.name, 0).await;
        let create = format!("to create it: ocelot create -f {}", new.file.display());
        there.map_err(|error| match error {
            Error::Refused { what, whose, .. } => Error::Refused { what, hint: Some(create), whose },
            other => other,
        })?;
    }
    let mut jobs = Vec::new();
    for new in checked {
        jobs.push(put(&client, &new, true, update.if_version.unwrap_or(0)).await?);
    }
    tell(session, jobs)
}
