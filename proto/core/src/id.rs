//! Ids as types of their own: a run can never be passed where a session is meant.
//!
//! Nothing here reads a clock or a random source; both enter as arguments.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

/// Why a text is not the id it was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.text, self.what)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes the id from a moment and ten random bytes (UUIDv7: sorts by time).
            pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match Uuid::try_parse(text) {
                    Ok(id) => Ok(Self(id)),
                    Err(_) => Err(InvalidId { what: $what, text: text.into() }),
                }
            }
        }
    };
}

uuid_id!(
    /// One run. It is also the request id of the `execute` that made it, so that a repeated
    /// request finds the same run.
    RunId,
    "the id of a run"
);
uuid_id!(
    /// One registered executor.
    ExecutorId,
    "the id of an executor"
);
uuid_id!(
    /// One session of one executor process.
    SessionId,
    "the id of a session"
);

impl RunId {
    /// Makes the id of a run that nobody typed (webhook, schedule) from a digest of what caused
    /// it, so that the same cause always names the same run (UUIDv8).
    pub fn derived(digest: [u8; 16]) -> Self {
        Self(Builder::from_custom_bytes(digest).into_uuid())
    }

    /// Returns the moment the id was made, if it carries one; a derived id does not.
    pub fn unix_ms(&self) -> Option<u64> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Some(seconds * 1000 + u64::from(nanos) / 1_000_000)
    }
}

/// One task: its run and its place in the run's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    pub run: RunId,
    pub index: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.index)
    }
}

impl FromStr for TaskId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { what: "the id of a task", text: text.into() };
        let (run, index) = text.split_once('/').ok_or_else(invalid)?;
        let run = run.parse().map_err(|_| invalid())?;
        let canonical = index == "0" || !index.starts_with(['0', '+']);
        let index = index.parse().ok().filter(|_| canonical).ok_or_else(invalid)?;
        Ok(Self { run, index })
    }
}

/// The number of an offer of one task. It only grows, and with the store's [`Epoch`] it is the
/// fence: what carries an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(NonZeroU32);

impl Attempt {
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub const fn number(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// The store's life: a restore from backup raises it, and nothing from an older one counts.
    Epoch
);
counter!(
    /// The life of one executor process, counted in its journal.
    Incarnation
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_sorts_by_time_and_tells_it() {
        let early = RunId::from_parts(1_000, [0xff; 10]);
        let late = RunId::from_parts(1_001, [0; 10]);
        assert!(early < late);
        assert_eq!(early.unix_ms(), Some(1_000));
    }

    #[test]
    fn a_derived_id_is_stable_and_carries_no_time() {
        let id = RunId::derived([7; 16]);
        assert_eq!(id, RunId::derived([7; 16]));
        assert_eq!(id.unix_ms(), None);
    }

    #[test]
    fn ids_survive_text() {
        let run = RunId::from_parts(1_700_000_000_000, [3; 10]);
        let task = TaskId { run, index: 12 };
        assert_eq!(task.to_string().parse(), Ok(task));
        assert_eq!(run.to_string().parse(), Ok(run));
    }

    #[test]
    fn a_task_id_has_one_spelling() {
        let run = RunId::from_parts(1, [3; 10]);
        for wrong in
            ["", "x/1", &format!("{run}/"), &format!("{run}/01"), &format!("{run}/+1"), &run.to_string()]
        {
            assert!(wrong.parse::<TaskId>().is_err(), "{wrong:?} was accepted");
        }
    }
}
