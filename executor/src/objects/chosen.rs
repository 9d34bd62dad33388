//! Which files of a workspace some patterns mean. Pure.
//!
//! A pattern that names a directory means all that is in it; one with `!` takes away again.

use std::path::Path;

use ocelot_archive::Select;
use ocelot_spec::Glob;

/// The files that a list of patterns means.
#[derive(Debug)]
pub(crate) struct Chosen {
    positive: Vec<Positive>,
    negative: Vec<Glob>,
}

#[derive(Debug)]
struct Positive {
    glob: Glob,
    /// The components before the first that is no plain name.
    plain: Vec<String>,
}

impl Chosen {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, String> {
        let mut chosen = Self { positive: Vec::new(), negative: Vec::new() };
        for pattern in patterns {
            let bare = pattern.strip_prefix('!');
            let text = trimmed(bare.unwrap_or(pattern));
            let glob = Glob::compile(text).map_err(|why| format!("{pattern}: {why}"))?;
            if bare.is_some() {
                chosen.negative.push(glob);
                continue;
            }
            let plain = text.split('/').take_while(|part| !part.contains(['*', '?', '{', '}']));
            chosen.positive.push(Positive { glob, plain: plain.map(str::to_owned).collect() });
        }
        Ok(chosen)
    }

    /// Says what to do with an entry that is met on the way down.
    pub(crate) fn select(&self, path: &Path, is_directory: bool) -> Select {
        let text = path.to_string_lossy();
        if self.negative.iter().any(|glob| glob.matches(&text)) {
            return Select::Skip;
        }
        let is_meant = self.positive.iter().any(|one| one.means(&text));
        match (is_directory, is_meant) {
            (true, true) if self.negative.is_empty() => Select::Take,
            (true, true) => Select::Descend,
            (true, false) if self.positive.iter().any(|one| one.may_lie_below(&text)) => Select::Descend,
            (false, true) => Select::Take,
            (true | false, false) => Select::Skip,
        }
    }
}

impl Positive {
    /// Whether it names this path, or a directory above it.
    fn means(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.chain([path]).any(|path| self.glob.matches(path))
    }

    fn may_lie_below(&self, directory: &str) -> bool {
        directory.split('/').zip(&self.plain).all(|(is, wanted)| is == wanted)
    }
}

/// Paths are written with or without what changes nothing.
fn trimmed(pattern: &str) -> &str {
    let mut text = pattern.trim_end_matches('/');
    while let Some(rest) = text.strip_prefix("./") {
        text = rest;
    }
    if text == "." { "**" } else { text }
}
