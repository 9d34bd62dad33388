//! What a doctor says, and the names that a shell completes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::fleet::{Fleet, Script, job, ocelot, project, run, seen, succeeded};

/// Takes out what is another on each machine: its git and its engine, and how wide the checks are.
fn of_the_fleet(text: &str) -> String {
    let mut ours = true;
    let lines = text.lines().filter(|line| {
        if !line.starts_with(' ') {
            ours = !["git ", "engine "]
                .iter()
                .any(|check| line.get(6..).is_some_and(|at| at.starts_with(check)));
        }
        ours
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn on_a_sick_machine_each_finding_says_what_mends_it() {
    let home = tempfile::tempdir().unwrap();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let url = format!("http://{gone}");
    ocelot(home.path(), &["config", "add", "here", &url, "--token", "secret"]).output().unwrap();
    let file = home.path().join(".config/ocelot/config.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = seen(ocelot(home.path(), &["doctor"]).output().unwrap());
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""));
    let text = said.stdout.replace(&gone, "ADDRESS").replace(home.path().to_str().unwrap(), "HOME");
    // The last line counts the machine's own findings, too.
    let text = of_the_fleet(&text).lines().take(6).map(|line| format!("{line}\n")).collect::<String>();
    insta::assert_snapshot!(text, @"
    fail  configuration  HOME/.config/ocelot/config.yaml can be used by others: its mode is 644
                         $ chmod 600 HOME/.config/ocelot/config.yaml
    ok    fleet          http://ADDRESS, says the context here
    fail  controller     http://ADDRESS: connection refused
                         $ curl -kv http://ADDRESS/readyz
                         $ ocelot config show
    ");

    let json = seen(ocelot(home.path(), &["doctor", "--output", "json"]).output().unwrap());
    assert_eq!(json.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let controller =
        json["findings"].as_array().unwrap().iter().find(|one| one["check"] == "controller").unwrap();
    assert_eq!(controller["verdict"], "fail");
    assert_eq!(controller["mend"][0], format!("curl -kv {url}/readyz"));
}

#[test]
fn without_any_fleet_it_says_how_to_have_one() {
    let home = tempfile::tempdir().unwrap();
    let said = seen(ocelot(home.path(), &["doctor"]).output().unwrap());
    assert_eq!(said.code, Some(1));
    let text = of_the_fleet(&said.stdout.replace(home.path().to_str().unwrap(), "HOME"));
    let text = text.lines().take(3).map(|line| format!("{line}\n")).collect::<String>();
    insta::assert_snapshot!(text, @"
    ok    configuration  no contexts are kept in HOME/.config/ocelot/config.yaml
    fail  fleet          no `ocelot up` runs here, and HOME/.config/ocelot/config.yaml chooses none
                         $ start one here: ocelot up; or name one: ocelot config add NAME URL
    ");
}

fn fleet() -> Fleet {
    Fleet::start(Script {
        jobs: vec![job("hello"), job("help"), job("other")],
        projects: vec![project("acme/shop")],
        runs: vec![run(41, Some(succeeded())), run(42, None)],
        ..Script::default()
    })
}

#[test]
fn names_that_live_on_the_fleet_are_completed() {
    let fleet = fleet();
    // How soon is the shell's matter, and not this test's.
    let names =
        |words: &[&str]| fleet.run(&[&["__complete", "--within", "60000", "--"], words].concat()).stdout;
    assert_eq!(names(&["execute", "hel"]), "hello\nhelp\n");
    assert_eq!(names(&["logs", "hello#"]), "hello#41\nhello#42\n");
    assert_eq!(names(&["project", "describe", ""]), "acme/shop\n");
    assert_eq!(names(&["runs", ""]), "hello\nhelp\nother\nacme/shop\n");
    assert_eq!(names(&["version", ""]), "");
}

#[test]
fn where_nobody_answers_nothing_is_said() {
    let home = tempfile::tempdir().unwrap();
    for server in ["http://127.0.0.1:1", "nonsense://"] {
        let mut command = ocelot(home.path(), &["--server", server, "__complete", "--", "execute", ""]);
        let said = seen(command.output().unwrap());
        assert_eq!((said.stdout.as_str(), said.stderr.as_str(), said.code), ("", "", Some(0)), "{server}");
    }
}

#[test]
fn bash_shows_names_where_there_are_some_and_verbs_elsewhere() {
    let fleet = fleet();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ocelot"));
    let script = r#"
        # How soon is not this test's matter.
        ocelot() {
            local verb=$1; shift
            [ "$verb" != __complete ] || set -- --within 60000 "$@"
            command ocelot "$verb" "$@"
        }
        source <(ocelot completion bash)
        complete_line() { COMP_WORDS=(ocelot "$@"); COMP_CWORD=$#; COMPREPLY=()
            _ocelot_names ocelot "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo "${COMPREPLY[@]}"; }
        complete_line execute hel
        complete_line exec
        complete_line --col
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script]).env_clear().env("HOME", fleet.home.path());
    bash.env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display()));
    bash.env("OCELOT_SERVER", format!("http://{}", fleet.address)).env("OCELOT_TOKEN", "the-token");
    let said = seen(bash.output().unwrap());
    insta::assert_snapshot!(format!("{}{}", said.stdout, said.stderr), @"
    hello help
    execute exec executor
    --color
    ");
}
