//! A fleet with a git server beside it, and repositories that tests push to.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ocelot_git::testing::Server;
use ocelot_proto::wire;
use tempfile::TempDir;

use super::{Caller, Fleet, Newcomer, RunId, Settings, is_transient, new_run_id};
use crate::wait::wait_until;

/// A fleet whose projects lie on a git server of its own.
#[derive(Debug)]
pub struct Ground {
    pub fleet: Fleet,
    pub git: Server,
    repositories: TempDir,
}

/// A git server, before there is a fleet beside it.
#[derive(Debug)]
pub struct Repositories {
    pub git: Server,
    folder: TempDir,
}

impl Repositories {
    /// Serves a folder that is empty yet.
    pub fn serve() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ocelot-git-").tempdir()?;
        let git = Server::start(folder.path(), None, None)?;
        Ok(Self { git, folder })
    }
}

impl Ground {
    /// Starts both. The fleet takes repositories over plain http, and may call this machine.
    pub async fn start(settings: Settings) -> Result<Self> {
        Self::beside(Repositories::serve()?, settings).await
    }

    /// Starts a fleet beside a server that is there.
    pub async fn beside(repositories: Repositories, mut settings: Settings) -> Result<Self> {
        settings.more.extend(["--git-allow=http", "--allow-egress=127.0.0.0/8"].map(str::to_owned));
        let fleet = Fleet::start(settings).await?;
        let Repositories { git, folder } = repositories;
        Ok(Self { fleet, git, repositories: folder })
    }

    /// Returns the folder that is served.
    pub fn repositories(&self) -> &Path {
        self.repositories.path()
    }

    /// Adds an executor that takes repositories over plain http.
    pub async fn add_executor(&mut self, newcomer: Newcomer<'_>) -> Result<usize> {
        let more = [newcomer.more, &["--git-allow", "http"]].concat();
        self.fleet.add(Newcomer { more: &more, ..newcomer }).await
    }

    /// Makes a repository on the server, whose branch `main` has these files.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> Result<Repository> {
        let bare = self.repositories.path().join(format!("{name}.git"));
        let work = self.fleet.path("work").join(name);
        std::fs::create_dir_all(&bare)?;
        std::fs::create_dir_all(&work)?;
        let repository = Repository { bare, work };
        git(&repository.bare, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
        git(&repository.work, &["init", "--quiet", "--initial-branch=main"])?;
        for (path, text) in files {
            repository.write(path, text)?;
        }
        repository.commit("Begin")?;
        repository.push("main")?;
        Ok(repository)
    }

    /// Returns the address of a repository, as a project has it.
    pub fn url(&self, name: &str) -> String {
        self.git.url(&format!("{name}.git")).to_string()
    }

    /// Adds the repository of this name as a project of that name.
    pub async fn add_project(
        &self,
        name: &str,
        settings: wire::ProjectSettings,
    ) -> Result<wire::PutProjectResponse> {
        let settings = wire::ProjectSettings { url: Some(self.url(name)), ..settings };
        let request = wire::PutProjectRequest {
            name: name.to_owned(),
            settings: Some(settings),
            ..wire::PutProjectRequest::default()
        };
        Ok(self.fleet.caller(0)?.projects().put_project(request).await?.into_inner())
    }

    /// Builds the head of `main` by the commit's own file, or by `definition` if it is not empty.
    pub async fn build(&self, project: &str, definition: &str) -> Result<RunId> {
        build(&self.fleet.caller(0)?, project, definition).await
    }
}

/// Asks one controller for a build, repeating the very same request until an answer comes.
async fn build(caller: &Caller, project: &str, definition: &str) -> Result<RunId> {
    let id = new_run_id();
    let request = wire::BuildRequest {
        id: id.to_vec().into(),
        project: project.to_owned(),
        definition: definition.to_owned(),
        ..wire::BuildRequest::default()
    };
    let answer = wait_until("an answer to build", || async {
        match caller.projects().build(request.clone()).await {
            Err(status) if is_transient(&status) => Err(status),
            other => Ok(other),
        }
    });
    answer.await?.with_context(|| format!("the build of {project} was refused"))?;
    Ok(id)
}

/// A repository on the server, and the work tree that is pushed to it.
#[derive(Debug)]
pub struct Repository {
    pub bare: PathBuf,
    pub work: PathBuf,
}

impl Repository {
    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        Ok(std::fs::write(path, text)?)
    }

    /// Commits everything, and returns the commit's id.
    pub fn commit(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])?;
        self.git(&["rev-parse", "HEAD"])
    }

    /// Pushes what `what` names, such as `main` or `+main:topic`.
    pub fn push(&self, what: &str) -> Result<()> {
        let bare = self.bare.display().to_string();
        self.git(&["push", "--quiet", &bare, what]).map(drop)
    }

    /// Runs git in the work tree, and returns what it printed.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        git(&self.work, arguments)
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .context("no git command: tests/run installs it")?;
    ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
