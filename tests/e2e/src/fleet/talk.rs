//! Fleets at their most talkative: what one leaves behind is looked through for each secret it had.
//!
//! Only where `OCELOT_E2E_TALK` names a folder: there each fleet, once its processes have ended, writes
//! down what was looked through, and what was found.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::search::Search;

/// Names the folder of the reports.
pub const ASKED: &str = "OCELOT_E2E_TALK";

/// Ends together with its fleet, after the processes and before the folders.
#[derive(Debug)]
pub(super) struct Talk {
    reports: Option<PathBuf>,
    places: Vec<PathBuf>,
    secrets: Mutex<Vec<(String, String)>>,
}

impl Talk {
    /// Of a fleet that writes to these places.
    pub(super) fn new(places: Vec<PathBuf>) -> Self {
        let reports = std::env::var_os(ASKED).map(PathBuf::from);
        Self { reports, places, secrets: Mutex::default() }
    }

    /// Returns what makes a program talk, if it is asked to and no flag of its own says how much.
    pub(super) fn flag(&self, own: &[String]) -> Option<String> {
        let is_said = own.iter().any(|word| word == "--log" || word.starts_with("--log="));
        (self.reports.is_some() && !is_said).then(|| "--log=trace".to_owned())
    }

    /// Looks for a value as well. What is in front of a token's secret is shown on purpose.
    pub(super) fn guard(&self, what: &str, value: &str) {
        let secret = match value.strip_prefix("oct_") {
            Some(token) => token.rsplit('_').next().unwrap_or(token),
            None => value,
        };
        // A forge that registered a webhook by itself leaves none to be shown.
        if let (false, Ok(mut secrets)) = (secret.is_empty(), self.secrets.lock()) {
            secrets.push((what.to_owned(), secret.to_owned()));
        }
    }

    fn look(&self) -> Result<String> {
        let secrets = self.secrets.lock().map_err(|_| anyhow::anyhow!("a trial broke off"))?;
        let search = Search::of(&secrets);
        let (mut found, mut looked) = (Vec::new(), 0);
        let mut first = 0;
        for place in &self.places {
            let (here, bytes) = search.of_folder(place, &|_| false)?;
            looked += bytes;
            let (expected, wrong): (Vec<_>, Vec<_>) =
                here.into_iter().partition(|(path, found)| is_first_token(path, found));
            first += expected.len();
            found.extend(wrong);
        }
        ensure!(first == 1, "the first token, which is printed once, was found {first} times");
        let mut report = format!("{} {looked}\n", secrets.len());
        for (path, found) in found {
            report += &format!("{}: {found}\n", path.display());
        }
        Ok(report)
    }
}

/// The first token is printed once, for the person who starts the fleet.
fn is_first_token(path: &Path, found: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("controller-") && name.ends_with(".log") && found.starts_with("the first token as it is")
}

impl Drop for Talk {
    fn drop(&mut self) {
        let Some(reports) = &self.reports else { return };
        let report = self.look().unwrap_or_else(|error| format!("0 0\nnot looked through: {error:#}\n"));
        let Some(name) = self.places.first().and_then(|place| place.file_name()) else { return };
        // Whoever asked counts the reports.
        fs::write(reports.join(name), report).ok();
    }
}

/// What the reports of many fleets say together.
#[derive(Debug, Default)]
pub struct Said {
    pub fleets: usize,
    pub secrets: usize,
    pub bytes: u64,
    pub found: Vec<String>,
}

impl Said {
    pub fn read(reports: &Path) -> Result<Self> {
        let mut said = Self::default();
        for entry in fs::read_dir(reports)? {
            let report = fs::read_to_string(entry?.path())?;
            let (head, found) = report.split_once('\n').context("a report has a first line")?;
            let (secrets, bytes) = head.split_once(' ').context("its first line is two numbers")?;
            said.fleets += 1;
            said.secrets += secrets.parse::<usize>()?;
            said.bytes += bytes.parse::<u64>()?;
            said.found.extend(found.lines().map(str::to_owned));
        }
        ensure!(said.fleets > 0, "no fleet reported");
        Ok(said)
    }
}
