//! Every kind of mistake with the message it gets: read the snapshot as its author would.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::collections::BTreeMap;
use std::fmt::Write;

use ocelot_spec::{Context, Event, Execution, Job, JobEvent, Pipeline, Problems};

struct Mistake<'t> {
    title: &'t str,
    is_job: bool,
    file: &'t str,
}

fn mistakes() -> Vec<Mistake<'static>> {
    let sections = include_str!("mistakes.txt").split("### ").skip(1);
    let mistakes = sections.map(|section| {
        let (title, file) = section.split_once('\n').unwrap();
        Mistake { title, is_job: title.ends_with("[job]"), file }
    });
    mistakes.collect()
}

fn parse(mistake: &Mistake<'_>) -> Result<(), Problems> {
    match mistake.is_job {
        true => Job::parse("job.yml", mistake.file.as_bytes()).map(|_| ()),
        false => Pipeline::parse("ocelot.yml", mistake.file.as_bytes()).map(|_| ()),
    }
}

#[test]
fn every_mistake_is_named_shown_and_answered() {
    let mut catalogue = String::new();
    for mistake in mistakes() {
        let problems = parse(&mistake).expect_err(mistake.title);
        write!(catalogue, "### {}\n{problems}\n", mistake.title).unwrap();
    }
    insta::assert_snapshot!(catalogue);
}

#[test]
fn the_catalogue_has_each_kind_of_mistake_once() {
    let mut titles: Vec<&str> = mistakes().iter().map(|mistake| mistake.title).collect();
    assert!(titles.len() >= 70, "{}", titles.len());
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), mistakes().len());
}

#[test]
fn machines_get_the_same_problems() {
    let problems =
        Pipeline::parse("ocelot.yml", b"image: rust:1.95\nstges: []\nstages: [{name: a, script: b}]\n");
    insta::assert_json_snapshot!(problems.unwrap_err(), @r#"
    {
      "file": "ocelot.yml",
      "problems": [
        {
          "message": "the top level has no key `stges`",
          "hint": "did you mean `stages`?",
          "line": 2,
          "column": 1,
          "excerpt": "stges: []",
          "caret": 0,
          "length": 5
        }
      ],
      "more": 0
    }
    "#);
}

#[test]
fn arguments_are_judged_all_at_once_and_secrets_are_not_repeated() {
    let file = b"name: check
image: alpine:3
args:
  - {name: DB, required: true, description: the database}
  - {name: MODE, choices: [fast, full]}
  - {name: HOST, pattern: '*.example.com'}
  - {name: KEY, secret: true, pattern: 'k-*'}
command: [./check]
";
    let job = Job::parse("check.yml", file).unwrap();
    let given = [("MOD", "fast"), ("MODE", "slow"), ("HOST", "example.org"), ("KEY", "hunter2")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let run = Execution {
        event: JobEvent::Manual,
        run_number: 1,
        env: BTreeMap::from([("DB".into(), "x".into())]),
    };
    insta::assert_snapshot!(job.resolve(&given.into(), &run).unwrap_err());
}

#[test]
fn what_only_the_event_shows_is_refused_when_it_is_known() {
    let file = b"image: rust:1.95
labels: ['pool=${branch}']
directory: '${branch}'
concurrency: {group: '${branch}'}
artifacts: [{name: 'a-${branch}', paths: [x]}]
stages: [{name: test, script: cargo test}]
secrets: [TOKEN]
";
    let pipeline = Pipeline::parse("ocelot.yml", file).unwrap();
    let context = Context {
        event: Event::Manual { branch: Some("/etc/../x y".into()), tag: None },
        commit: "c0ffee".into(),
        message: String::new(),
        changed: None,
        project: "acme/shop".into(),
        run_number: 1,
        env: BTreeMap::from([("OCELOT_X".into(), "1".into()), ("TOKEN".into(), "1".into())]),
    };
    insta::assert_snapshot!(pipeline.resolve(&context).unwrap_err());
}
