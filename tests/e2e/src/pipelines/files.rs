//! Secrets that are files inside the workspace: whatever fills the workspace, and whenever, a stage finds
//! its own, no later stage does, and nothing that is kept of the workspace holds one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::fleet::{Build, Ground, Newcomer, RunId, Settings, reference};
use ocelot_e2e::runner::trial;
use ocelot_e2e::search::Search;
use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope;

use super::semantics::told;
use crate::runtime::warm::waits;

const PROJECT: &str = "acme/shop";
/// Every value holds it, and it is what is looked for.
const MARK: &str = "xk41-grasshopper";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pipelines::files::a_secret_file_is_in_a_workspace_that_a_container_has", || hold(Some("0"))),
        trial("pipelines::files::and_in_one_that_waited_for_it", || hold(Some("1"))),
        trial("pipelines::files::and_without_a_container", || hold(None)),
    ]
}

/// A build with files where nothing is, where its repository has files, and in its own folder.
const DEFINITION: &str = r#"
directory: sub
secrets: [{name: all, file: made/by/us/all}]
stages:
  - name: find
    secrets:
      - {name: one, file: one}
      - {name: two, file: tracked}
      - {name: three, file: link}
      - {name: one, env: ONE}
      - {name: two, env: TWO}
      - {name: three, env: THREE}
      - {name: all, env: ALL}
    script: |
      echo "host $(hostname)"
      test "$(cat one)" = "$ONE"
      test "$(cat tracked)" = "$TWO"
      test "$(cat link)" = "$THREE"
      test "$(cat made/by/us/all)" = "$ALL"
      test "$(cat ../beside)" = beside
      echo own > made/by/us/own
      mv one moved
  - name: miss
    secrets: [{name: one, env: ONE}, {name: all, env: ALL}]
    script: |
      for gone in one tracked link; do if test -L $gone || test -e $gone; then exit 2; fi; done
      test "$(cat made/by/us/all)" = "$ALL"
      if cat moved | grep -q .; then exit 3; fi
      if grep -rl "$ONE" ..; then exit 4; fi
artifacts: [{name: all, paths: ['**'], when: always}]
cache: [{name: whole, paths: [.], key: k}]
"#;

struct Scene {
    ground: Ground,
    own: String,
}

impl Scene {
    async fn set(warm: Option<&str>) -> Result<Self> {
        let mut ground = Ground::start(Settings::embedded(Build::Plain)).await?;
        let files = [("beside", "beside"), ("sub/tracked", "the repository's own"), ("outside", "outside")];
        let repository = ground.repository(PROJECT, &files)?;
        // Written through, it would be another file of the repository; in a folder, of the attempt's.
        std::os::unix::fs::symlink("../outside", repository.work.join("sub/link"))?;
        std::os::unix::fs::symlink("../../control", repository.work.join("sub/way"))?;
        repository.commit("Link")?;
        repository.push("main")?;
        ground.add_project(PROJECT, wire::ProjectSettings::default()).await?;
        for name in ["one", "two", "three", "all"] {
            let value = format!("{MARK}-{name}");
            ground.fleet.guard("a secret that is a file", &value);
            let request = wire::SetSecretRequest {
                scope: Some(wire::SecretScope { scope: Some(Scope::Project(PROJECT.to_owned())) }),
                name: name.to_owned(),
                value: value.into_bytes().into(),
                allow_short: false,
            };
            ground.fleet.caller(0)?.secrets().set_secret(request).await?;
        }
        let more: &[&str] = match &warm {
            Some(warm) => &["--runtime", "docker", "--warm", warm],
            None => &["--runtime", "process"],
        };
        ground.add_executor(Newcomer { name: "one", slots: 1, more, ..Newcomer::default() }).await?;
        let own = match warm {
            Some(_) => format!("image: {IMAGE}\npull: never\n"),
            None => "runtime: process\n".to_owned(),
        };
        Ok(Self { ground, own })
    }

    /// Builds to the end, and returns what is said of that and in the log.
    async fn build(&self, definition: &str) -> Result<(RunId, String, String)> {
        let run = self.ground.build(PROJECT, &format!("{}{definition}", self.own)).await?;
        let caller = self.ground.fleet.caller(0)?;
        let ended = told(&caller.outcome(run).await?);
        let log = String::from_utf8_lossy(&caller.log(run, 0).await?).into_owned();
        Ok((run, ended, log))
    }

    /// Fetches what was kept of a run, and returns its files and links, in order.
    async fn kept(&self, run: RunId, into: &str) -> Result<Vec<PathBuf>> {
        let request = wire::ListArtifactsRequest { run: Some(reference(run)), ..Default::default() };
        let listed = self.ground.fleet.caller(0)?.artifacts().list_artifacts(request).await?.into_inner();
        ensure!(listed.artifacts.len() == 1, "{listed:?}");
        let into = self.ground.fleet.path(into);
        let id = ocelot_core::id::RunId::from_bytes(run).to_string();
        let words = ["artifacts", "get", &id, "all", "--into", &into.display().to_string()];
        let output = self.ground.fleet.run("ocelot", &words)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut found = Vec::new();
        walk(&into, &into, &mut found)?;
        found.sort();
        Ok(found)
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == ".git") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            walk(root, &path, found)?;
        } else {
            found.push(path.strip_prefix(root)?.to_owned());
        }
    }
    Ok(())
}

async fn hold(warm: Option<&str>) -> Result<()> {
    let scene = Scene::set(warm).await?;
    let fleet = &scene.ground.fleet;
    let mut used = Vec::new();
    // From the second on the workspace is filled with the cache of the first, too.
    for turn in 0..3 {
        let (run, ended, log) = scene.build(DEFINITION).await?;
        ensure!(ended == "succeeded", "{turn}: {ended}: {log}\n{}", fleet.last_words());
        ensure!(!log.contains(MARK), "{turn}: {log}");
        if let Some(waited) = used.last() {
            let host: &String = waited;
            let host = host.get(..12).context("an id is longer")?;
            ensure!(log.contains(&format!("host {host}")), "{turn}: it was not in {host}: {log}");
        }
        if warm == Some("1") {
            used.push(waits(fleet, "one", &used).await.with_context(|| fleet.last_words())?);
        }
        let kept = scene.kept(run, &format!("kept-{turn}")).await?;
        let kept: Vec<_> = kept.iter().map(|path| path.display().to_string()).collect();
        ensure!(kept == ["beside", "outside", "sub/made/by/us/own"], "{turn}: {kept:?}\n{log}");
    }
    blocked(&scene).await?;
    let search = Search::of(&[("a secret".to_owned(), MARK.to_owned())]);
    // The executor writes nowhere else but to memory, and what it kept is on the controller.
    let (found, looked) = search.of_folder(fleet.folder(), &|_| false)?;
    ensure!(found.is_empty() && looked > 1 << 20, "{found:?} in {looked} bytes");
    Ok(())
}

/// What the repository leads elsewhere is followed nowhere, and the task is told what is in the way. The
/// same of a folder that has the file's name.
async fn blocked(scene: &Scene) -> Result<()> {
    for file in ["way/one", "made"] {
        let definition = format!(
            "directory: sub\nstages:\n  - {{name: make, script: mkdir -p made/by}}\n  \
             - {{name: use, secrets: [{{name: one, file: {file}}}], script: 'true'}}\n"
        );
        let (_, ended, log) = scene.build(&definition).await?;
        let words = format!("is in the way of sub/{file}");
        ensure!(ended.starts_with("failed") && ended.contains(&words), "{file}: {ended}: {log}");
    }
    Ok(())
}
