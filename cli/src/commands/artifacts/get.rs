//! `ocelot artifacts get`: an artifact into a folder, or as it is kept into a file.
//!
//! Nothing that was there is touched unless a person says so, and nothing counts before its digest was
//! compared.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use ocelot_archive::{Expected, Policy, Root};
use ocelot_proto::wire;

use super::super::Session;
use super::download::{Part, download};
use super::of;
use crate::args::ArtifactGet;
use crate::error::{Error, Result, Whose};
use crate::shape;
use crate::show::plain;
use crate::words;

/// Where an artifact goes.
enum Place {
    Folder(PathBuf),
    File(PathBuf),
}

pub(super) async fn run(get: &ArtifactGet, session: &Session) -> Result<()> {
    let (run, name) = match &get.names[..] {
        [run, name] => (Some(run.as_str()), name),
        [name] => (None, name),
        _ => return Err(Error::usage("say which artifact", "see them: ocelot artifacts list")),
    };
    let place = place(get, name)?;
    let client = session.client()?;
    let output = &session.output;
    let run = session.find(&client, run).await?.run.unwrap_or_default();
    let kept = of(&client, &run, get.task.clone().unwrap_or_default()).await?;
    let artifact = chosen(&kept, name, &run)?;
    let expected = expected(artifact)?;
    let part = Part::beside(place.path(), &expected.sha256);
    download(&client, &output.notes, (&run, artifact), (&part, expected)).await?;
    match &place {
        Place::Folder(folder) => unpack(part.path(), folder, expected)?,
        Place::File(file) => put(part.path(), file, get.force)?,
    }
    part.forget();
    let shown = plain(&place.path().display().to_string());
    let size = words::bytes(artifact.size_bytes);
    let count = if artifact.files == 1 { "1 file".to_owned() } else { format!("{} files", artifact.files) };
    let text = match &place {
        Place::Folder(_) => format!("{}: {count} in {shown}\n", plain(&artifact.name)),
        Place::File(_) => format!("{}: {size} in {shown}\n", plain(&artifact.name)),
    };
    let (folder, file) = match place {
        Place::Folder(folder) => (Some(folder), None),
        Place::File(file) => (None, Some(file)),
    };
    output.result(text, &shape::Fetched { artifact: shape::Artifact::from(artifact), folder, file })
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::File(path) => path,
        }
    }
}

/// Decides where it goes, and refuses a place where something is.
fn place(get: &ArtifactGet, name: &str) -> Result<Place> {
    let unwritable = |file: &Path, source| Error::Unwritable { file: file.to_owned(), source };
    let taken = |path: &Path, what: &str| {
        Err(Error::usage(
            format!("{} {what}", path.display()),
            "say --force to write over what is there, or another place with --into or --raw",
        ))
    };
    if let Some(file) = &get.raw {
        if !get.force && file.symlink_metadata().is_ok() {
            return taken(file, "is there already");
        }
        return Ok(Place::File(file.clone()));
    }
    let folder = match &get.into {
        Some(folder) => folder.clone(),
        None => own_folder(name)?,
    };
    match fs::read_dir(&folder) {
        Ok(entries) => match entries.count() {
            0 => Ok(Place::Folder(folder)),
            _ if get.force => Ok(Place::Folder(folder)),
            _ => taken(&folder, "is not empty"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Folder(folder)),
        Err(error) => Err(unwritable(&folder, error)),
    }
}

/// Returns the folder with the artifact's name, which must be a plain one: a run's author chose it.
fn own_folder(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    let is_plain = matches!(path.components().collect::<Vec<_>>()[..], [Component::Normal(_)])
        && !name.starts_with('.')
        && plain(name) == name;
    if is_plain && !name.ends_with('/') {
        return Ok(path.to_owned());
    }
    Err(Error::usage(format!("{} is no name for a folder", plain(name)), "say where: --into DIR"))
}

fn chosen<'a>(kept: &'a [wire::Artifact], name: &str, run: &wire::RunSummary) -> Result<&'a wire::Artifact> {
    let fits: Vec<&wire::Artifact> = kept.iter().filter(|artifact| artifact.name == name).collect();
    match fits[..] {
        [one] => Ok(one),
        [] => {
            let mut names: Vec<String> = kept.iter().map(|artifact| plain(&artifact.name)).collect();
            names.dedup();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Error::Refused {
                what: format!("{} has no artifact {}", plain(&words::run_name(run)), plain(name)),
                hint: Some(format!("its artifacts: {names}")),
                whose: Whose::Missing,
            })
        }
        [_, _, ..] => {
            let tasks: Vec<String> = fits.iter().map(|artifact| plain(&artifact.task)).collect();
            Err(Error::usage(
                format!("several tasks kept an artifact {}", plain(name)),
                format!("say which with --task: {}", tasks.join(", ")),
            ))
        }
    }
}

fn expected(artifact: &wire::Artifact) -> Result<Expected> {
    let sha256 = artifact.sha256.as_ref().try_into().map_err(|_| Error::Refused {
        what: "the controller told of an artifact without a digest".to_owned(),
        hint: None,
        whose: Whose::Ours,
    })?;
    Ok(Expected { sha256, size: artifact.size_bytes })
}

/// Unpacks what was fetched: all of it or nothing, and nothing outside the folder.
fn unpack(part: &Path, folder: &Path, expected: Expected) -> Result<()> {
    let unwritable = |source| Error::Unwritable { file: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(unwritable)?;
    let packed = File::open(part).map_err(|source| Error::Unreadable { file: part.to_owned(), source })?;
    let root = Root::open(folder).map_err(unwritable)?;
    let policy = Policy { expected: Some(expected), ..Policy::default() };
    ocelot_archive::unpack(packed, &root, &policy).map(drop).map_err(|error| Error::Refused {
        what: format!("cannot unpack it into {}: {}", folder.display(), plain(&error.to_string())),
        hint: Some("get it as it is kept: --raw FILE".to_owned()),
        whose: Whose::State,
    })
}

fn put(part: &Path, file: &Path, force: bool) -> Result<()> {
    let unwritable = |source| Error::Unwritable { file: file.to_owned(), source };
    if force {
        return fs::rename(part, file).map_err(unwritable);
    }
    // Unlike a rename, a link never takes the place of what has come there meanwhile.
    fs::hard_link(part, file).map_err(unwritable)
}
