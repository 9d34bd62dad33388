//! A Makefile alone: what it needs only a person knows.

use std::collections::BTreeSet;

use super::{Folder, Part, stage};

const TARGETS: [&str; 5] = ["lint", "check", "test", "build", "all"];

pub(super) fn part(folder: &Folder<'_>) -> Option<Part> {
    let file = folder.first(&["Makefile", "makefile"])?;
    let targets = targets(folder.text(file)?);
    let mut part = folder.part("Make", file, "debian:bookworm".to_owned());
    part.remarks.push("Which image has what the Makefile needs? This one has not even make.".to_owned());
    let wanted = TARGETS.into_iter().filter(|target| targets.contains(*target));
    // `all` is there for those who have nothing else.
    let wanted: Vec<&'static str> = wanted.collect();
    let own = wanted.iter().filter(|target| **target != "all" || wanted.len() == 1);
    part.stages.push(stage("prepare", ["apt-get update", "apt-get install -y --no-install-recommends make"]));
    part.stages.extend(own.map(|target| stage(target, [format!("make {target}")])));
    if part.stages.len() == 1 {
        part.stages.push(stage("make", ["make"]));
    }
    Some(part)
}

/// The names before a colon at the beginning of a line; `NAME := value` is a variable.
fn targets(text: &str) -> BTreeSet<&str> {
    let rules = text.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.']));
    let named = rules.filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    named.flat_map(|(names, _)| names.split_whitespace()).collect()
}
