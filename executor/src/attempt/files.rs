//! The directory of one attempt: what was offered, the control directory, the workspace, the spool.
//!
//! What was offered is written beside the journal's first entry and synced before anything starts. An
//! entry without it was never acknowledged, or belongs to a machine that lost its power.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ocelot_core::plan::{Checkout, TaskPlan};
use ocelot_supervisor::control::IDENTITY;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AttemptId;
use crate::checkout::Source;
use crate::disk::remove_tree;

const OFFER: &str = "offer.json";
/// Room that a ready place has for what was offered, and for what a supervisor belongs to.
const OFFER_ROOM: usize = 16 * 1024;
const IDENTITY_ROOM: usize = 256;

/// What an offer brought, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The plan's bytes as they came.
    pub plan: String,
    /// Variables that only the controller knows.
    pub env: BTreeMap<String, String>,
    /// The commit that the task works on; none for a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The acknowledgement brings values to mask.
    #[serde(default)]
    pub masks: bool,
}

impl Offered {
    pub fn read_plan(&self) -> Result<TaskPlan, serde_json::Error> {
        serde_json::from_str(&self.plan)
    }

    /// Returns what is to be in the workspace, if the plan wants it there.
    pub fn checkout<'a>(&'a self, plan: &'a TaskPlan) -> Option<(&'a Source, &'a Checkout)> {
        self.source.as_ref().zip(plan.environment.checkout.as_ref())
    }

    /// Whether the repository is not open to everybody.
    pub fn needs_credentials(&self, plan: &TaskPlan) -> bool {
        self.checkout(plan).is_some_and(|(source, _)| source.needs_credentials)
    }

    pub fn plan_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.plan.as_bytes()).into()
    }
}

/// Where the things of one attempt are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub directory: PathBuf,
}

impl Places {
    /// Returns the places of an attempt that is being taken.
    pub fn new(attempts: &Path, id: AttemptId) -> Self {
        let AttemptId { task, number, epoch } = id;
        Self { directory: attempts.join(format!("{}-{}-{number}-{epoch}", task.run, task.index)) }
    }

    pub fn control(&self) -> PathBuf {
        self.directory.join("control")
    }

    pub fn workspace(&self) -> PathBuf {
        self.directory.join("workspace")
    }

    /// Returns the control directory of the service at this place in the plan.
    pub fn service(&self, place: usize) -> PathBuf {
        self.services().join(place.to_string())
    }

    fn services(&self) -> PathBuf {
        self.directory.join("services")
    }

    /// Says that the workspace has its commit; without it the checkout begins anew.
    pub fn checked_out(&self) -> PathBuf {
        self.directory.join("checked-out")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Where what was packed waits until the controllers have it.
    pub fn kept(&self) -> PathBuf {
        self.directory.join("kept")
    }

    /// Makes a place before an attempt comes, with room in its files: bytes written over others are on
    /// disk many times sooner. Blocks.
    pub fn make_ready(&self) -> io::Result<()> {
        self.make_directories()?;
        write(&self.directory.join(OFFER), vec![b' '; OFFER_ROOM])?;
        write(&self.control().join(IDENTITY), vec![b' '; IDENTITY_ROOM])?;
        self.sync()
    }

    /// Makes the directories and writes what was offered. Not synced yet. Blocks.
    pub fn make(&self, id: AttemptId, offered: &Offered) -> io::Result<()> {
        self.make_directories()?;
        self.fill(id, offered)
    }

    /// Writes what was offered into directories that are there. Not synced yet. Blocks.
    pub fn fill(&self, id: AttemptId, offered: &Offered) -> io::Result<()> {
        write(&self.directory.join(OFFER), serde_json::to_vec(offered).map_err(io::Error::other)?)?;
        write(&self.control().join(IDENTITY), identity(id).into_bytes())
    }

    fn make_directories(&self) -> io::Result<()> {
        let own = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        own(&self.directory)?;
        own(&self.control())?;
        own(&self.log())?;
        DirBuilder::new().recursive(true).mode(0o755).create(self.workspace())
    }

    /// Makes what [`Places::make`] wrote survive a power cut. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        self.sync_files()?;
        self.sync_directories()
    }

    /// The same for a ready place, whose directories did not change. Blocks.
    pub fn sync_files(&self) -> io::Result<()> {
        for file in [self.control().join(IDENTITY), self.directory.join(OFFER)] {
            File::open(file)?.sync_data()?;
        }
        Ok(())
    }

    fn sync_directories(&self) -> io::Result<()> {
        let parent = self.directory.parent().unwrap_or(Path::new("/"));
        for directory in [&self.control(), &self.directory, parent] {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Reads what was offered. Blocks.
    pub fn read(&self) -> io::Result<Offered> {
        serde_json::from_slice(&fs::read(self.directory.join(OFFER))?).map_err(io::Error::other)
    }

    /// Takes away what the task used; what it said stays. Blocks.
    pub fn clear(&self) -> io::Result<()> {
        gone(remove_tree(&self.control()))?;
        gone(remove_tree(&self.services()))?;
        gone(remove_tree(&self.workspace()))
    }

    /// Takes everything away. Blocks.
    pub fn remove(&self) -> io::Result<()> {
        gone(remove_tree(&self.directory))
    }
}

/// Makes a control directory of a service. It need not survive a power cut: nothing that runs does.
/// Blocks.
pub(super) fn make_control(control: &Path, identity: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(control)?;
    write(&control.join(IDENTITY), identity.as_bytes().to_vec())
}

/// Returns what a supervisor is told that it belongs to.
pub fn identity(id: AttemptId) -> String {
    id.to_string()
}

/// Writes over what is there. Its length stays: spaces behind the words mean nothing.
fn write(path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    bytes.resize(bytes.len().max(length), b' ');
    file.write_all(&bytes)
}

/// Removing what is gone is no error.
pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};

    use super::*;

    #[test]
    fn a_ready_place_takes_an_attempt_without_growing_unless_it_must() {
        let root = tempfile::tempdir().unwrap();
        let places = Places { directory: root.path().join("ready-1-1") };
        places.make_ready().unwrap();
        let task = TaskId { run: RunId::from_bytes([7; 16]), index: 0 };
        let id = AttemptId { task, number: Attempt::FIRST, epoch: Epoch(1) };
        for plan in ["short".to_owned(), "long".repeat(OFFER_ROOM)] {
            let env = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
            let offered = Offered { plan, env, source: None, masks: false };
            places.make(id, &offered).unwrap();
            places.sync().unwrap();
            assert_eq!(places.read().unwrap(), offered);
            let length = fs::metadata(places.directory.join(OFFER)).unwrap().len();
            let json = serde_json::to_vec(&offered).unwrap().len();
            assert_eq!(length as usize, json.max(OFFER_ROOM));
        }
        let written = fs::read_to_string(places.control().join(IDENTITY)).unwrap();
        assert_eq!((written.len(), written.trim_end()), (IDENTITY_ROOM, identity(id).as_str()));
    }
}
