//! `ocelot local` as a person types it: a real fleet, in the command's own process, on this machine.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

struct Repository {
    top: TempDir,
}

struct Seen {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Repository {
    /// A repository with this definition, all of it committed.
    fn new(definition: &str) -> Self {
        let repository = Self { top: tempfile::tempdir().unwrap() };
        std::fs::create_dir(repository.folder()).unwrap();
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.write("ocelot.yml", definition);
        repository.git(&["add", "."]);
        repository.git(&["commit", "--quiet", "-m", "Mend the cart"]);
        repository
    }

    fn folder(&self) -> PathBuf {
        self.top.path().join("shop")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder().join(name), text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let who = ["-c", "user.name=Ada", "-c", "user.email=ada@acme.example"];
        let output =
            Command::new("git").current_dir(self.folder()).args(who).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelot"));
        command.args(arguments).current_dir(self.folder()).env_clear();
        command.env("HOME", self.top.path().join("home")).env("PATH", env!("PATH")).env("TZ", "UTC");
        command.stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Seen {
        seen(self.command(arguments).output().unwrap())
    }

    /// All that is left below the folder in which fleets of this command keep their things.
    fn trees(&self) -> Vec<PathBuf> {
        let kept = self.top.path().join("home/.local/share/ocelot/local");
        let own: Vec<_> = std::fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path()).collect();
        own.iter().map(|own| own.join("tree.git")).filter(|tree| tree.exists()).collect()
    }
}

fn seen(output: Output) -> Seen {
    Seen {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// Without a checkout, so that nothing but the fleet itself is asked of it.
const THREE: &str = "
defaults: {runtime: process, checkout: false}
tasks:
  one: {stages: [{name: say, script: ['echo one on $OCELOT_BRANCH for $OCELOT_EVENT with $WITH']}]}
  two: {needs: [one], stages: [{name: fail, script: exit 7}]}
  three: {needs: [one], when: {branch: release}, stages: [{name: say, script: echo three}]}
  four: {needs: [two], stages: [{name: say, script: echo four}]}
";

#[test]
fn a_graph_runs_here_and_its_fate_is_the_exit_code() {
    let repository = Repository::new(THREE);
    let before = repository.git(&["status", "--porcelain"]);
    let ended = repository.run(&["local", "--env", "WITH=love", "--runtime", "process"]);
    // How long a stage took is another each time.
    let lines = ended.stdout.lines().map(|line| line.split(" after ").next().unwrap());
    let mut lines: Vec<&str> = lines.collect();
    // Each log comes in its own order, and beside the others.
    lines.sort_by_key(|line| line.split(" | ").next());
    insta::assert_snapshot!(lines.join("\n"), @r"
    one   | ▸ say
    one   | one on main for push with love
    two   | ▸ fail
    two   | ▸ fail exited with 7
    ");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for told in [
        "running local/shop as a push of main: ",
        "- three skipped: branch main does not match release",
        "✗ two failed: stage fail exited with 7",
        "- four skipped: ",
        "local/shop#1 failed: stage fail exited with 7",
        "the same again: ocelot local",
    ] {
        assert!(ended.stderr.contains(told), "{told:?} is not in\n{}", ended.stderr);
    }
    assert_eq!(repository.git(&["status", "--porcelain"]), before);
    assert!(repository.trees().is_empty(), "what was not committed is not kept");
}

#[test]
fn one_task_runs_as_on_another_branch_and_its_number_counts_up() {
    let repository = Repository::new(THREE);
    let on_release = ["local", "three", "--branch", "release", "--runtime", "process"];
    for number in [1, 2] {
        let ended = repository.run(&on_release);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("one on release for push") && ended.stdout.contains("three"));
        assert!(ended.stderr.contains(&format!("local/shop#{number} succeeded")), "{}", ended.stderr);
    }
    let alone = repository.run(&["local", "three", "--no-needs", "--output", "json", "--runtime", "process"]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let last: serde_json::Value = serde_json::from_str(alone.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["run"]["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(last["run"]["commit"]["subject"], "Mend the cart");
}

#[test]
fn a_hook_of_git_can_run_it_before_a_commit_and_nothing_of_the_repository_is_harmed() {
    let repository = Repository::new(THREE);
    let hook = repository.folder().join(".git/hooks/pre-commit");
    let program = env!("CARGO_BIN_EXE_ocelot");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\nexec {program} local one --runtime process\n")).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    repository.write("new", "new\n");
    repository.git(&["add", "new"]);
    let mut commit = Command::new("git");
    commit.current_dir(repository.folder()).env("HOME", repository.top.path().join("home"));
    commit.args(["-c", "user.name=Ada", "-c", "user.email=ada@acme.example", "commit", "-m", "two"]);
    let ended = seen(commit.output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("local/shop#1 succeeded"), "{}", ended.stderr);
    assert_eq!(repository.git(&["show", "--format=%s", "--name-only"]).trim(), "two\n\nnew");
    assert_eq!(repository.git(&["for-each-ref", "--format=%(refname)"]).trim(), "refs/heads/main");
    assert_eq!(repository.git(&["config", "--get", "core.bare"]).trim(), "false");
}

#[test]
fn what_cannot_run_is_said_before_anything_starts() {
    let definition = "runtime: process\nbranches: [release]\nsecrets: [{name: nexus, env: NEXUS}, other]\n\
                      stages: [{name: a, script: ls}]\n";
    let repository = Repository::new(definition);
    let mut all = String::new();
    let mut told = |arguments: &[&str]| {
        let ended = repository.run(arguments);
        assert_eq!((ended.stdout.as_str(), ended.code), ("", Some(2)), "{}", ended.stderr);
        all += &format!("$ ocelot {}\n{}", arguments.join(" "), ended.stderr);
    };
    told(&["local"]);
    told(&["local", "--branch", "release"]);
    told(&["local", "--branch", "release", "--secret", "nexus=typed"]);
    told(&["local", "--branch", "release", "--secret", "none=@/dev/null"]);
    told(&["local", "--branch", "release", "test"]);
    told(&["local", "--event", "tag"]);
    repository.write("ocelot.yml", "runtim: process\n");
    told(&["local"]);
    std::fs::remove_file(repository.folder().join("ocelot.yml")).unwrap();
    told(&["local"]);
    std::fs::remove_dir_all(repository.folder().join(".git")).unwrap();
    told(&["local"]);
    let top = repository.top.path().canonicalize().unwrap();
    insta::assert_snapshot!(all.replace(top.to_str().unwrap(), "TOP"), @"
    $ ocelot local
    error: nothing would run: branch main does not match release
    hint: as on another branch: --branch NAME; as a pull request: --event pull-request; why: ocelot explain
    $ ocelot local --branch release
    error: secrets are missing: nexus (for main); other (for main)
    hint: give each from a file: --secret NAME=@FILE; or run tasks that need none: ocelot local TASK
    $ ocelot local --branch release --secret nexus=typed
    error: --secret is NAME=@FILE
    hint: what is typed here others can see: put the value into a file, or @- for standard input
    $ ocelot local --branch release --secret none=@/dev/null
    error: no task that runs names the secret none
    hint: named are: nexus, other
    $ ocelot local --branch release test
    error: there is no task test
    hint: its tasks: main
    $ ocelot local --event tag
    error: the commit has no tag
    hint: say which: --event tag --tag NAME
    $ ocelot local
    error: ocelot.yml:1:1: a task needs `stages` or `command`
    1 | runtim: process
      | ^
    hint: write `stages: [{name: build, script: make}]`

    ocelot.yml:1:1: a task in a container needs `image`
    1 | runtim: process
      | ^
    hint: write `image: alpine:3.22`, or `runtime: process` to run without a container

    ocelot.yml:1:1: the top level has no key `runtim`
    1 | runtim: process
      | ^^^^^^
    hint: did you mean `runtime`?
    $ ocelot local
    error: there is no TOP/shop/ocelot.yml
    hint: write one to begin with: ocelot init
    $ ocelot local
    error: this is no git repository
    hint: make it one: git init; what git ignores stays out of the run
    ");
}

#[test]
fn ctrl_c_cancels_the_run_and_leaves_no_process() {
    let repository = Repository::new(
        "runtime: process\ncheckout: false\ngrace: 1s\nstages: [{name: wait, script: ['echo shell $$', 'sleep 1000']}]\n",
    );
    let mut command = repository.command(&["local", "--runtime", "process"]);
    let piped = std::process::Stdio::piped;
    let mut child = command.stdout(piped()).stderr(piped()).spawn().unwrap();
    // It stays open: who writes to nobody ends early.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut words = lines.by_ref().map(Result::unwrap);
    let shell = words.find_map(|line| line.strip_prefix("shell ").map(str::to_owned));
    if shell.is_some() {
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    }
    let ended = seen(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("cancelling") && ended.stderr.contains("cancelled by"), "{}", ended.stderr);
    assert!(!Path::new(&format!("/proc/{}", shell.unwrap())).exists());
    assert!(repository.trees().is_empty());
}
