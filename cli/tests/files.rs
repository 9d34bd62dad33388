//! What a person sees: whole transcripts of the command.

use std::path::Path;
use std::process::Command;

/// Runs the command in the repository's top folder with nothing of the caller's environment.
fn ocelot(arguments: &[&str]) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ended = Command::new(env!("CARGO_BIN_EXE_ocelot"))
        .args(arguments)
        .current_dir(top)
        .env_clear()
        .output()
        .expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    let code = ended.status.code().expect("no signal ends it");
    format!("{}{}exit {code}", text(ended.stdout), text(ended.stderr))
}

#[test]
fn good_files_are_named_with_what_they_are() {
    insta::assert_snapshot!(
        ocelot(&["validate", "docs/examples/rust-library.yml", "docs/examples/restore-check.job.yml"]),
        @"
    docs/examples/rust-library.yml: pipeline of 1 task, good
    docs/examples/restore-check.job.yml: job restore-check, good
    exit 0
    "
    );
}

#[test]
fn a_missing_file_says_what_to_type() {
    insta::assert_snapshot!(ocelot(&["validate", "nowhere.yml"]), @"
    error: cannot read nowhere.yml: No such file or directory (os error 2)
    hint: there is no nowhere.yml in this folder; name the file as the last argument
    exit 2
    ");
}

#[test]
fn the_other_files_are_checked_although_one_is_missing() {
    insta::assert_snapshot!(ocelot(&["validate", "nowhere.yml", "docs/examples/signed-app.yml"]), @"
    cannot read nowhere.yml: No such file or directory (os error 2)
    docs/examples/signed-app.yml: pipeline of 1 task, good
    error: one file is not good
    exit 2
    ");
}

#[test]
fn a_tag_and_a_pull_request_are_known_by_what_is_given() {
    let file = "docs/examples/rust-library.yml";
    insta::assert_snapshot!(ocelot(&["explain", file, "--tag=v1"]), @"
    tag of v1
    no run: tags start no runs here: there is no `tags`
    exit 0
    ");
    let pull_request = ["explain", file, "--source=topic", "--branch=main", "--message=release: 1"];
    insta::assert_snapshot!(ocelot(&pull_request), @r#"
    pull_request from topic into main

      main  runs
        + lint
        + test
        - publish
            yes: branch main matches main
            no:  the event is pull_request, not push
            yes: the message contains "release:"
    exit 0
    "#);
}

#[test]
fn explain_tells_each_task_with_its_reason() {
    let file = "docs/examples/node-monorepo.yml";
    let changed = "--changed=packages/web/index.js";
    insta::assert_snapshot!(ocelot(&["explain", file, "--branch=topic", "--message=m", changed]), @"
    push on topic

      web  runs
        yes: packages/web/index.js changed and matches packages/web/**, packages/shared/** or package-lock.json
        + build

      api[node=18,db=15] and 5 more variants  is skipped: packages/web/index.js changed and does not match packages/api/**, packages/shared/** or package-lock.json

      browser  runs once web has succeeded
        + e2e
    exit 0
    ");
}

#[test]
fn explain_tells_why_there_is_no_run() {
    let file = "docs/examples/image-and-deploy.yml";
    insta::assert_snapshot!(ocelot(&["explain", file, "--branch=topic"]), @"
    push on topic
    no run: branch topic does not match main
    exit 0
    ");
}

#[test]
fn explain_knows_a_job_file() {
    insta::assert_snapshot!(ocelot(&["explain", "docs/examples/restore-check.job.yml"]), @"
    error: docs/examples/restore-check.job.yml is a job file, and nothing but a person or a schedule starts it
    hint: check it: ocelot validate docs/examples/restore-check.job.yml
    exit 2
    ");
}

#[test]
fn mistakes_are_one_json_document_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ocelot.yml");
    std::fs::write(&file, "image: a\nstage: []\n").unwrap();
    let transcript = ocelot(&["validate", "--output=json", file.to_str().unwrap()]);
    insta::assert_snapshot!(transcript.replace(folder.path().to_str().unwrap(), "FOLDER"), @r#"
    {
      "files": [
        {
          "file": "FOLDER/ocelot.yml",
          "kind": "pipeline",
          "valid": false,
          "problems": [
            {
              "message": "the top level has no key `stage`",
              "hint": "did you mean `stages`?",
              "line": 2,
              "column": 1,
              "excerpt": "stage: []",
              "caret": 0,
              "length": 5
            }
          ]
        }
      ]
    }
    error: one file is not good
    exit 2
    "#);
}

#[test]
fn help_fits_one_screen() {
    insta::assert_snapshot!(ocelot(&["--help"]), @"
    Run builds and operational jobs on machines that nobody can open a port to

    Usage: ocelot [OPTIONS] <COMMAND>

    Commands:
      up          Run everything on this machine: a controller, its store and one executor
      demo        See all of it once: start, create a job, run it, follow its log
      create      Create jobs from files [alias: add]
      update      Change jobs that exist
      delete      Delete a job; its runs and their logs stay
      list        List jobs [alias: ls]
      describe    Show a job: its arguments, how to execute it, its history
      execute     Execute a job [alias: exec]
      build       Build a commit of a project on the fleet
      local       Run ocelot.yml here and now, on the files as they lie in this folder
      init        Look at this repository and write an ocelot.yml to begin with
      getlogs     Show the log of a run [alias: logs]
      status      Show where a run is, and when it came to each phase
      runs        List runs, newest first
      cancel      End a run [alias: kill]
      retry       Run the same again, as a new run
      why         Tell why a run is where it is, executor by executor
      artifacts   List and fetch what a run kept
      project     Look after the repositories that pushes are built of
      schedule    See what executes jobs by the clock, pause it, run it now
      executor    Look after the machines that run jobs
      token       Look after the tokens that people and scripts call with
      secret      Keep the values that tasks are given by name
      config      Say which controllers this command talks to
      validate    Check ocelot.yml or job files, and show every mistake with what would be right
      explain     Tell which tasks and stages of an ocelot.yml an event would run, and why
      doctor      Check what this command needs, and say what mends each finding
      completion  Print the completions of a shell, as in `source <(ocelot completion bash)`
      version     Show the versions of this command and of the controllers

    Options:
      -o, --output <OUTPUT>  How results are written; json is a contract for scripts [env: OCELOT_OUTPUT=] [default: text] [possible values: text, json]
          --color <COLOR>    When to use colours; auto: on a terminal, unless NO_COLOR is set [env: OCELOT_COLOR=] [default: auto] [possible values: auto, always, never]
          --server <URL>     The controller to talk to; several addresses of one fleet with commas [env: OCELOT_SERVER=]
          --context <NAME>   The context of the configuration to use; `up` is the one that runs here [env: OCELOT_CONTEXT=]
      -h, --help             Print help
      -V, --version          Print version
    exit 0
    ");
}

#[test]
fn bash_completes_what_is_begun() {
    let script = "source <(\"$0\" completion bash); COMP_WORDS=(ocelot execut); COMP_CWORD=1
        _ocelot ocelot execut ocelot; echo \"${COMPREPLY[@]}\"";
    let asked = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_ocelot")]).output();
    let asked = asked.expect("there is a bash");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "execute executor\n", "{asked:?}");
}
