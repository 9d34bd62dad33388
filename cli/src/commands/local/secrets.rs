//! The secrets that the tasks name: all of them are here before anything starts, and gone from the
//! fleet once the run is over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use ocelot_core::plan::{Gate, Plan, Runtime, SecretUse, TaskPlan, Work};
use ocelot_proto::wire;

use crate::client::{Api, Client, Repeat};
use crate::commands::read_up_to;
use crate::error::{Error, Result};
use crate::prompt;
use crate::show::plain;

/// The most that one value may be.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// Values by name.
#[derive(Default)]
pub(super) struct Secrets {
    values: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// Collects what the plan names: from files first, then from the person, if somebody is there.
    pub(super) fn collect(plan: &Plan, given: &[String]) -> Result<Self> {
        let wanted = wanted(plan);
        let mut values = BTreeMap::new();
        for pair in given {
            let (name, file) = pair.split_once("=@").filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                Error::usage(
                    "--secret is NAME=@FILE",
                    "what is typed here others can see: put the value into a file, or @- for standard input",
                )
            })?;
            if !wanted.contains_key(name) {
                return Err(Error::usage(
                    format!("no task that runs names the secret {}", plain(name)),
                    match wanted.is_empty() {
                        true => "leave it out: none is named".to_owned(),
                        false => format!("named are: {}", names(&wanted)),
                    },
                ));
            }
            values.insert(name.to_owned(), value(Path::new(file))?);
        }
        let missing: BTreeMap<String, BTreeSet<String>> =
            wanted.into_iter().filter(|(name, _)| !values.contains_key(name)).collect();
        if !missing.is_empty() && !prompt::somebody_is_there() {
            let told: Vec<String> = missing
                .iter()
                .map(|(name, tasks)| {
                    format!("{name} (for {})", tasks.iter().cloned().collect::<Vec<_>>().join(", "))
                })
                .collect();
            return Err(Error::usage(
                format!("secrets are missing: {}", plain(&told.join("; "))),
                "give each from a file: --secret NAME=@FILE; or run tasks that need none: ocelot local TASK",
            ));
        }
        for name in missing.into_keys() {
            let value = prompt::secret(&format!("secret {}: ", plain(&name)))?;
            values.insert(name, value.into_bytes());
        }
        Ok(Self { values })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    /// Puts them where tasks of the project find them.
    pub(super) async fn give(&self, client: &Client, project: &str) -> Result<()> {
        for (name, value) in &self.values {
            let request = wire::SetSecretRequest {
                scope: Some(scope(project)),
                name: name.clone(),
                value: value.clone().into(),
                allow_short: true,
            };
            let call = async |api: Api, request| api.secrets().set_secret(request).await;
            client.call(&format!("set the secret {}", plain(name)), Repeat::Safe, request, call).await?;
        }
        Ok(())
    }
}

/// Takes secrets away again.
pub(super) async fn forget(client: &Client, project: &str, names: &[String]) -> Result<()> {
    for name in names {
        let request = wire::RemoveSecretRequest { scope: Some(scope(project)), name: name.clone() };
        let call = async |api: Api, request| api.secrets().remove_secret(request).await;
        client.call(&format!("remove the secret {}", plain(name)), Repeat::Safe, request, call).await?;
    }
    Ok(())
}

fn scope(project: &str) -> wire::SecretScope {
    wire::SecretScope { scope: Some(wire::secret_scope::Scope::Project(project.to_owned())) }
}

fn names(wanted: &BTreeMap<String, BTreeSet<String>>) -> String {
    wanted.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Returns the names that the tasks ask for which run, and which tasks ask.
fn wanted(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for task in plan.tasks.iter().filter(|task| !matches!(task.gate, Gate::Skip { .. })) {
        for name in of_task(task) {
            wanted.entry(name).or_default().insert(task.base.clone());
        }
    }
    wanted
}

fn of_task(task: &TaskPlan) -> Vec<String> {
    let environment = &task.environment;
    let mut uses: Vec<&SecretUse> = environment.secrets.iter().collect();
    uses.extend(environment.services.iter().flat_map(|service| &service.secrets));
    if let Work::Stages { stages, .. } = &task.work {
        uses.extend(stages.iter().filter(|stage| stage.skip.is_none()).flat_map(|stage| &stage.secrets));
    }
    let mut names: Vec<String> = uses.into_iter().map(|used| used.name.clone()).collect();
    names.extend(environment.services.iter().filter_map(|service| service.pull_secret.clone()));
    if let Runtime::Container { pull_secret: Some(name), .. } = &environment.runtime {
        names.push(name.clone());
    }
    names
}

fn value(file: &Path) -> Result<Vec<u8>> {
    let bytes = read_up_to(file, VALUE_BYTES_MAX + 1)?;
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(Error::Usage { what: format!("{} is longer than 64 KiB", file.display()), hint: None });
    }
    Ok(bytes)
}
