//! Projects as they are stored: what an operator decided, what happened to the repository, and how far
//! its branches were looked at.
//!
//! A project's settings, its events and its heads are records of their own, so that a push never
//! contends with an operator, nor one branch with another. No secret stands in them in the open.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::Timestamp;
use ocelot_forge::Forge;
use ocelot_forge::event::Event;

use super::TriggerKind;
use crate::seal::Sealed;
use crate::store::codec::Record;
use crate::store::keys::{Key, events_of, heads_of};

/// The longest `owner/name`.
const NAME_BYTES_MAX: usize = 200;

/// The name of a project: `owner/name`. A name may have parts itself: a group's project in a subgroup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName {
    text: String,
    /// Where the first `/` is.
    slash: usize,
}

/// A text that names no project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no project: write owner/name, of letters, digits, `.`, `_` and `-`, each part beginning with \
     a letter or digit, at most {NAME_BYTES_MAX} bytes"
)]
pub struct NoProjectName(String);

/// One tracked repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRecord {
    pub name: ProjectName,
    /// https or ssh address, without credentials.
    pub url: String,
    /// None for a plain git host.
    pub forge: Option<ForgeLink>,
    pub default_branch: String,
    pub group: Option<String>,
    /// Whether it makes runs.
    pub enabled: bool,
    /// None: as the fleet's.
    pub retention_ms: Option<u64>,
    /// None: only when asked.
    pub poll_every_ms: Option<u64>,
    /// The name of the secret that opens the repository.
    pub git_secret: Option<String>,
    /// The name of the secret with the token for the forge.
    pub forge_secret: Option<String>,
    /// Whether pull requests from forks make runs.
    pub builds_forks: bool,
    pub hook: Option<HookRecord>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub updated_by: Actor,
}

/// Where a repository is at home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgeLink {
    pub kind: Forge,
    /// The repository's immutable id there; none until it is known.
    pub repository: Option<String>,
    /// Where the forge's API is, if not where its kind has it.
    pub api: Option<String>,
}

/// The webhook of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    pub current: Sealed,
    pub previous: Option<PreviousSecret>,
    /// The hook's id at the forge, if it was registered there.
    pub registered: Option<String>,
    /// The last delivery with a right signature.
    pub seen_at: Option<Timestamp>,
}

/// A secret that works for a while yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    pub secret: Sealed,
    pub until: Timestamp,
}

/// Something that happened to a repository, and what was decided for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The id of the run that it makes, if it makes one.
    pub id: RunId,
    pub project: ProjectName,
    /// What told of it first.
    pub source: TriggerKind,
    /// In the one form that all sources are brought into.
    pub event: Event,
    pub received_at: Timestamp,
    /// What the forge calls the first delivery of it; a record of before may have more.
    pub deliveries: Vec<String>,
    pub decision: EventDecision,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventDecision {
    /// Not decided yet; after the first try with the reason why.
    Pending {
        tries: u32,
        trouble: Option<String>,
    },
    Run {
        run: RunId,
    },
    Ignored {
        why: String,
    },
    /// It made a run of no tasks, because the definition is wrong.
    Rejected {
        why: String,
    },
}

/// How far a branch of a project was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRecord {
    pub project: ProjectName,
    /// The full name of the ref.
    pub reference: String,
    /// Where it was when it was looked at last.
    pub commit: String,
    /// The event that brought it there; none if it was only seen.
    pub event: Option<RunId>,
    pub seen_at: Timestamp,
    pub success: Option<SuccessRecord>,
}

/// The newest commit of a branch that was built with success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessRecord {
    pub commit: String,
    /// The number of its run.
    pub number: u64,
}

/// The last look at a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookRecord {
    pub at: Timestamp,
    /// What went wrong.
    pub trouble: Option<String>,
    /// Whether a look has succeeded: what is not known after that is new.
    pub is_known: bool,
}

/// The tags of a project: one number each, made of name and commit, because there may be many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsRecord {
    /// Those that were there when the repository was looked at.
    pub seen: BTreeSet<u64>,
    /// Those of which an event was decided.
    pub decided: BTreeSet<u64>,
}

impl ProjectName {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn owner(&self) -> &str {
        &self.text[..self.slash]
    }

    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// Returns the key of the project itself.
    pub fn key(&self) -> Key {
        let (owner, name) = self.parts();
        Key::Project { owner, name }
    }

    pub fn event_key(&self, id: RunId) -> Key {
        let (owner, name) = self.parts();
        Key::Event { owner, name, id }
    }

    /// Returns the key of a branch by the full name of its ref.
    pub fn head_key(&self, reference: &str) -> Key {
        let (owner, name) = self.parts();
        Key::Head { owner, name, reference: reference.to_owned() }
    }

    pub fn look_key(&self) -> Key {
        let (owner, name) = self.parts();
        Key::Look { owner, name }
    }

    pub fn tags_key(&self) -> Key {
        let (owner, name) = self.parts();
        Key::Tags { owner, name }
    }

    pub fn events_folder(&self) -> String {
        events_of(self.owner(), self.name())
    }

    pub fn heads_folder(&self) -> String {
        heads_of(self.owner(), self.name())
    }

    fn parts(&self) -> (String, String) {
        (self.owner().to_owned(), self.name().to_owned())
    }
}

impl FromStr for ProjectName {
    type Err = NoProjectName;

    fn from_str(text: &str) -> Result<Self, NoProjectName> {
        let part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let slash = text.find('/').filter(|_| text.len() <= NAME_BYTES_MAX && text.split('/').all(part));
        match slash {
            Some(slash) => Ok(Self { text: text.to_owned(), slash }),
            None => Err(NoProjectName(text.chars().take(NAME_BYTES_MAX).collect())),
        }
    }
}

impl TryFrom<String> for ProjectName {
    type Error = NoProjectName;

    fn try_from(text: String) -> Result<Self, NoProjectName> {
        text.parse()
    }
}

impl From<ProjectName> for String {
    fn from(name: ProjectName) -> Self {
        name.text
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl EventRecord {
    /// Returns the record with the delivery that tells of the event after somebody else did; none if
    /// one has told of it already. A delivery's id is not signed: whoever replays one may choose it,
    /// and is to change nothing.
    pub fn delivered(&self, delivery: &str) -> Option<Self> {
        self.deliveries.is_empty().then(|| Self { deliveries: vec![delivery.to_owned()], ..self.clone() })
    }

    pub fn is_pending(&self) -> bool {
        match self.decision {
            EventDecision::Pending { .. } => true,
            EventDecision::Run { .. } | EventDecision::Ignored { .. } | EventDecision::Rejected { .. } => {
                false
            }
        }
    }
}

impl HookRecord {
    /// Returns the sealed secrets that a signature may be made with, the newest first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &Sealed> {
        let previous = self.previous.as_ref().filter(|previous| now.unix_ms < previous.until.unix_ms);
        std::iter::once(&self.current).chain(previous.map(|previous| &previous.secret))
    }
}

impl Record for ProjectRecord {
    const KIND: &'static str = "project";
    const VERSION: u32 = 1;
}

impl Record for EventRecord {
    const KIND: &'static str = "event";
    const VERSION: u32 = 1;
}

impl Record for HeadRecord {
    const KIND: &'static str = "head";
    const VERSION: u32 = 1;
}

impl Record for LookRecord {
    const KIND: &'static str = "look";
    const VERSION: u32 = 1;
}

impl Record for TagsRecord {
    const KIND: &'static str = "tags";
    const VERSION: u32 = 1;
}
