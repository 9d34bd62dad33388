//! Where an attempt's mask set is kept for the next process: never beside what leaves the machine, and
//! in memory where the machine has room for that.
//!
//! It counts for one boot only. After another one the capture's last bytes may be missing, although
//! they were seen and sent, so that nothing may be made of it any more.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::attempt::AttemptId;
use crate::mask::MaskSet;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Values that the task added while it ran, in its order.
pub(super) type Added = Vec<Zeroizing<Vec<u8>>>;

/// The file of one attempt's mask set.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
}

impl Kept {
    /// `memory` is a directory that a reboot empties, if there is one.
    pub(super) fn new(memory: Option<&Path>, directory: &Path, id: AttemptId) -> Self {
        Self {
            path: match memory {
                Some(memory) => memory.join(name_of(id)),
                None => directory.join("masks"),
            },
        }
    }

    /// Writes the set as a whole, or not at all. The task itself added what follows the first `given`
    /// values.
    pub(super) fn write(&self, set: &MaskSet, given: usize) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(boot().as_bytes())?;
        file.write_all(&(given as u64).to_le_bytes())?;
        file.write_all(&set.to_bytes())?;
        fs::rename(&new, &self.path)
    }

    /// Returns the set that was given and what the task added, or why there is none.
    pub(super) fn read(&self) -> Result<(MaskSet, Added), String> {
        let bytes = fs::read(&self.path).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| format!("what to mask is not known any more: {error}"))?;
        let rest = bytes.strip_prefix(boot().as_bytes());
        let rest = rest.ok_or("the machine was started anew while the task ran")?;
        let (given, set) = rest.split_first_chunk().ok_or("the kept mask set is cut off")?;
        let set = MaskSet::from_bytes(set).map_err(|unreadable| unreadable.to_string())?;
        Ok(set.split(u64::from_le_bytes(*given) as usize))
    }

    /// Takes it away. Repeating it is harmless.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Returns the name of the file in memory of an attempt's mask set.
pub(crate) fn name_of(AttemptId { task, number, epoch }: AttemptId) -> String {
    format!("masks-{}-{}-{number}-{epoch}", task.run, task.index)
}

/// Names this boot of the machine.
fn boot() -> String {
    fs::read_to_string(BOOT).unwrap_or_default()
}
