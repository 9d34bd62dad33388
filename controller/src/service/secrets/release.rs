//! Giving secrets to an attempt: only to the session that holds it now, only what its plan names, and
//! never to what a fork wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use ocelot_core::plan::{SecretDelivery, TaskPlan};
use ocelot_domain::task::state::Session;
use ocelot_spec::Job;
use zeroize::Zeroizing;

use super::super::error::{Error, Result, What};
use super::super::{AttemptRef, Service};
use crate::records::{RunRecord, SecretRecord, SecretUseRecord, Subject};
use crate::store::codec::decode;
use crate::store::keys::{Key, SecretScope};
use crate::store::update::Edit;

/// The last use is written so often and no oftener: many tasks share a secret.
const USE_EVERY: Duration = Duration::from_secs(60);

/// What an attempt is given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Released {
    pub values: BTreeMap<String, Bytes>,
    /// Why it is given nothing, for the run's log; the task goes on without.
    pub withheld: Option<&'static str>,
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Released")
            .field("names", &self.values.keys())
            .field("withheld", &self.withheld)
            .finish()
    }
}

/// Where the plan says that a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The run's own arguments.
    Argument,
    /// The store of its scopes.
    Kept,
}

impl Service {
    /// Returns the values of these secrets, to the session of a live, acknowledged attempt whose plan
    /// names them.
    pub async fn fetch_secrets(
        &self,
        session: Session,
        attempt: AttemptRef,
        names: &[String],
    ) -> Result<Released> {
        self.live_now(session, attempt).await?;
        let run = attempt.task.run;
        let item = self.read(&Key::Run(run).to_string()).await?;
        let record: RunRecord = decode(&item.ok_or_else(|| Error::not_found(What::Run, run))?.value)?;
        if !record.is_trusted() {
            tracing::info!(task.id = %attempt.task, "secrets are withheld from a fork's task");
            let withheld = (!names.is_empty()).then_some("runs of forks are given no secrets");
            return Ok(Released { values: BTreeMap::new(), withheld });
        }
        let plan = self.plan_of(&record).await?;
        let planned = plan.tasks.get(attempt.task.index as usize);
        let planned = planned.ok_or_else(|| Error::not_found(What::Task, attempt.task))?;
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let mut of_run = BTreeMap::new();
        let (mut values, mut kept) = (BTreeMap::new(), Vec::new());
        for name in names {
            match origin(planned, name)? {
                Origin::Kept => kept.push(name),
                Origin::Argument => {
                    if of_run.is_empty() {
                        of_run = self.secrets_of(run).await?;
                    }
                    let value = of_run.remove(name);
                    let gone = || Error::Conflict { why: format!("the run has no argument {name:?}") };
                    values
                        .insert(name.to_owned(), wiped(Zeroizing::new(value.ok_or_else(gone)?.into_bytes())));
                }
            }
        }
        let used_by = format!("{}#{}", record.subject.name(), record.number);
        let found = self.find(&record, &kept).await?;
        for (scope, name, value) in found.iter().cloned() {
            tracing::info!(
                task.id = %attempt.task, attempt = attempt.attempt.number(), run = used_by,
                executor.id = %session.executor, session.id = %session.id, %scope, name,
                "a secret was released"
            );
            values.insert(name.to_owned(), value);
        }
        join_all(found.iter().map(|(scope, name, _)| self.note_use(scope, name, &used_by))).await;
        Ok(Released { values, withheld: None })
    }

    /// Looks secrets up, each in the nearest scope that has it.
    async fn find<'a>(
        &self,
        run: &RunRecord,
        names: &[&'a str],
    ) -> Result<Vec<(SecretScope, &'a str, Bytes)>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let scopes = self.scopes_of(run).await?;
        let mut found = Vec::new();
        let mut missing = Vec::new();
        'names: for name in names {
            for scope in &scopes {
                let key = Key::Secret(scope.clone(), (*name).to_owned()).to_string();
                let Some(item) = self.read(&key).await? else { continue };
                let SecretRecord { sealed, .. } = decode(&item.value)?;
                found.push((scope.clone(), *name, wiped(self.open(&key, &sealed)?)));
                continue 'names;
            }
            missing.push(*name);
        }
        if missing.is_empty() {
            Ok(found)
        } else {
            Err(Error::Conflict { why: not_found(&missing, &scopes) })
        }
    }

    /// Returns where a run's secrets are looked up, in this order.
    async fn scopes_of(&self, run: &RunRecord) -> Result<Vec<SecretScope>> {
        match &run.subject {
            Subject::Project { name } => {
                let (owner, name) = name.split_once('/').unwrap_or((name, ""));
                let project = SecretScope::Project { owner: owner.to_owned(), name: name.to_owned() };
                Ok(vec![project, SecretScope::Organization(owner.to_owned())])
            }
            Subject::Job { name, version } => {
                let mut scopes = vec![SecretScope::Job(name.clone())];
                let organization = self.organization_of(name, *version).await?;
                scopes.extend(organization.map(SecretScope::Organization));
                Ok(scopes)
            }
        }
    }

    /// Returns the organization that the run's version of its job names.
    async fn organization_of(&self, job: &str, version: u32) -> Result<Option<String>> {
        let record = match self.job(job).await {
            Ok(record) => record,
            // It was deleted meanwhile: what it said is not known any more.
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = record.versions.iter().find(|one| one.version == version);
        let parsed = text.and_then(|one| Job::parse(job, one.text.as_bytes()).ok());
        Ok(parsed.map(|job| job.organization).filter(|organization| !organization.is_empty()))
    }

    /// Notes that a secret was given away. What cannot be noted is left: the task needs its value more.
    async fn note_use(&self, scope: &SecretScope, name: &str, by: &str) {
        let at = self.timestamp();
        let every = u64::try_from(USE_EVERY.as_millis()).unwrap_or(u64::MAX);
        let is_recent = |used: &SecretUseRecord| at.unix_ms.saturating_sub(used.at.unix_ms) < every;
        if self.last_use(scope, name).as_ref().is_some_and(is_recent) {
            return;
        }
        let key = Key::SecretUse(scope.clone(), name.to_owned()).to_string();
        let updated = self.updater.update(&key, |known: Option<SecretUseRecord>| {
            if known.as_ref().is_some_and(is_recent) {
                return Ok::<_, Error>(Edit::Keep);
            }
            Ok(Edit::Put(SecretUseRecord { at, by: by.to_owned() }))
        });
        if let Err(error) = updated.await {
            tracing::warn!(%scope, name, %error, "the use of a secret could not be noted");
        }
    }
}

/// Returns where a value comes from, if the task's plan names it at all.
fn origin(planned: &TaskPlan, name: &str) -> Result<Origin> {
    let uses = || planned.secret_uses().filter(|used| used.name == name);
    let is_argument = |delivery: &SecretDelivery| match delivery {
        SecretDelivery::Argument(_) => true,
        SecretDelivery::Env(_) | SecretDelivery::File(_) | SecretDelivery::Tool(_) => false,
    };
    let as_argument = uses().any(|used| is_argument(&used.delivery));
    let as_kept =
        uses().any(|used| !is_argument(&used.delivery)) || planned.pull_secrets().any(|one| one == name);
    match (as_argument, as_kept) {
        (true, false) => Ok(Origin::Argument),
        (false, true) => Ok(Origin::Kept),
        (false, false) => Err(Error::Conflict { why: format!("the task names no secret {name:?}") }),
        (true, true) => Err(Error::Conflict {
            why: format!("{name:?} is a secret argument and a secret of the store: rename one of them"),
        }),
    }
}

fn wiped(value: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(value)
}

/// Says which secrets there are not, where they were looked for, and how to set one.
fn not_found(missing: &[&str], scopes: &[SecretScope]) -> String {
    let names: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
    let places: Vec<String> = scopes.iter().map(SecretScope::to_string).collect();
    let secrets = if missing.len() == 1 { "secret" } else { "secrets" };
    let flag = match scopes.first() {
        Some(SecretScope::Job(job)) => format!("--job {job}"),
        Some(SecretScope::Project { owner, name }) => format!("--project {owner}/{name}"),
        Some(SecretScope::Organization(name)) => format!("--organization {name}"),
        None => String::new(),
    };
    format!(
        "there is no {secrets} {} in {}; set it with `ocelot secret set {} {flag}`",
        names.join(", "),
        places.join(" or "),
        missing.first().unwrap_or(&"NAME"),
    )
}
