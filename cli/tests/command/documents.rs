//! `docs/reference/cli-json.md` shows each shape as the command writes it.
//!
//! After a change write it anew with `OCELOT_BLESS=1 cargo test -p ocelot`.

use std::fmt::Write;

use crate::verbs::fleet;

const HEAD: &str = "# What `--output json` gives

Made by a test that runs the command; not written by hand. The shapes are a contract: fields are only added,
and a script must not mind one that it does not know. Moments are RFC 3339 in UTC to the microsecond, ids are
text, what is not there is null. Errors are told on standard error, and by the exit code: see
[cli.md](cli.md).

`getlogs` and `execute --follow` write one document on each line: the frames of the log in the order in which
they were written, and after `execute --follow` or `retry --follow` a last one, `{\"run\": ...}`. Bytes that are
no text in UTF-8 are replaced there; `getlogs --raw` gives them as they are.
";

#[test]
fn the_page_of_shapes_is_what_the_command_writes() {
    let fleet = fleet();
    fleet.script().logs.insert((0, 1), crate::fleet::log(&[ocelot_core::frame::Body::Stdout(b"one\n")]));
    fleet.script().artifacts = crate::artifacts::listed();
    let mut made = HEAD.to_owned();
    let jobs = [
        "list",
        "describe paint",
        "execute hello",
        "runs -n 1",
        "status hello#3",
        "getlogs hello#3",
        "artifacts list hello#3",
        "why hello#4",
        "cancel hello#4",
        "delete hello",
        "executor list",
        "executor token",
        "executor remove box-1",
        "token create ci",
        "token list",
        "token revoke ci",
        "secret list --all",
        "secret rm token --job deploy",
        "version",
    ];
    let of_projects = [
        "project list",
        "project describe acme/shop",
        "project events acme/shop -n 3",
        "project hook test acme/shop",
        "project hook rotate acme/shop",
        "project remove acme/shop",
        "build --project acme/shop",
    ];
    let of_schedules = [
        "schedule list sweep",
        "schedule describe restore-check/1",
        "schedule pause restore-check/1",
        "schedule resume restore-check/1",
        "schedule run restore-check/1",
    ];
    let (projects, schedules) = (crate::projects::fleet(), crate::schedules::fleet());
    let all = jobs.iter().map(|typed| (&fleet, typed));
    let all = all.chain(of_projects.iter().map(|typed| (&projects, typed)));
    for (fleet, typed) in all.chain(of_schedules.iter().map(|typed| (&schedules, typed))) {
        let mut arguments: Vec<&str> = typed.split(' ').collect();
        arguments.extend(["--output", "json"]);
        let seen = fleet.run(&arguments);
        assert_eq!((seen.code, seen.stderr.as_str()), (Some(0), ""), "{typed}");
        let json = crate::fleet::scrubbed(&seen.stdout);
        writeln!(made, "\n## `ocelot {typed}`\n\n```json\n{}\n```", json.trim_end()).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli-json.md");
    if std::env::vars().any(|(name, _)| name == "OCELOT_BLESS") {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/reference/cli-json.md is not what the command writes: run with OCELOT_BLESS=1"
    );
}
