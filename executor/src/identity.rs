//! Who this executor is: its key, made here and never sent, and what its machine is like.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ocelot_core::id::{ExecutorId, Incarnation};
use ocelot_proto::wire;
use zeroize::Zeroizing;

/// The name of the key's file in the data directory.
pub const KEY_FILE: &str = "executor.key";

/// What is signed to open a session begins with this.
const SIGNED: &[u8] = b"ocelot session v1";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key {path} cannot be read or written", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} may be read by others: run `chmod 600 {path}`", path = path.display())]
    Readable { path: PathBuf },
    #[error("{path} holds no key of an executor", path = path.display())]
    NotAKey { path: PathBuf },
    #[error("a key could not be made")]
    Make,
}

/// The private key of this executor.
pub struct Key(Ed25519KeyPair);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Opens the key in `directory`, or makes one that the owner alone can read. Blocks.
    pub fn ensure(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(KEY_FILE);
        match Self::open(&path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Make)?;
        let document = Zeroizing::new(document.as_ref().to_vec());
        write_synced(directory, &path, &document)
            .map_err(|source| KeyError::File { path: path.clone(), source })?;
        Self::open(&path)
    }

    /// Opens a key. Blocks.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Readable { path: path.to_owned() });
        }
        let document = Zeroizing::new(fs::read(path).map_err(file)?);
        let key = Ed25519KeyPair::from_pkcs8(&document);
        key.map(Self).map_err(|_| KeyError::NotAKey { path: path.to_owned() })
    }

    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    /// Signs what opens a session.
    pub fn sign(&self, executor: ExecutorId, incarnation: Incarnation, challenge: &[u8]) -> Vec<u8> {
        let incarnation = incarnation.0.to_be_bytes();
        let message = [SIGNED, executor.as_bytes(), &incarnation, challenge].concat();
        self.0.sign(&message).as_ref().to_vec()
    }
}

/// Writes a file that only its owner can read; it has its name only when it is whole.
pub(crate) fn write_synced(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    fs::File::open(directory)?.sync_all()
}

/// Returns what the machine is like, as far as the kernel tells.
pub fn machine(data: &Path, runtimes: Vec<wire::RuntimeSupport>) -> wire::Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let system = rustix::system::sysinfo();
    wire::Machine {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu_millis: u32::try_from(cpus.saturating_mul(1000)).unwrap_or(u32::MAX),
        memory_bytes: system.totalram.saturating_mul(u64::from(system.mem_unit)),
        disk_bytes: disk(data).map_or(0, |disk| disk.size),
        gpus: 0,
        runtimes,
    }
}

/// The disk where work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub size: u64,
    pub free: u64,
}

/// Returns how much of the disk under `directory` there is, and is free for this user.
pub fn disk(directory: &Path) -> io::Result<Space> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(Space {
        size: disk.f_blocks.saturating_mul(disk.f_frsize),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let made = Key::ensure(directory.path()).unwrap();
        let found = Key::ensure(directory.path()).unwrap();
        assert_eq!(made.public(), found.public());
        assert_eq!(made.public().len(), 32);
        let path = directory.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Key::ensure(directory.path()), Err(KeyError::Readable { .. })));
    }

    #[test]
    fn what_is_signed_names_the_executor_its_incarnation_and_the_challenge() {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::ensure(directory.path()).unwrap();
        let executor = ExecutorId::from_bytes([7; 16]);
        let signature = key.sign(executor, Incarnation(3), b"challenge");
        let public =
            aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key.public());
        let message = [b"ocelot session v1".as_slice(), &[7; 16], &3u64.to_be_bytes(), b"challenge"].concat();
        assert!(public.verify(&message, &signature).is_ok());
        assert_ne!(signature, key.sign(executor, Incarnation(4), b"challenge"));
    }
}
