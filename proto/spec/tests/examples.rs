//! The examples that users are shown, each resolved to the plan they would get.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::collections::BTreeMap;

use ocelot_spec::{Context, Event, Execution, Job, JobEvent, Pipeline, Resolution};

fn example(file: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../docs/examples/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn context(event: Event, message: &str, changed: &[&str]) -> Context {
    Context {
        event,
        commit: "4f9d2c81a6b35e07c1d2e3f4a5b6c7d8e9f00112".into(),
        message: message.into(),
        changed: Some(changed.iter().map(|path| (*path).to_owned()).collect()),
        project: "acme/shop".into(),
        run_number: 42,
        env: BTreeMap::new(),
    }
}

fn push(branch: &str) -> Event {
    Event::Push { branch: branch.into() }
}

fn plan_of(file: &str, context: &Context) -> ocelot_core::plan::Plan {
    let pipeline = Pipeline::parse(file, &example(file)).unwrap_or_else(|problems| panic!("{problems}"));
    match pipeline.resolve(context).unwrap_or_else(|problems| panic!("{problems}")) {
        Resolution::Run(plan) => plan,
        Resolution::NoRun { why } => panic!("no run: {why}"),
    }
}

#[test]
fn the_rust_library_publishes_from_main_only() {
    let plan = plan_of("rust-library.yml", &context(push("main"), "release: 1.2", &["src/lib.rs"]));
    insta::assert_json_snapshot!(plan);
    let plan = plan_of("rust-library.yml", &context(push("release/1"), "fix", &["src/lib.rs"]));
    let ocelot_core::plan::Work::Stages { stages, .. } = &plan.tasks[0].work else {
        panic!("stages expected")
    };
    insta::assert_snapshot!(
        stages[2].skip.as_deref().unwrap(),
        @r#"branch release/1 does not match main; the message does not contain "release:""#
    );
}

#[test]
fn the_monorepo_builds_each_package_only_when_it_changed() {
    let event = Event::PullRequest { number: 7, source: "main".into(), target: "main".into() };
    let plan = plan_of("node-monorepo.yml", &context(event, "api", &["packages/api/x.js"]));
    insta::assert_json_snapshot!(plan);
}

#[test]
fn java_gets_its_credentials_and_notifies_about_main() {
    insta::assert_json_snapshot!(plan_of("java-credentials.yml", &context(push("main"), "x", &[])));
}

#[test]
fn the_app_is_signed_without_a_container() {
    insta::assert_json_snapshot!(plan_of("signed-app.yml", &context(push("main"), "x", &[])));
}

#[test]
fn the_deployment_waits_for_a_person() {
    insta::assert_json_snapshot!(plan_of("image-and-deploy.yml", &context(push("main"), "x", &[])));
}

#[test]
fn the_job_gets_its_arguments() {
    let job = Job::parse("restore-check.job.yml", &example("restore-check.job.yml")).unwrap();
    let given = BTreeMap::from([("DB".to_owned(), "orders".to_owned())]);
    let run = Execution { event: JobEvent::Manual, run_number: 3, env: BTreeMap::new() };
    insta::assert_json_snapshot!(job.resolve(&given, &run).unwrap().plan);
    insta::assert_debug_snapshot!(job.schedules);
}
