//! The one key layout. Every key that is ever written is made and read here.
//!
//! Ids are fixed in width, so that keys sort as ids do; names are escaped, so that a name never
//! reaches out of its folder. The path's version changes when a key's meaning does.

use std::fmt;
use std::str::FromStr;

use ocelot_core::id::{Attempt, ExecutorId, RunId, SessionId, TaskId};

/// What every key begins with.
pub const ROOT: &str = "/ocelot/v1/";

/// One key of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The store's life; a restore from backup raises it.
    Epoch,
    /// Which home of bytes is the fleet's.
    Home,
    Job(String),
    /// The number of the job's newest run.
    JobNumber(String),
    Project {
        owner: String,
        name: String,
    },
    /// Something that happened to a project's repository, under the id of the run that it makes.
    Event {
        owner: String,
        name: String,
        id: RunId,
    },
    /// How far a branch of a project was looked at, under its full ref name.
    Head {
        owner: String,
        name: String,
        reference: String,
    },
    /// The last look at a project's repository.
    Look {
        owner: String,
        name: String,
    },
    /// Which tags of a project were seen.
    Tags {
        owner: String,
        name: String,
    },
    Run(RunId),
    Task(TaskId),
    /// What one attempt of a task goes through.
    Progress(TaskId, Attempt),
    /// The registration of an executor.
    Executor(ExecutorId),
    /// The incarnation and session of an executor that count now.
    ExecutorEpoch(ExecutorId),
    /// Which executor has a name; makes names unique.
    ExecutorName(String),
    /// The only key under an executor's lease.
    Session(SessionId),
    Controller(String),
    Group(String),
    Token(String),
    /// A named secret of one scope, sealed.
    Secret(SecretScope, String),
    /// When that secret was last given away.
    SecretUse(SecretScope, String),
    /// The secret arguments of one run, sealed.
    RunSecrets(RunId),
    /// Tells whether a controller has the fleet's seal keys.
    Seal,
    /// The schedules of a job.
    Schedule(String),
    /// The wanted state of one run at one target.
    Outbox {
        run: RunId,
        target: String,
    },
    /// What a task kept under a name.
    Artifact(TaskId, String),
    /// One state of a cache, where only its scope sees it.
    Cache {
        scope: String,
        name: String,
        key: String,
    },
}

/// Whose a named secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretScope {
    Job(String),
    Project { owner: String, name: String },
    Organization(String),
}

/// A folder of keys, to be listed or watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Folder {
    All,
    Jobs,
    Projects,
    Events,
    Heads,
    Looks,
    Tags,
    Runs,
    Tasks,
    TasksOf(RunId),
    Progress,
    ProgressOf(RunId),
    Executors,
    ExecutorNames,
    JobNumbers,
    Sessions,
    Controllers,
    Groups,
    Tokens,
    Secrets,
    SecretUses,
    Schedules,
    Outbox,
    OutboxOf(RunId),
    Artifacts,
    ArtifactsOf(RunId),
    Caches,
}

/// A key that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key of this store")]
pub struct UnknownKey(String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch => write!(f, "{ROOT}epoch"),
            Self::Home => write!(f, "{ROOT}home"),
            Self::Job(name) => write!(f, "{}{}", Folder::Jobs, Escaped(name)),
            Self::JobNumber(name) => write!(f, "{}{}", Folder::JobNumbers, Escaped(name)),
            Self::ExecutorName(name) => write!(f, "{}{}", Folder::ExecutorNames, Escaped(name)),
            Self::Project { owner, name } => {
                write!(f, "{}{}/{}", Folder::Projects, Escaped(owner), Escaped(name))
            }
            Self::Event { owner, name, id } => write!(f, "{}{id}", events_of(owner, name)),
            Self::Head { owner, name, reference } => {
                write!(f, "{}{}", heads_of(owner, name), Escaped(reference))
            }
            Self::Look { owner, name } => {
                write!(f, "{}{}/{}", Folder::Looks, Escaped(owner), Escaped(name))
            }
            Self::Tags { owner, name } => write!(f, "{}{}/{}", Folder::Tags, Escaped(owner), Escaped(name)),
            Self::Run(run) => write!(f, "{}{run}", Folder::Runs),
            // Ten digits hold every index, so that tasks sort in the order of their plan.
            Self::Task(TaskId { run, index }) => write!(f, "{}{index:010}", Folder::TasksOf(*run)),
            Self::Progress(TaskId { run, index }, attempt) => {
                write!(f, "{}{index:010}/{:010}", Folder::ProgressOf(*run), attempt.number())
            }
            Self::Executor(id) => write!(f, "{}{id}", Folder::Executors),
            Self::ExecutorEpoch(id) => write!(f, "{}{id}/epoch", Folder::Executors),
            Self::Session(id) => write!(f, "{}{id}", Folder::Sessions),
            Self::Controller(name) => write!(f, "{}{}", Folder::Controllers, Escaped(name)),
            Self::Group(name) => write!(f, "{}{}", Folder::Groups, Escaped(name)),
            Self::Token(name) => write!(f, "{}{}", Folder::Tokens, Escaped(name)),
            Self::Secret(scope, name) => write!(f, "{}{}{}", Folder::Secrets, scope.folder(), Escaped(name)),
            Self::SecretUse(scope, name) => {
                write!(f, "{}{}{}", Folder::SecretUses, scope.folder(), Escaped(name))
            }
            // Spelled as it ever was: one part, so that it is no scope's.
            Self::RunSecrets(run) => write!(f, "{}run%2F{run}", Folder::Secrets),
            Self::Seal => write!(f, "{ROOT}seal"),
            Self::Schedule(name) => write!(f, "{}{}", Folder::Schedules, Escaped(name)),
            Self::Outbox { run, target } => write!(f, "{}{}", Folder::OutboxOf(*run), Escaped(target)),
            Self::Artifact(TaskId { run, index }, name) => {
                write!(f, "{}{index:010}/{}", Folder::ArtifactsOf(*run), Escaped(name))
            }
            Self::Cache { scope, name, key } => write!(f, "{}{}", caches_of(scope, name), Escaped(key)),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROOT)?;
        match self {
            Self::All => Ok(()),
            Self::Jobs => f.write_str("jobs/"),
            Self::Projects => f.write_str("projects/"),
            Self::Events => f.write_str("events/"),
            Self::Heads => f.write_str("heads/"),
            Self::Looks => f.write_str("looks/"),
            Self::Tags => f.write_str("tags/"),
            Self::Runs => f.write_str("runs/"),
            Self::Tasks => f.write_str("tasks/"),
            Self::TasksOf(run) => write!(f, "tasks/{run}/"),
            Self::Progress => f.write_str("progress/"),
            Self::ProgressOf(run) => write!(f, "progress/{run}/"),
            Self::Executors => f.write_str("executors/"),
            Self::ExecutorNames => f.write_str("executor-names/"),
            Self::JobNumbers => f.write_str("job-numbers/"),
            Self::Sessions => f.write_str("sessions/"),
            Self::Controllers => f.write_str("controllers/"),
            Self::Groups => f.write_str("groups/"),
            Self::Tokens => f.write_str("tokens/"),
            Self::Secrets => f.write_str("secrets/"),
            Self::SecretUses => f.write_str("secret-uses/"),
            Self::Schedules => f.write_str("schedules/"),
            Self::Outbox => f.write_str("outbox/"),
            Self::OutboxOf(run) => write!(f, "outbox/{run}/"),
            Self::Artifacts => f.write_str("artifacts/"),
            Self::ArtifactsOf(run) => write!(f, "artifacts/{run}/"),
            Self::Caches => f.write_str("caches/"),
        }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl From<Folder> for String {
    fn from(folder: Folder) -> Self {
        folder.to_string()
    }
}

impl FromStr for Key {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        // A key has one spelling: what does not come back as it went in is none of ours.
        parse(text).filter(|key| key.to_string() == text).ok_or_else(|| UnknownKey(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Key> {
    let parts: Vec<&str> = text.strip_prefix(ROOT)?.split('/').collect();
    Some(match parts[..] {
        ["epoch"] => Key::Epoch,
        ["home"] => Key::Home,
        ["jobs", name] => Key::Job(unescape(name)?),
        ["job-numbers", name] => Key::JobNumber(unescape(name)?),
        ["executor-names", name] => Key::ExecutorName(unescape(name)?),
        ["projects", owner, name] => Key::Project { owner: unescape(owner)?, name: unescape(name)? },
        ["events", owner, name, id] => {
            Key::Event { owner: unescape(owner)?, name: unescape(name)?, id: id.parse().ok()? }
        }
        ["heads", owner, name, reference] => {
            Key::Head { owner: unescape(owner)?, name: unescape(name)?, reference: unescape(reference)? }
        }
        ["looks", owner, name] => Key::Look { owner: unescape(owner)?, name: unescape(name)? },
        ["tags", owner, name] => Key::Tags { owner: unescape(owner)?, name: unescape(name)? },
        ["runs", run] => Key::Run(run.parse().ok()?),
        ["tasks", run, index] => Key::Task(TaskId { run: run.parse().ok()?, index: index.parse().ok()? }),
        ["progress", run, index, attempt] => Key::Progress(
            TaskId { run: run.parse().ok()?, index: index.parse().ok()? },
            Attempt::new(attempt.parse().ok()?)?,
        ),
        ["executors", id] => Key::Executor(id.parse().ok()?),
        ["executors", id, "epoch"] => Key::ExecutorEpoch(id.parse().ok()?),
        ["sessions", id] => Key::Session(id.parse().ok()?),
        ["controllers", name] => Key::Controller(unescape(name)?),
        ["groups", name] => Key::Group(unescape(name)?),
        ["tokens", name] => Key::Token(unescape(name)?),
        ["secrets", run] => Key::RunSecrets(run.strip_prefix("run%2F")?.parse().ok()?),
        ["secrets", ref scope @ .., name] => Key::Secret(scope_of(scope)?, unescape(name)?),
        ["secret-uses", ref scope @ .., name] => Key::SecretUse(scope_of(scope)?, unescape(name)?),
        ["seal"] => Key::Seal,
        ["schedules", name] => Key::Schedule(unescape(name)?),
        ["outbox", run, target] => Key::Outbox { run: run.parse().ok()?, target: unescape(target)? },
        ["artifacts", run, index, name] => {
            Key::Artifact(TaskId { run: run.parse().ok()?, index: index.parse().ok()? }, unescape(name)?)
        }
        ["caches", scope, name, key] => {
            Key::Cache { scope: unescape(scope)?, name: unescape(name)?, key: unescape(key)? }
        }
        _ => return None,
    })
}

/// Returns the folder of a project's events.
pub fn events_of(owner: &str, name: &str) -> String {
    format!("{}{}/{}/", Folder::Events, Escaped(owner), Escaped(name))
}

/// Returns the folder of a project's branches.
pub fn heads_of(owner: &str, name: &str) -> String {
    format!("{}{}/{}/", Folder::Heads, Escaped(owner), Escaped(name))
}

fn scope_of(parts: &[&str]) -> Option<SecretScope> {
    Some(match *parts {
        ["job", job] => SecretScope::Job(unescape(job)?),
        ["project", owner, name] => SecretScope::Project { owner: unescape(owner)?, name: unescape(name)? },
        ["organization", name] => SecretScope::Organization(unescape(name)?),
        _ => return None,
    })
}

impl SecretScope {
    /// Returns the part of a key that holds the scope's names, with a `/` at its end.
    pub fn folder(&self) -> String {
        match self {
            Self::Job(job) => format!("job/{}/", Escaped(job)),
            Self::Project { owner, name } => format!("project/{}/{}/", Escaped(owner), Escaped(name)),
            Self::Organization(name) => format!("organization/{}/", Escaped(name)),
        }
    }
}

impl fmt::Display for SecretScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => write!(f, "job {job}"),
            Self::Project { owner, name } => write!(f, "project {owner}/{name}"),
            Self::Organization(name) => write!(f, "organization {name}"),
        }
    }
}

/// Returns the folder of all states of one cache in one scope.
pub fn caches_of(scope: &str, name: &str) -> String {
    format!("{}{}/{}/", Folder::Caches, Escaped(scope), Escaped(name))
}

/// Writes a name with `%XX` for every byte that is not a letter, a digit or one of `-._`.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, after) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> impl Strategy<Value = SecretScope> {
        let name = || "\\PC{1,12}|[a-z/%.]{1,6}|run|job|project";
        prop_oneof![
            name().prop_map(SecretScope::Job),
            (name(), name()).prop_map(|(owner, name)| SecretScope::Project { owner, name }),
            name().prop_map(SecretScope::Organization),
        ]
    }

    fn key() -> impl Strategy<Value = Key> {
        let name = || "\\PC{1,12}|[a-z/%.]{1,6}";
        let run =
            || (any::<u64>(), any::<[u8; 10]>()).prop_map(|(ms, random)| RunId::from_parts(ms >> 16, random));
        prop_oneof![
            Just(Key::Epoch),
            Just(Key::Home),
            name().prop_map(Key::Job),
            name().prop_map(Key::JobNumber),
            name().prop_map(Key::ExecutorName),
            (name(), name()).prop_map(|(owner, name)| Key::Project { owner, name }),
            (name(), name(), run()).prop_map(|(owner, name, id)| Key::Event { owner, name, id }),
            (name(), name(), name()).prop_map(|(owner, name, reference)| Key::Head {
                owner,
                name,
                reference
            }),
            (name(), name()).prop_map(|(owner, name)| Key::Look { owner, name }),
            (name(), name()).prop_map(|(owner, name)| Key::Tags { owner, name }),
            run().prop_map(Key::Run),
            (run(), any::<u32>()).prop_map(|(run, index)| Key::Task(TaskId { run, index })),
            (run(), any::<u32>(), 1..u32::MAX).prop_map(|(run, index, attempt)| Key::Progress(
                TaskId { run, index },
                Attempt::new(attempt).unwrap()
            )),
            any::<[u8; 16]>().prop_map(|bytes| Key::Executor(ExecutorId::from_bytes(bytes))),
            any::<[u8; 16]>().prop_map(|bytes| Key::ExecutorEpoch(ExecutorId::from_bytes(bytes))),
            any::<[u8; 16]>().prop_map(|bytes| Key::Session(SessionId::from_bytes(bytes))),
            name().prop_map(Key::Controller),
            name().prop_map(Key::Group),
            name().prop_map(Key::Token),
            (scope(), name()).prop_map(|(scope, name)| Key::Secret(scope, name)),
            (scope(), name()).prop_map(|(scope, name)| Key::SecretUse(scope, name)),
            run().prop_map(Key::RunSecrets),
            Just(Key::Seal),
            name().prop_map(Key::Schedule),
            (run(), name()).prop_map(|(run, target)| Key::Outbox { run, target }),
            (run(), any::<u32>(), name())
                .prop_map(|(run, index, name)| Key::Artifact(TaskId { run, index }, name)),
            (name(), name(), name()).prop_map(|(scope, name, key)| Key::Cache { scope, name, key }),
        ]
    }

    proptest! {
        #[test]
        fn every_key_is_read_back_as_it_was_written(key in key()) {
            let text = key.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            prop_assert_eq!(text.parse(), Ok(key));
        }

        #[test]
        fn two_keys_never_share_a_spelling(one in key(), other in key()) {
            prop_assert_eq!(one == other, one.to_string() == other.to_string());
        }

        #[test]
        fn any_text_is_read_as_a_key_or_refused(text in "\\PC*|/ocelot/v1/[a-z]{1,9}/[a-f0-9%/-]{0,50}") {
            if let Ok(key) = text.parse::<Key>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn tasks_sort_in_the_order_of_their_plan(run in any::<[u8; 10]>(), a in any::<u32>(), b in any::<u32>()) {
            let run = RunId::from_parts(1, run);
            let text = |index| Key::Task(TaskId { run, index }).to_string();
            prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
        }
    }

    #[test]
    fn keys_look_like_this() {
        let run = RunId::from_parts(1_700_000_000_000, [3; 10]);
        let executor = ExecutorId::from_bytes([1; 16]);
        let keys = [
            Key::Epoch,
            Key::Project { owner: "ocelot".into(), name: "a/b c".into() },
            Key::Event { owner: "ocelot".into(), name: "a".into(), id: run },
            Key::Head { owner: "a/b".into(), name: "c".into(), reference: "refs/heads/d".into() },
            Key::Task(TaskId { run, index: 12 }),
            Key::ExecutorEpoch(executor),
            Key::Group("/deploy".into()),
            Key::Secret(SecretScope::Job("deploy".into()), "token".into()),
            Key::Secret(SecretScope::Project { owner: "acme".into(), name: "api".into() }, "token".into()),
            Key::SecretUse(SecretScope::Organization("acme".into()), "token".into()),
            Key::RunSecrets(run),
            Key::Artifact(TaskId { run, index: 3 }, "site".into()),
            Key::Cache { scope: "acme/site own main".into(), name: "npm".into(), key: "node-20".into() },
        ];
        assert_eq!(
            keys.map(String::from),
            [
                "/ocelot/v1/epoch",
                "/ocelot/v1/projects/ocelot/a%2Fb%20c",
                "/ocelot/v1/events/ocelot/a/018bcfe5-6800-7303-8303-030303030303",
                "/ocelot/v1/heads/a%2Fb/c/refs%2Fheads%2Fd",
                "/ocelot/v1/tasks/018bcfe5-6800-7303-8303-030303030303/0000000012",
                "/ocelot/v1/executors/01010101-0101-0101-0101-010101010101/epoch",
                "/ocelot/v1/groups/%2Fdeploy",
                "/ocelot/v1/secrets/job/deploy/token",
                "/ocelot/v1/secrets/project/acme/api/token",
                "/ocelot/v1/secret-uses/organization/acme/token",
                "/ocelot/v1/secrets/run%2F018bcfe5-6800-7303-8303-030303030303",
                "/ocelot/v1/artifacts/018bcfe5-6800-7303-8303-030303030303/0000000003/site",
                "/ocelot/v1/caches/acme%2Fsite%20own%20main/npm/node-20",
            ]
        );
    }

    #[test]
    fn a_folder_holds_its_keys_and_no_others() {
        let (run, other) = (RunId::from_parts(1, [0; 10]), RunId::from_parts(1, [1; 10]));
        let folder = Folder::TasksOf(run).to_string();
        assert!(Key::Task(TaskId { run, index: 1 }).to_string().starts_with(&folder));
        assert!(!Key::Task(TaskId { run: other, index: 1 }).to_string().starts_with(&folder));
    }
}
