//! What builds say of themselves, where none of our programs writes.
//!
//! A job appends one short line to a file at its start, at each beat and at its end. A line is one
//! write, so lines of two builds never mix.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file of the witness.
#[derive(Debug, Clone)]
pub struct Witness {
    path: PathBuf,
}

/// What one attempt did.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    pub run: String,
    pub attempt: u32,
    /// How often it was started; more than once is always wrong.
    pub starts: u32,
    /// Seconds of the machine's uptime: the first and the last word.
    pub from: f64,
    pub until: f64,
    pub ended: bool,
}

impl Witness {
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("witness") }
    }

    /// Returns a job that tells the witness, beats `beats` times a fifth of a second apart, and ends.
    pub fn job(&self, name: &str, beats: u32, more: &str) -> String {
        format!(
            "name: {name}\nruntime: process\n{more}\nstages:\n  - name: work\n    script: |\n      \
             say() {{ read up rest < /proc/uptime; echo \"$1 $OCELOT_RUN_ID $OCELOT_ATTEMPT $up\" >> {}; }}\n      \
             say start\n      i=0\n      while [ $i -lt {beats} ]; do sleep 0.2; say beat; echo \"line $i\"; \
             i=$((i+1)); done\n      say end\n",
            self.path.display()
        )
    }

    /// Returns what every attempt did, in the order of their starts.
    pub fn lives(&self) -> Result<Vec<Life>> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut lives: BTreeMap<(String, u32), Life> = BTreeMap::new();
        for line in text.lines() {
            let [word, run, attempt, up] = line.split(' ').collect::<Vec<_>>()[..] else {
                anyhow::bail!("the witness heard {line:?}");
            };
            let (attempt, up) = (attempt.parse()?, up.parse().context("an uptime")?);
            let life = lives.entry((run.to_owned(), attempt)).or_insert_with(|| Life {
                run: run.to_owned(),
                attempt,
                starts: 0,
                from: up,
                until: up,
                ended: false,
            });
            life.until = up;
            life.starts += u32::from(word == "start");
            life.ended |= word == "end";
        }
        let mut lives: Vec<_> = lives.into_values().collect();
        lives.sort_by(|one, other| one.from.total_cmp(&other.from));
        Ok(lives)
    }

    /// Returns pairs of attempts of one run that were alive at the same time.
    pub fn overlaps(&self) -> Result<Vec<(Life, Life)>> {
        let lives = self.lives()?;
        let mut pairs = Vec::new();
        for (index, one) in lives.iter().enumerate() {
            for other in &lives[index + 1..] {
                if one.run == other.run && other.from < one.until && one.from < other.until {
                    pairs.push((one.clone(), other.clone()));
                }
            }
        }
        Ok(pairs)
    }
}
