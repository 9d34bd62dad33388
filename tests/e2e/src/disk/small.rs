//! A small disk of its own: a file system in a file, which a test can fill to the brim.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A mounted file system; it goes with this value, which must outlive all that uses it.
#[derive(Debug)]
pub(super) struct SmallDisk {
    folder: TempDir,
    ballast: u32,
}

impl SmallDisk {
    /// Makes one. What is not written takes no room on the machine's own disk.
    pub(super) fn new(mebibytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ocelot-disk-").tempdir()?;
        let disk = Self { folder, ballast: 0 };
        let image = disk.folder.path().join("image");
        fs::File::create(&image)?.set_len(mebibytes << 20)?;
        fs::create_dir(disk.mount())?;
        run("mkfs.ext4", &["-q", "-m", "0", &shown(&image)])?;
        run("mount", &["-o", "loop", &shown(&image), &shown(&disk.mount())])?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn mount(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    pub(super) fn free(&self) -> Result<u64> {
        let disk = rustix::fs::statvfs(self.mount())?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Takes room until only so many mebibytes are free; none of it is written.
    pub(super) fn fill_to(&mut self, mebibytes: u64) -> Result<()> {
        let over = self.free()?.saturating_sub(mebibytes << 20);
        if over < 1 << 20 {
            return Ok(());
        }
        let file = self.next_ballast();
        run("fallocate", &["--length", &over.to_string(), &shown(&file)])
    }

    /// Takes every block that there is.
    pub(super) fn fill_to_the_brim(&mut self) -> Result<()> {
        self.fill_to(1)?;
        let mut file = OpenOptions::new().create(true).append(true).open(self.next_ballast())?;
        let zeros = [0; 64 << 10];
        loop {
            match file.write(&zeros) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
        // What others gave back meanwhile is theirs.
        Ok(file.sync_all().or_else(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => Ok(()),
            _ => Err(error),
        })?)
    }

    /// Gives everything back that was taken.
    pub(super) fn clear(&mut self) -> Result<()> {
        for number in 0..std::mem::take(&mut self.ballast) {
            fs::remove_file(self.ballast(number))?;
        }
        Ok(())
    }

    fn ballast(&self, number: u32) -> PathBuf {
        self.mount().join(format!("ballast-{number}"))
    }

    fn next_ballast(&mut self) -> PathBuf {
        self.ballast += 1;
        self.ballast(self.ballast - 1)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that is still ending may have a file of it open.
        run("umount", &["--lazy", &shown(&self.mount())]).ok();
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("no {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(())
}
