//! The secrets of one attempt: in the environment of the stage that names them, or as files of its
//! owner alone in memory-backed storage; and never anywhere else on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ocelot_core::plan::{Runtime, SecretDelivery, SecretUse, TaskPlan, Work};

use ocelot_git::Credentials;
use ocelot_proto::wire;
use zeroize::Zeroizing;

use crate::mask::{MaskSet, Short};
use crate::runtime::{Login, Mount};

/// Values by name, which are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    values: BTreeMap<String, Bytes>,
    /// What opens the repository.
    checkout: Option<wire::GitCredentials>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Returns everything that the stages of a plan use.
fn uses(plan: &TaskPlan) -> impl Iterator<Item = &SecretUse> {
    let stages = match &plan.work {
        Work::Stages { stages, .. } => stages.as_slice(),
        Work::Command(_) => &[],
    };
    plan.environment.secrets.iter().chain(stages.iter().flat_map(|stage| &stage.secrets))
}

fn of_services(plan: &TaskPlan) -> impl Iterator<Item = &SecretUse> {
    plan.environment.services.iter().flat_map(|service| &service.secrets)
}

/// Returns the names that the plan asks for, each once.
pub fn names(plan: &TaskPlan) -> Vec<String> {
    let pulls = plan.environment.services.iter().filter_map(|service| service.pull_secret.clone());
    let names = uses(plan).chain(of_services(plan)).map(|used| used.name.clone()).chain(pulls);
    let names: BTreeSet<String> = names.chain(pull_secret(plan).map(str::to_owned)).collect();
    names.into_iter().collect()
}

/// Whether an image of the task or of a service needs a registry login.
pub fn pulls(plan: &TaskPlan) -> bool {
    let of_services = plan.environment.services.iter().any(|service| service.pull_secret.is_some());
    of_services || pull_secret(plan).is_some()
}

/// Returns the name of the registry login that the task's image needs.
pub fn pull_secret(plan: &TaskPlan) -> Option<&str> {
    match &plan.environment.runtime {
        Runtime::Container { pull_secret, .. } => pull_secret.as_deref(),
        Runtime::Process => None,
    }
}

impl Secrets {
    /// Takes what the controller gave, if that is all the plan needs and can be delivered.
    pub fn take(plan: &TaskPlan, values: BTreeMap<String, Bytes>) -> Result<Self, String> {
        if let Some(name) = names(plan).iter().find(|name| !values.contains_key(*name)) {
            return Err(format!("there is no secret {name:?} for this task"));
        }
        for used in uses(plan).chain(of_services(plan)) {
            let needs_text = match &used.delivery {
                SecretDelivery::Env(_) | SecretDelivery::Argument(_) => true,
                SecretDelivery::File(_) => false,
                SecretDelivery::Tool(_) => {
                    return Err(format!("this executor cannot write the login file for {:?}", used.name));
                }
            };
            let text = std::str::from_utf8(&values[&used.name]).is_ok_and(|text| !text.contains('\0'));
            if needs_text && !text {
                return Err(format!("the secret {:?} is no text, so no variable can hold it", used.name));
            }
        }
        Ok(Self { values, checkout: None })
    }

    /// Adds what opens the repository.
    pub fn with_checkout(mut self, credentials: wire::GitCredentials) -> Self {
        self.checkout = Some(credentials);
        self
    }

    /// Returns what git is to show the server.
    pub fn checkout(&self) -> Credentials {
        use wire::git_credentials::Credentials as Given;
        match self.checkout.as_ref().and_then(|given| given.credentials.as_ref()) {
            None => Credentials::None,
            Some(Given::Login(login)) => Credentials::Basic {
                user: login.user.clone(),
                secret: Zeroizing::new(login.password.clone()),
            },
            Some(Given::SshKey(key)) => Credentials::SshKey {
                private_key: Zeroizing::new(key.private_key.clone()),
                known_hosts: Some(key.known_hosts.clone()).filter(|hosts| !hosts.is_empty()),
            },
        }
    }

    /// Adds the values to those that are masked.
    pub fn mask(&self, masks: &mut MaskSet) -> Result<(), String> {
        for (name, value) in &self.values {
            let added = masks.add(value, Short::Refuse);
            added.map_err(|refused| format!("the secret {name:?} cannot be masked: {refused}"))?;
        }
        let opens = match self.checkout() {
            Credentials::None => return Ok(()),
            Credentials::Basic { secret, .. } => secret,
            Credentials::SshKey { private_key, .. } => private_key,
        };
        // An empty password is no secret.
        if !opens.is_empty() {
            let added = masks.add(opens.as_bytes(), Short::Refuse);
            added.map_err(|refused| format!("what opens the repository cannot be masked: {refused}"))?;
        }
        Ok(())
    }

    /// Returns the registry login of this name: `name:password`.
    pub fn login(&self, pull_secret: Option<&str>) -> Option<Login> {
        let value = std::str::from_utf8(self.values.get(pull_secret?)?).ok()?;
        let (user, password) = value.trim_end().split_once(':')?;
        Some(Login { user: user.to_owned(), password: password.to_owned() })
    }

    /// Returns the variables for these uses.
    pub fn variables<'a>(&'a self, uses: &'a [SecretUse]) -> impl Iterator<Item = (String, String)> + 'a {
        uses.iter().filter_map(|used| {
            let variable = match &used.delivery {
                SecretDelivery::Env(variable) | SecretDelivery::Argument(variable) => variable,
                SecretDelivery::File(_) | SecretDelivery::Tool(_) => return None,
            };
            let value = self.values.get(&used.name)?;
            Some((variable.clone(), String::from_utf8_lossy(value).into_owned()))
        })
    }

    /// Writes the files among the uses into `directory`, which must be in memory. A relative path is
    /// below the task's directory. Blocks.
    pub fn write(&self, plan: &TaskPlan, directory: &Path, inside: &Path) -> io::Result<Vec<Mount>> {
        self.write_each(uses(plan), directory, inside)
    }

    /// Does the same for each service, whose relative paths are below the root.
    pub fn write_services(&self, plan: &TaskPlan, directory: &Path) -> io::Result<Vec<Vec<Mount>>> {
        let services = plan.environment.services.iter().enumerate();
        let written = services.map(|(place, service)| {
            let own = directory.join(format!("service-{place}"));
            self.write_each(service.secrets.iter(), &own, Path::new("/"))
        });
        written.collect()
    }

    fn write_each<'a>(
        &self,
        uses: impl Iterator<Item = &'a SecretUse>,
        directory: &Path,
        inside: &Path,
    ) -> io::Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for used in uses {
            let SecretDelivery::File(target) = &used.delivery else { continue };
            let Some(value) = self.values.get(&used.name) else { continue };
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let source: PathBuf = directory.join(mounts.len().to_string());
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&source)?;
            file.write_all(value)?;
            mounts.push(Mount { source, target: inside.join(target) });
        }
        Ok(mounts)
    }
}
