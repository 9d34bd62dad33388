//! One file per verb, or per noun.

pub(crate) mod artifacts;
pub(crate) mod build;
pub(crate) mod cancel;
pub(crate) mod complete;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod demo;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod execute;
pub(crate) mod executor;
pub(crate) mod explain;
pub(crate) mod getlogs;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod local;
pub(crate) mod project;
pub(crate) mod retry;
pub(crate) mod runs;
pub(crate) mod schedule;
pub(crate) mod secret;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod version;
pub(crate) mod why;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelot_spec::FILE_BYTES_MAX;

use crate::checkout::Checkout;
use crate::client::Client;
use crate::config::{Environment, Wanted, resolve};
use crate::error::{Error, Result};
use crate::show::{Output, Tone};

/// What every command that talks to a fleet is given.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) output: Output,
    pub(crate) environment: Environment,
    pub(crate) wanted: Wanted,
}

impl Session {
    /// Returns the fleet that this command is for; nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(resolve(&self.wanted, &self.environment)?, self.output.notes)
    }
}

/// Where the definition of a repository lies.
const DEFINITION: &str = "ocelot.yml";

/// The definition that nobody named: the one here, else the one of the checkout.
fn own_definition() -> PathBuf {
    let here = PathBuf::from(DEFINITION);
    if here.exists() {
        return here;
    }
    let top = Checkout::top().map(|top| top.join(DEFINITION)).filter(|file| file.exists());
    top.unwrap_or(here)
}

/// Reads a definition, and no more of it than is enough to refuse it for its length.
fn read(file: &Path) -> Result<Vec<u8>> {
    read_up_to(file, FILE_BYTES_MAX as u64 + 1)
}

/// Reads a file, or standard input for `-`, and no more of it than `most` bytes.
fn read_up_to(file: &Path, most: u64) -> Result<Vec<u8>> {
    let unreadable = |source| Error::Unreadable { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        File::open(file).and_then(|open| open.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
    }
    Ok(bytes)
}

/// One line of a description.
fn field(title: &str, value: String, output: &Output) -> String {
    format!("{}{value}\n", output.style.paint(Tone::Dim, format!("{title:<12}")))
}
