//! Repositories that are written past all of git's checks, and the table of what is built of them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ocelot_proto::wire;

use super::{Case, Scene, settings, sizes, trees};

/// One repository: how it is made, what is built of it, and how that ends.
pub(super) struct Row {
    name: &'static str,
    make: fn(&Origin) -> Result<()>,
    definition: String,
    ends: &'static [&'static str],
    /// It is built in containers too.
    docker: bool,
}

/// A bare repository that is written past all of git's checks.
pub(super) struct Origin {
    pub(super) bare: PathBuf,
    pub(super) outside: PathBuf,
    /// Where the server's other repositories lie.
    pub(super) repositories: PathBuf,
}

impl Origin {
    /// Makes the repository of this project, empty, and the project.
    pub(super) async fn make(scene: &Scene, project: &str) -> Result<Self> {
        let ground = &scene.ground;
        let repository = ground.repository(project, &[("README", "hostile\n")])?;
        ground.add_project(project, wire::ProjectSettings::default()).await?;
        let repositories = ground.repositories().to_owned();
        let origin = Self { bare: repository.bare, outside: scene.outside.clone(), repositories };
        // As every forge serves: what only a checkout needs does not come to the controller.
        origin.git(&["config", "uploadpack.allowFilter", "true"], b"")?;
        Ok(origin)
    }

    pub(super) fn git(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut command = Command::new("git");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        }
        let mut child = command
            .arg("--git-dir")
            .arg(&self.bare)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("it was asked for")?.write_all(input)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    pub(super) fn blob(&self, contents: impl AsRef<[u8]>) -> Result<String> {
        self.git(&["hash-object", "-w", "-t", "blob", "--stdin"], contents.as_ref())
    }

    /// Makes a tree of these modes, names and objects, in this order, whatever git thinks of it.
    pub(super) fn tree(&self, entries: &[(&str, &[u8], &str)]) -> Result<String> {
        let mut bytes = Vec::new();
        for (mode, name, object) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            for place in (0..object.len()).step_by(2) {
                bytes.push(u8::from_str_radix(&object[place..place + 2], 16)?);
            }
        }
        self.git(&["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &bytes)
    }

    pub(super) fn commit(&self, tree: &str) -> Result<String> {
        self.git(&["commit-tree", "-m", "hostile", tree], b"")
    }

    /// Makes `main` a commit of a tree of these.
    pub(super) fn main(&self, entries: &[(&str, &[u8], &str)]) -> Result<()> {
        let commit = self.commit(&self.tree(entries)?)?;
        self.git(&["update-ref", "refs/heads/main", &commit], b"").map(drop)
    }

    /// A command that leaves a trace.
    pub(super) fn touch(&self) -> String {
        format!("touch {}", self.outside.join("ran").display())
    }

    pub(super) fn outside(&self) -> Result<String> {
        self.blob(self.outside.as_os_str().as_encoded_bytes())
    }

    /// A tree whose only file is a hook that leaves a trace.
    pub(super) fn hook(&self) -> Result<String> {
        let hook = self.blob(format!("#!/bin/sh\n{}\n", self.touch()))?;
        let hooks = self.tree(&[("100755", b"post-checkout", &hook)])?;
        self.tree(&[("40000", b"hooks", &hooks)])
    }

    /// Makes `main` a commit with one submodule.
    pub(super) fn submodule(&self, path: &[u8], settings: &str) -> Result<()> {
        let inner = self.git(&["rev-parse", "refs/heads/main"], b"")?;
        let settings = self.blob(format!("[submodule \"s\"]\n{settings}"))?;
        let mut entries = [("100644", b".gitmodules".as_slice(), settings), ("160000", path, inner)];
        entries.sort_by_key(|(_, name, _)| *name);
        let entries = entries.each_ref().map(|(mode, name, object)| (*mode, *name, object.as_str()));
        self.main(&entries)
    }
}

pub(super) const LINK: &str = "120000";
pub(super) const FILE: &str = "100644";
pub(super) const FOLDER: &str = "40000";

pub(super) fn row(
    name: &'static str,
    make: fn(&Origin) -> Result<()>,
    definition: impl Into<String>,
    ends: &'static [&'static str],
) -> Row {
    Row { name, make, definition: definition.into(), ends, docker: false }
}

/// One more, in containers too.
pub(super) fn both(row: Row) -> Row {
    Row { docker: true, ..row }
}

pub(super) async fn cases(scene: &Scene, runtime: &str) -> Result<Vec<Case>> {
    let rows = [
        trees::trees(runtime),
        trees::links(runtime),
        settings::settings(runtime),
        settings::submodules(runtime),
        sizes::sizes(runtime),
    ];
    let mut cases = Vec::new();
    for row in rows.into_iter().flatten().filter(|row| runtime == "process" || row.docker) {
        let case = Case::new(row.name, &row.definition, row.ends);
        let origin = Origin::make(scene, &case.project()).await?;
        (row.make)(&origin).with_context(|| row.name)?;
        cases.push(case);
    }
    if runtime == "process" {
        cases.extend(sizes::names(scene).await?);
    }
    Ok(cases)
}

/// Makes the place of a case that needs no more than a repository.
pub(super) async fn ordinary(scene: &Scene, case: &Case) -> Result<()> {
    Origin::make(scene, &case.project()).await.map(drop)
}
