//! What opens a project's repository: for our own mirror, and for the executor that checks it out.
//!
//! It is given to the session of a live, acknowledged attempt of the project alone; a fork's run needs
//! it too, because it reads the same repository. It never stands in a plan, a record or a log.

use std::fmt;

use ocelot_domain::task::state::Session;
use ocelot_forge::Forge;
use ocelot_git::{Credentials, RepositoryUrl};
use zeroize::Zeroizing;

use crate::records::{ProjectName, ProjectRecord, RunRecord, Subject};
use crate::service::error::{Error, Result, What};
use crate::service::{AttemptRef, Service};
use crate::store::codec::decode;
use crate::store::keys::Key;

/// What opens a repository for reading.
#[derive(Clone, PartialEq, Eq)]
pub enum Opens {
    Login { user: String, password: Zeroizing<String> },
    SshKey { private_key: Zeroizing<String>, known_hosts: Option<String> },
}

impl fmt::Debug for Opens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login { .. } => "Login(..)",
            Self::SshKey { .. } => "SshKey(..)",
        })
    }
}

impl Opens {
    /// Reads a secret: a private key, with the server's lines of `known_hosts` behind it if they are
    /// known; `user:token`; or a token alone.
    pub(super) fn read(secret: &str, forge: Option<Forge>) -> Self {
        if let Some((key, known_hosts)) = private_key(secret) {
            return Self::SshKey { private_key: Zeroizing::new(key), known_hosts };
        }
        let secret = secret.trim();
        let (user, password) = match secret.split_once(':') {
            Some((user, token)) if !user.is_empty() => (user, token),
            Some(_) | None => (user_of(forge), secret),
        };
        Self::Login { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
    }

    pub(super) fn to_git(&self) -> Credentials {
        match self {
            Self::Login { user, password } => {
                Credentials::Basic { user: user.clone(), secret: password.clone() }
            }
            Self::SshKey { private_key, known_hosts } => {
                Credentials::SshKey { private_key: private_key.clone(), known_hosts: known_hosts.clone() }
            }
        }
    }
}

/// Returns the name that a forge wants with a token that has none of its own.
fn user_of(forge: Option<Forge>) -> &'static str {
    match forge {
        Some(Forge::GitHub) => "x-access-token",
        Some(Forge::GitLab) | Some(Forge::Gitea) => "oauth2",
        Some(Forge::Bitbucket) => "x-token-auth",
        None => "git",
    }
}

fn private_key(secret: &str) -> Option<(String, Option<String>)> {
    const END: &str = "PRIVATE KEY-----";
    let begin = secret.find("-----BEGIN ")?;
    let end = secret.rfind(END)? + END.len();
    let key = secret.get(begin..end)?;
    let rest = secret[end..].trim();
    Some((format!("{key}\n"), (!rest.is_empty()).then(|| format!("{rest}\n"))))
}

impl Service {
    /// Returns what opens a project's repository; none if it is open.
    pub(super) async fn opens(&self, project: &ProjectRecord) -> Result<Option<Opens>> {
        let Some(name) = &project.git_secret else { return Ok(None) };
        let secret = self.project_secret(&project.name, name).await?;
        Ok(Some(Opens::read(&secret, project.forge.as_ref().map(|link| link.kind))))
    }

    /// Returns what opens the repository of an attempt's run, to the session that holds it now.
    pub async fn checkout_credentials(&self, session: Session, attempt: AttemptRef) -> Result<Option<Opens>> {
        self.live_now(session, attempt).await?;
        let run = attempt.task.run;
        let item = self.read(&Key::Run(run).to_string()).await?;
        let record: RunRecord = decode(&item.ok_or_else(|| Error::not_found(What::Run, run))?.value)?;
        let (Subject::Project { name }, Some(source)) = (&record.subject, &record.source) else {
            return Ok(None);
        };
        let name: ProjectName = name.parse().map_err(Error::invalid)?;
        let project = self.project(&name).await?;
        // The project may have moved since: what opens its new home is none of the old one's business.
        if !is_same_server(&source.url, &project.url) {
            let why = format!("{name} has moved to another server since this run was accepted");
            return Err(Error::Conflict { why });
        }
        let opens = self.opens(&project).await?;
        if opens.is_some() {
            tracing::info!(
                task.id = %attempt.task, attempt = attempt.attempt.number(), executor.id = %session.executor,
                session.id = %session.id, project = %name, "what opens the repository was released"
            );
        }
        Ok(opens)
    }

    /// Tells whether a checkout of this run's source needs credentials, as the view has it.
    pub(in crate::service) fn needs_credentials(&self, run: &RunRecord) -> bool {
        match &run.subject {
            Subject::Project { name } => {
                let project = name.parse().ok().and_then(|name| self.sight_of_project(&name));
                project.is_some_and(|project| project.git_secret.is_some())
            }
            Subject::Job { .. } => false,
        }
    }
}

fn is_same_server(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (RepositoryUrl::parse(one), RepositoryUrl::parse(other)) {
        (Ok(one), Ok(other)) => one.same_server(&other),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(secret: &str, forge: Option<Forge>) -> (String, String) {
        match Opens::read(secret, forge) {
            Opens::Login { user, password } => (user, password.to_string()),
            Opens::SshKey { .. } => panic!("a key"),
        }
    }

    #[test]
    fn a_token_comes_with_a_user_or_takes_the_forges_own() {
        assert_eq!(login("ana:t0ken\n", None), ("ana".into(), "t0ken".into()));
        assert_eq!(login("t0ken", Some(Forge::GitHub)), ("x-access-token".into(), "t0ken".into()));
        assert_eq!(login("t0ken", None), ("git".into(), "t0ken".into()));
    }

    #[test]
    fn a_key_may_bring_its_servers_lines() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----";
        let Opens::SshKey { private_key, known_hosts } =
            Opens::read(&format!("{key}\nhost ssh-ed25519 AAAA\n"), None)
        else {
            panic!("no key");
        };
        assert_eq!(*private_key, format!("{key}\n"));
        assert_eq!(known_hosts.as_deref(), Some("host ssh-ed25519 AAAA\n"));
        assert!(format!("{:?}", Opens::read(key, None)).len() < 20);
    }
}
