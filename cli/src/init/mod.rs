//! Looks at what lies in a repository and proposes an `ocelot.yml` for it.
//!
//! Pure: a listing and the contents of a few files go in, a text comes out, and `ocelot validate` finds
//! nothing wrong with it. Only commands whose script or tool is there are proposed; what a person must
//! decide stands there as a comment.

mod go;
mod jvm;
mod make;
mod node;
mod python;
mod rust;
mod text;

use std::collections::{BTreeMap, BTreeSet};

/// What of a repository is looked at.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    /// Every file, relative to the top folder.
    pub(crate) paths: BTreeSet<String>,
    /// The contents of those for which [`is_read`] says so.
    pub(crate) texts: BTreeMap<String, String>,
}

/// What is proposed.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// The file.
    pub(crate) text: String,
    /// What was found, for people: `Rust (Cargo.toml)`.
    pub(crate) found: Vec<String>,
}

/// A folder of one kind: what becomes a task.
#[derive(Debug, Default)]
struct Part {
    /// `Rust`
    kind: &'static str,
    /// The file that tells it.
    told_by: String,
    /// Its folder; empty for the top one.
    folder: String,
    image: String,
    /// What a person must decide, above the image.
    remarks: Vec<String>,
    env: Vec<(&'static str, String)>,
    cache: Option<Cache>,
    stages: Vec<Stage>,
    artifacts: Vec<Artifact>,
}

#[derive(Debug)]
struct Cache {
    name: &'static str,
    /// Relative to the part's folder, as `key_files`.
    paths: Vec<String>,
    key: String,
    key_files: Vec<String>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    script: Vec<String>,
    /// It is only proposed: nothing here says that it passes.
    doubtful: bool,
}

#[derive(Debug)]
struct Artifact {
    name: &'static str,
    /// Relative to the part's folder.
    paths: Vec<String>,
    always: bool,
}

/// Folders below the top one are looked at down to this depth.
const DEPTH_MAX: usize = 2;
/// More parts than this are a repository that a person knows better.
const PARTS_MAX: usize = 8;
/// Folders that hold no part of their own.
const PASSED_OVER: [&str; 12] = [
    "node_modules",
    "vendor",
    "target",
    "examples",
    "example",
    "docs",
    "doc",
    "test",
    "tests",
    "testdata",
    "fixtures",
    "third_party",
];
/// Files whose contents tell something.
const READ: [&str; 16] = [
    "Cargo.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    "package.json",
    ".nvmrc",
    ".node-version",
    ".npmrc",
    "go.mod",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "pyproject.toml",
    "requirements.txt",
    ".python-version",
    "Makefile",
    "makefile",
];
/// Definitions for other systems, by the beginning of their path.
const OTHERS: [&str; 8] = [
    ".github/workflows/",
    ".gitlab-ci.yml",
    ".circleci/",
    ".travis.yml",
    ".drone.yml",
    ".woodpecker",
    "Jenkinsfile",
    "azure-pipelines.yml",
];

/// Tells whether the contents of a file are wanted.
pub(crate) fn is_read(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    folder.split('/').filter(|part| !part.is_empty()).count() <= DEPTH_MAX
        && (READ.contains(&name) || is_for_another_system(path))
}

fn is_for_another_system(path: &str) -> bool {
    OTHERS.iter().any(|beginning| path.starts_with(beginning))
}

/// Proposes a file.
pub(crate) fn propose(repository: &Repository) -> Proposal {
    let parts = parts(repository);
    let found = parts.iter().map(|part| format!("{} ({})", part.kind, part.told_by)).collect();
    Proposal { text: text::file(&parts, &hints(repository)), found }
}

fn parts(repository: &Repository) -> Vec<Part> {
    let kinds = [rust::part, node::part, go::part, jvm::part, python::part];
    let mut parts: Vec<Part> = kinds.iter().filter_map(|part| part(&repository.folder(""))).collect();
    let at_the_top: BTreeSet<&'static str> = parts.iter().map(|part| part.kind).collect();
    for folder in repository.folders() {
        let place = repository.folder(&folder);
        let below = kinds.iter().filter_map(|part| part(&place));
        // A kind that is at the top has its packages below, and works on all of them.
        parts.extend(below.filter(|part| !at_the_top.contains(part.kind)));
    }
    if parts.is_empty() {
        parts.extend(make::part(&repository.folder("")));
    }
    parts.truncate(PARTS_MAX);
    parts
}

/// What else was seen, as comments for a person.
fn hints(repository: &Repository) -> Vec<String> {
    let mut hints = Vec::new();
    let others: Vec<&str> =
        repository.paths.iter().filter(|path| is_for_another_system(path)).map(String::as_str).collect();
    if !others.is_empty() {
        let shown = others.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        hints.push(format!("Also here: {shown}. Look what it does beyond this, and move it."));
    }
    let has = |names: &[&'static str]| names.iter().copied().find(|name| repository.paths.contains(*name));
    if let Some(name) = has(&["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"]) {
        hints.push(format!(
            "{name} starts services. Here they stand beside a task:\n  services: {{postgres: {{image: \"postgres:16\", ready: {{port: 5432}}}}}}"
        ));
    }
    if let Some(name) = has(&["Dockerfile", "Containerfile"]) {
        hints.push(format!(
            "{name}: a task that builds an image says `engine: true`, and needs an executor that permits it."
        ));
    }
    hints
}

/// One folder of a repository.
struct Folder<'a> {
    repository: &'a Repository,
    path: &'a str,
}

impl Repository {
    fn folder<'a>(&'a self, path: &'a str) -> Folder<'a> {
        Folder { repository: self, path }
    }

    /// Folders that may hold parts, those nearer to the top first.
    fn folders(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for path in &self.paths {
            let parts: Vec<&str> = path.split('/').collect();
            for depth in 1..=DEPTH_MAX.min(parts.len() - 1) {
                let above = &parts[..depth];
                if above.iter().any(|name| PASSED_OVER.contains(name) || !is_plain(name)) {
                    break;
                }
                found.insert((depth, above.join("/")));
            }
        }
        found.into_iter().map(|(_, folder)| folder).collect()
    }
}

/// A name that is a path and a pattern for itself alone, and that nobody hides.
fn is_plain(name: &str) -> bool {
    let allowed = |letter: char| letter.is_alphanumeric() || "-_.@+ ".contains(letter);
    !name.starts_with(['.', ' ', '-']) && !name.ends_with(' ') && name.chars().all(allowed)
}

impl Folder<'_> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    fn has(&self, name: &str) -> bool {
        self.repository.paths.contains(&self.path_of(name))
    }

    /// The first of these files that is there.
    fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.repository.texts.get(&self.path_of(name)).map(String::as_str)
    }

    /// Every path below it, relative to it.
    fn below(&self) -> impl Iterator<Item = &str> {
        let prefix = self.path_of("");
        self.repository.paths.iter().filter_map(move |path| path.strip_prefix(prefix.as_str()))
    }

    /// Tells whether a definition for another system runs this command.
    fn is_run_elsewhere(&self, command: &str) -> bool {
        let texts = &self.repository.texts;
        texts.iter().any(|(path, text)| is_for_another_system(path) && text.contains(command))
    }

    fn part(&self, kind: &'static str, told_by: &str, image: String) -> Part {
        let folder = self.path.to_owned();
        Part { kind, told_by: self.path_of(told_by), folder, image, ..Part::default() }
    }
}

/// A stage that something here says passes.
fn stage(name: &'static str, script: impl IntoIterator<Item = impl Into<String>>) -> Stage {
    Stage { name, script: script.into_iter().map(Into::into).collect(), doubtful: false }
}

/// Returns the value of `key = "value"` in a TOML file, in whichever table.
fn toml_text<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|letter| matches!(letter, '"' | '\''))?;
        rest[1..].split(quote).next()
    })
}

/// Returns the first version in a text: `3.11` of `>=3.11,<4`.
fn version(text: &str) -> Option<&str> {
    let from = text.find(|letter: char| letter.is_ascii_digit())?;
    let rest = &text[from..];
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    Some(rest[..end].trim_end_matches('.'))
}

/// Returns the first `parts` numbers of a version.
fn shortened(version: &str, parts: usize) -> String {
    version.split('.').take(parts).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
