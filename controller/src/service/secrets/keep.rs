//! Named secrets: written, listed without their values, removed.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use ocelot_domain::outcome::Actor;

use super::super::Service;
use super::super::error::{Error, Result};
use super::super::jobs::{PAGE_MAX, settled};
use crate::records::{SecretAbout, SecretRecord, SecretUseRecord};
use crate::store::Txn;
use crate::store::keys::{Folder, Key, SecretScope};
use crate::store::update::Edit;

/// The longest value.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// A shorter value would be masked wherever it stands by chance, so it is not masked.
pub const SECRET_BYTES_SHORT: usize = 8;
const NAME_MAX: usize = 63;
/// The longest part of a scope.
const SCOPE_MAX: usize = 200;

/// A secret to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret {
    pub scope: SecretScope,
    pub name: String,
    pub value: Bytes,
    /// A short value is accepted although it is not masked.
    pub allow_short: bool,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret")
            .field("scope", &self.scope)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A secret as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSecret {
    pub scope: SecretScope,
    pub name: String,
    pub about: SecretAbout,
    /// None until it is first given away.
    pub used: Option<SecretUseRecord>,
}

/// One page of secrets, by scope and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPage {
    pub secrets: Vec<ListedSecret>,
    /// Behind which the next page begins; none on the last.
    pub next: Option<String>,
}

impl Service {
    /// Writes a secret, or replaces its value. Returns it with whether it was there before.
    pub async fn set_secret(&self, new: NewSecret, by: &Actor) -> Result<(ListedSecret, bool)> {
        let NewSecret { scope, name, value, allow_short } = new;
        check_place(&scope, &name)?;
        let short = check_value(&name, &value, allow_short)?;
        let key = Key::Secret(scope.clone(), name.clone()).to_string();
        let sealed = self.seal(&key, &value)?;
        let now = self.timestamp();
        let mut written = None;
        let updated = self.updater.update(&key, |known: Option<SecretRecord>| {
            let created_at = known.as_ref().map_or(now, |known| known.about.created_at);
            let about = SecretAbout { created_at, updated_at: now, updated_by: by.clone(), short };
            written = Some((about.clone(), known.is_some()));
            Ok::<_, Error>(Edit::Put(SecretRecord { about, sealed: sealed.clone() }))
        });
        settled(updated.await)?;
        let (about, replaced) = written.ok_or(Error::NotNow { why: "the secret was not written" })?;
        tracing::info!(%scope, name, by = %by.0, replaced, "a secret was set");
        let used = if replaced { self.last_use(&scope, &name) } else { None };
        Ok((ListedSecret { scope, name, about, used }, replaced))
    }

    /// Removes a secret. Returns whether it was there.
    pub async fn remove_secret(&self, scope: &SecretScope, name: &str, by: &Actor) -> Result<bool> {
        check_place(scope, name)?;
        let key = Key::Secret(scope.clone(), name.to_owned()).to_string();
        let mut existed = false;
        let updated = self.updater.update(&key, |known: Option<SecretRecord>| {
            existed |= known.is_some();
            let edit = if known.is_some() { Edit::Delete } else { Edit::<SecretRecord>::Keep };
            Ok::<_, Error>(edit.beside(Txn::new().delete(Key::SecretUse(scope.clone(), name.to_owned()))))
        });
        settled(updated.await)?;
        if existed {
            tracing::info!(%scope, name, by = %by.0, "a secret was removed");
        }
        Ok(existed)
    }

    /// Lists secrets of a scope, or of every scope, from the one behind `after`.
    pub fn secrets(
        &self,
        scope: Option<&SecretScope>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SecretPage> {
        let folder = match scope {
            Some(scope) => format!("{}{}", Folder::Secrets, scope.folder()),
            None => Folder::Secrets.to_string(),
        };
        let start = match after {
            Some(key) if key.starts_with(&folder) => Bound::Excluded(key.to_owned()),
            Some(_) => return Err(Error::invalid("the page does not belong to this list")),
            None => Bound::Included(folder.clone()),
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let mut found: Vec<(String, ListedSecret)> = self.view.read(|items| {
            let within = items.range((start, Bound::Unbounded));
            let within = within.take_while(|(key, _)| key.starts_with(&folder));
            let listed = within.filter_map(|(key, entry)| {
                let about = entry.known()?.secret()?.clone();
                let Ok(Key::Secret(scope, name)) = key.parse() else { return None };
                let used = items.get(&Key::SecretUse(scope.clone(), name.clone()).to_string());
                let used = used.and_then(|entry| entry.known()?.secret_use().cloned());
                Some((key.clone(), ListedSecret { scope, name, about, used }))
            });
            listed.take(limit + 1).collect()
        });
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(key, _)| key.clone());
        Ok(SecretPage { secrets: found.into_iter().map(|(_, listed)| listed).collect(), next })
    }

    /// Returns when a secret was last given away, as the view has it.
    pub(super) fn last_use(&self, scope: &SecretScope, name: &str) -> Option<SecretUseRecord> {
        let key = Key::SecretUse(scope.clone(), name.to_owned()).to_string();
        self.view.get(&key)?.known()?.secret_use().cloned()
    }
}

/// Returns whether the value is too short to be masked.
fn check_value(name: &str, value: &[u8], allow_short: bool) -> Result<bool> {
    if value.is_empty() {
        return Err(Error::invalid(format!("the value of {name:?} is empty")));
    }
    if value.len() > SECRET_BYTES_MAX {
        let bytes = value.len();
        let why = format!("the value of {name:?} has {bytes} bytes; a secret has at most {SECRET_BYTES_MAX}");
        return Err(Error::invalid(why));
    }
    let short = value.trim_ascii().len() < SECRET_BYTES_SHORT;
    if short && !allow_short {
        let why = format!(
            "the value of {name:?} has fewer than {SECRET_BYTES_SHORT} bytes, so logs could not mask it; \
             if it must be so, say --allow-short"
        );
        return Err(Error::invalid(why));
    }
    Ok(short)
}

fn check_place(scope: &SecretScope, name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(plain) {
        let why = format!("a secret's name has 1 to {NAME_MAX} letters, digits, `-` and `_`, not {name:?}");
        return Err(Error::invalid(why));
    }
    let parts: [&str; 2] = match scope {
        SecretScope::Job(job) => [job, "-"],
        SecretScope::Project { owner, name } => [owner, name],
        SecretScope::Organization(name) => [name, "-"],
    };
    let is_word = |part: &str| {
        (1..=SCOPE_MAX).contains(&part.len()) && !part.chars().any(|one| one.is_control() || one == ' ')
    };
    if !parts.into_iter().all(is_word) {
        return Err(Error::invalid("a secret is of a job, a project owner/name or an organization"));
    }
    Ok(())
}
