//! Where an executor has its things on this machine, and what of them is of attempts.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Fleet;
use crate::engine;

/// The places of one executor. What it keeps in memory, and so not in the fleet's folder, goes with
/// this value.
#[derive(Debug)]
pub(super) struct Home {
    id: String,
    data: PathBuf,
    /// Where it keeps secrets, and where git does.
    memory: [PathBuf; 2],
}

impl Home {
    pub(super) fn new(id: &str, data: &Path) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let memory = ["", "-git"].map(|of| Path::new("/dev/shm").join(format!("ocelot-{user}-{id}{of}")));
        Self { id: id.to_owned(), data: data.to_owned(), memory }
    }

    pub(super) fn memory(&self) -> impl Iterator<Item = &Path> {
        self.memory.iter().map(PathBuf::as_path)
    }

    pub(super) fn workspaces(&self) -> Result<Vec<PathBuf>> {
        let folders = entries(&self.data.join("attempts"))?;
        Ok(folders.into_iter().map(|attempt| attempt.join("workspace")).collect())
    }

    /// Returns what only an attempt needs: containers, networks, folders, files of secrets, sockets,
    /// mounts, and processes other than its own.
    pub(super) fn remains(&self, own: Option<u32>) -> Result<Vec<String>> {
        let mut left = engine::of_attempts(&self.id)?;
        let shown = |path: PathBuf| path.display().to_string();
        left.extend(entries(&self.data.join("attempts"))?.into_iter().map(shown));
        for place in &self.memory {
            left.extend(entries(place)?.into_iter().map(shown));
        }
        sockets(&self.data, &mut left)?;
        let data = self.data.display().to_string();
        let mounts = fs::read_to_string("/proc/mounts")?;
        left.extend(mounts.lines().filter(|line| line.contains(&data)).map(|line| format!("mount {line}")));
        left.extend(processes(&data, own)?);
        Ok(left)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for place in &self.memory {
            // One that was never made is as good as gone.
            fs::remove_dir_all(place).ok();
        }
    }
}

impl Fleet {
    /// Returns what an executor has on this machine that only an attempt needs.
    pub fn remains(&self, executor: usize) -> Result<Vec<String>> {
        self.homes[executor].remains(self.executors[executor].pid())
    }

    /// Returns the folders in which an executor has the workspaces of its attempts.
    pub fn workspaces(&self, executor: usize) -> Result<Vec<PathBuf>> {
        self.homes[executor].workspaces()
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn sockets(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for path in entries(folder)? {
        // What goes while it is looked for is not left.
        let Ok(kind) = fs::symlink_metadata(&path).map(|found| found.file_type()) else { continue };
        if kind.is_dir() {
            sockets(&path, found)?;
        } else if kind.is_socket() {
            found.push(format!("socket {}", path.display()));
        }
    }
    Ok(())
}

/// Returns the processes that name a folder in their arguments.
fn processes(folder: &str, own: Option<u32>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for process in entries(Path::new("/proc"))? {
        let pid = process.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        let (Some(pid), Ok(line)) = (pid, fs::read(process.join("cmdline"))) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(folder) && Some(pid) != own {
            found.push(format!("process {pid}: {line}"));
        }
    }
    Ok(found)
}
