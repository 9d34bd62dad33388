//! What nobody but its owner may touch, as it was before and as it is after.
//!
//! A change that was taken back shows too: the times of what was changed, and of the folder that it lies
//! in, are a part of what is compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

/// Larger files are compared by their sizes and times.
const HASHED_MAX: u64 = 1 << 20;
/// A place whose folders our own programs write into: there only what was put is compared.
const CANARY: &str = "the yellow bird that must not move\n";

/// Places that are watched.
#[derive(Debug)]
pub(super) struct Guard {
    places: Vec<PathBuf>,
    seen: BTreeMap<PathBuf, String>,
}

impl Guard {
    /// Puts a bird into each of the folders, which are made where they are missing.
    pub(super) fn put_birds(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut birds = Vec::new();
        for folder in folders {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            let bird = folder.join("canary");
            fs::write(&bird, CANARY)?;
            birds.push(bird);
        }
        Ok(birds)
    }

    /// Looks at all places, with all that is below them; what is not there must not come.
    pub(super) fn over(places: Vec<PathBuf>) -> Result<Self> {
        let seen = look(&places)?;
        Ok(Self { places, seen })
    }

    /// Looks again.
    pub(super) fn untouched(&self) -> Result<()> {
        let now = look(&self.places)?;
        let mut changed: Vec<String> = Vec::new();
        for (path, was) in &self.seen {
            let is = now.get(path).map_or("gone", String::as_str);
            if is != was {
                changed.push(format!("{} was {was}, is {is}", path.display()));
            }
        }
        let came = now.keys().filter(|path| !self.seen.contains_key(*path));
        changed.extend(came.map(|path| format!("{} came", path.display())));
        ensure!(changed.is_empty(), "touched outside of workspaces:\n{}", changed.join("\n"));
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

fn look(places: &[PathBuf]) -> Result<BTreeMap<PathBuf, String>> {
    let mut seen = BTreeMap::new();
    let mut ahead = places.to_vec();
    while let Some(path) = ahead.pop() {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                seen.insert(path, "not there".to_owned());
                continue;
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if found.is_dir() {
            for entry in fs::read_dir(&path)? {
                ahead.push(entry?.path());
            }
        }
        let contents = contents(&path, &found)?;
        let told = format!(
            "{:o} {}:{} inode {}, {} bytes, {}.{} {}.{}, {contents}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.ino(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        );
        seen.insert(path, told);
    }
    Ok(seen)
}

fn contents(path: &Path, found: &fs::Metadata) -> Result<String> {
    if found.is_symlink() {
        return Ok(format!("to {}", fs::read_link(path)?.display()));
    }
    if !found.is_file() || found.size() > HASHED_MAX {
        return Ok(String::new());
    }
    let digest = Sha256::digest(fs::read(path)?);
    Ok(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A guard that cannot see is none: each kind of change is shown to it.
pub(super) fn sees_each_kind_of_change() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("outside");
    let bird = Guard::put_birds(std::slice::from_ref(&place))?.remove(0);
    let absent = folder.path().join("absent");
    let guard = || Guard::over(vec![place.clone(), absent.clone()]);
    type Change<'a> = (&'a str, &'a dyn Fn() -> std::io::Result<()>);
    let changes: [Change<'_>; 6] = [
        ("written", &|| fs::write(&bird, "another bird that came in its place")),
        ("written with the same", &|| fs::write(&bird, fs::read(&bird)?)),
        ("made and taken back", &|| {
            fs::write(place.join("evil"), "")?;
            fs::remove_file(place.join("evil"))
        }),
        ("opened to all", &|| {
            fs::set_permissions(&bird, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        }),
        ("come", &|| fs::write(&absent, "")),
        ("gone", &|| fs::remove_file(&bird)),
    ];
    for (what, change) in changes {
        let guard = guard()?;
        guard.untouched()?;
        change()?;
        ensure!(guard.untouched().is_err(), "nobody saw what was {what}");
    }
    Ok(())
}
