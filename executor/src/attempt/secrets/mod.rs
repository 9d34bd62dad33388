//! The secrets of one attempt: in the environment of the stage that names them, or as files of its
//! owner alone in memory-backed storage; and never anywhere else on disk.

mod files;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use bytes::Bytes;
use ocelot_core::plan::{Runtime, SecretDelivery, SecretUse, TaskPlan};
use ocelot_git::Credentials;
use ocelot_proto::wire;
use zeroize::Zeroizing;

use crate::mask::{MaskSet, SHORTEST, Short};
use crate::runtime::Login;

pub(crate) use files::{Place, Unplaced, Workspace};

/// Values by name, which are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    values: BTreeMap<String, Bytes>,
    /// What opens the repository.
    checkout: Option<wire::GitCredentials>,
    came: bool,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Returns the names that the plan asks for, each once.
pub fn names(plan: &TaskPlan) -> Vec<String> {
    let names = plan.secret_uses().map(|used| used.name.as_str()).chain(plan.pull_secrets());
    let names: BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Whether an image of the task or of a service needs a registry login.
pub fn pulls(plan: &TaskPlan) -> bool {
    plan.pull_secrets().next().is_some()
}

/// Returns the name of the registry login that the task's image needs.
pub fn pull_secret(plan: &TaskPlan) -> Option<&str> {
    match &plan.environment.runtime {
        Runtime::Container { pull_secret, .. } => pull_secret.as_deref(),
        Runtime::Process => None,
    }
}

impl Secrets {
    /// Takes what the controller gave, if that is all the plan needs and can be delivered. What is
    /// withheld on purpose is not missed.
    pub fn take(plan: &TaskPlan, values: BTreeMap<String, Bytes>, withheld: bool) -> Result<Self, String> {
        if let Some(name) = names(plan).iter().find(|name| !withheld && !values.contains_key(*name)) {
            return Err(format!("there is no secret {name:?} for this task"));
        }
        for used in plan.secret_uses() {
            let Some(value) = values.get(&used.name) else { continue };
            match &used.delivery {
                SecretDelivery::Env(_) | SecretDelivery::Argument(_) => {
                    if !std::str::from_utf8(value).is_ok_and(|text| !text.contains('\0')) {
                        let name = &used.name;
                        return Err(format!("the secret {name:?} is no text, so no variable can hold it"));
                    }
                }
                SecretDelivery::File(_) => {}
                SecretDelivery::Tool(tool) => {
                    let login = tools::login(*tool, value, Path::new("/"));
                    login.map_err(|form| {
                        let word = tools::word(*tool);
                        format!("the secret {:?} is no login for {word}: {form}", used.name)
                    })?;
                }
            }
        }
        Ok(Self { values, checkout: None, came: true })
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

    /// Returns whether they were fetched, if only to be told that there are none.
    pub fn came(&self) -> bool {
        self.came
    }

    fn value(&self, name: &str) -> Option<&Bytes> {
        self.values.get(name)
    }

    /// Adds the values to those that are masked. Returns the names of those that are too short, which
    /// whoever set them allowed; an argument of the run is not allowed to be.
    pub fn mask(&self, plan: &TaskPlan, masks: &mut MaskSet) -> Result<Vec<&str>, String> {
        let is_argument = |name: &str| {
            let mut uses = plan.secret_uses().filter(|used| used.name == name);
            uses.any(|used| matches!(used.delivery, SecretDelivery::Argument(_)))
        };
        let mut short = Vec::new();
        for (name, value) in &self.values {
            let refused = |refused| format!("the secret {name:?} cannot be masked: {refused}");
            let rule = if is_argument(name) { Short::Refuse } else { Short::LeaveVisible };
            masks.add(value, rule).map_err(refused)?;
            if value.trim_ascii().len() < SHORTEST {
                short.push(name.as_str());
            }
            for part in self.parts(plan, name) {
                masks.add(&part, Short::LeaveVisible).map_err(refused)?;
            }
        }
        let opens = match self.checkout() {
            Credentials::None => return Ok(short),
            Credentials::Basic { secret, .. } => secret,
            Credentials::SshKey { private_key, .. } => private_key,
        };
        // An empty password is no secret.
        if !opens.is_empty() {
            let added = masks.add(opens.as_bytes(), Short::Refuse);
            added.map_err(|refused| format!("what opens the repository cannot be masked: {refused}"))?;
        }
        Ok(short)
    }

    /// Returns what a tool is told that is no spelling of the whole value: passwords in it.
    fn parts(&self, plan: &TaskPlan, name: &str) -> Vec<Zeroizing<Vec<u8>>> {
        let Some(value) = self.value(name) else { return Vec::new() };
        let mut parts = Vec::new();
        for used in plan.secret_uses().filter(|used| used.name == name) {
            let SecretDelivery::Tool(tool) = used.delivery else { continue };
            parts.extend(
                tools::login(tool, value, Path::new("/")).map(|login| login.masks).unwrap_or_default(),
            );
        }
        if plan.pull_secrets().any(|pull| pull == name) {
            let password = value.trim_ascii().splitn(2, |byte| *byte == b':').nth(1);
            parts.extend(password.map(|password| Zeroizing::new(password.to_vec())));
        }
        parts
    }

    /// Returns the registry login of this name: `name:password`.
    pub fn login(&self, pull_secret: Option<&str>) -> Option<Login> {
        let value = std::str::from_utf8(self.values.get(pull_secret?)?).ok()?;
        let (user, password) = value.trim_end().split_once(':')?;
        Some(Login { user: user.to_owned(), password: password.to_owned() })
    }

    /// Returns the variables for these uses.
    pub(crate) fn variables<'a>(
        &'a self,
        uses: &'a [SecretUse],
        place: &'a Place,
    ) -> impl Iterator<Item = (String, String)> + 'a {
        uses.iter().flat_map(|used| {
            let Some(value) = self.value(&used.name) else { return Vec::new() };
            match &used.delivery {
                SecretDelivery::Env(variable) | SecretDelivery::Argument(variable) => {
                    vec![(variable.clone(), String::from_utf8_lossy(value).into_owned())]
                }
                SecretDelivery::File(_) => Vec::new(),
                SecretDelivery::Tool(tool) => {
                    let login = tools::login(*tool, value, &place.of_tool(tools::word(*tool)));
                    login.map(|login| login.env).unwrap_or_default()
                }
            }
        })
    }
}
