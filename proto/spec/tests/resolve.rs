//! What an event makes of a file, rule by rule.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::collections::BTreeMap;

use ocelot_core::plan::{Class, Gate, Label, Plan, Pull, Runtime, SecretDelivery, Stage, TaskPlan, Work};
use ocelot_spec::{Context, Event, Execution, Job, JobEvent, Pipeline, Resolution};

fn on(event: Event) -> Context {
    Context {
        event,
        commit: "c0ffee".into(),
        message: "change".into(),
        changed: None,
        project: "acme/shop".into(),
        run_number: 42,
        env: BTreeMap::new(),
    }
}

fn push(branch: &str) -> Context {
    on(Event::Push { branch: branch.into() })
}

fn pull_request(source: &str, target: &str) -> Context {
    on(Event::PullRequest { number: 7, source: source.into(), target: target.into() })
}

fn tag(tag: &str) -> Context {
    on(Event::Tag { tag: tag.into() })
}

fn parse(file: &str) -> Pipeline {
    Pipeline::parse("ocelot.yml", file.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn plan(file: &str, context: &Context) -> Plan {
    match parse(file).resolve(context).unwrap_or_else(|problems| panic!("{problems}")) {
        Resolution::Run(plan) => plan,
        Resolution::NoRun { why } => panic!("no run: {why}"),
    }
}

fn no_run(file: &str, context: &Context) -> String {
    match parse(file).resolve(context).unwrap() {
        Resolution::Run(_) => panic!("a run"),
        Resolution::NoRun { why } => why,
    }
}

fn stages(task: &TaskPlan) -> &[Stage] {
    match &task.work {
        Work::Stages { stages, .. } => stages,
        Work::Command(_) => &[],
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const ONE: &str = "image: a:1\nstages: [{name: s, script: x}]\n";

#[test]
fn the_nearest_variable_wins() {
    let file = "
env: {A: top, B: top, C: top, D: top, E: top, F: top}
defaults: {image: 'a:1', env: {B: defaults, C: defaults, D: defaults, E: defaults, F: defaults}}
tasks:
  t:
    env: {C: task, D: task, E: task, F: task, MATRIX_NODE: task}
    matrix: {node: [20]}
    stages: [{name: s, script: x, env: {E: stage, F: stage}}]
";
    let mut context = push("main");
    context.env = map(&[("F", "run")]);
    let plan = plan(file, &context);
    let task = &plan.tasks[0];
    let expected = [
        ("A", "top"),
        ("B", "defaults"),
        ("C", "task"),
        ("D", "task"),
        ("E", "task"),
        ("F", "run"),
        ("MATRIX_NODE", "20"),
    ];
    assert_eq!(task.environment.env, map(&expected));
    assert_eq!(stages(task)[0].env, map(&[("E", "stage")]), "what is given with the run beats the stage");
}

#[test]
fn defaults_are_replaced_whole_but_env_and_labels_are_merged() {
    let file = "
defaults: {image: 'a:1', labels: [gpu, os=linux], timeout: 5m, cache: [{name: c, paths: p}], stages: [{name: s, script: x}]}
tasks:
  own: {labels: [os=linux, big], cache: []}
  command: {command: [run]}
  process: {runtime: process}
";
    let plan = plan(file, &push("main"));
    let label = |key: &str, value: Option<&str>| Label { key: key.into(), value: value.map(str::to_owned) };
    let [own, command, process] = plan.tasks.as_slice() else { panic!("three tasks") };
    assert_eq!(own.labels, [label("gpu", None), label("os", Some("linux")), label("big", None)]);
    assert!(own.environment.caches.is_empty());
    assert_eq!(own.limits.timeout.as_secs(), 300);
    assert_eq!(command.work, Work::Command(vec!["run".into()]));
    assert_eq!(process.environment.runtime, Runtime::Process);
}

#[test]
fn an_event_that_no_filter_takes_starts_no_run_and_says_why() {
    let filtered = format!("branches: [main, 'release/**', '!release/old/**']\n{ONE}");
    let mut skipped = push("main");
    skipped.message = "docs [Skip CI]".into();
    let tags = format!("tags: ['v*', '!v0*']\n{ONE}");
    let reasons = [
        no_run(&filtered, &push("dev")),
        no_run(&filtered, &push("release/old/1")),
        no_run(&filtered, &pull_request("main", "dev")),
        no_run(&filtered, &skipped),
        no_run(&format!("pull_requests: false\n{ONE}"), &pull_request("dev", "main")),
        no_run(&format!("branches: []\n{ONE}"), &push("main")),
        no_run(ONE, &tag("v1")),
        no_run(&tags, &tag("v0.1")),
    ];
    insta::assert_snapshot!(reasons.join("\n"), @r"
    branch dev does not match main or release/** (except release/old/**)
    branch release/old/1 does not match main or release/** (except release/old/**)
    target branch dev does not match main or release/** (except release/old/**)
    the message contains [skip ci]
    pull requests start no runs here: `pull_requests` is false
    no branch starts a run: `branches` is empty
    tags start no runs here: there is no `tags`
    tag v0.1 does not match v* (except v0*)
    ");
    plan(&tags, &tag("v1"));
    plan(&filtered, &push("release/1/2"));
    plan(&filtered, &on(Event::Schedule { branch: "dev".into() }));
    skipped.event = Event::Manual { branch: Some("dev".into()), tag: None };
    plan(&filtered, &skipped);
}

#[test]
fn a_pull_request_never_shares_a_group_with_a_branch_of_the_project() {
    let file = "
concurrency: {group: '${branch}', cancel: running}
image: 'app:${branch}-${pr}'
command: [echo, '${event}', '${project}', '${run.number}', '${commit}', '$${branch}', '$HOME']
";
    let plan = plan(file, &pull_request("main", "main"));
    assert_eq!(plan.concurrency.unwrap().group, "pull_request:7");
    let Runtime::Container { image, .. } = &plan.tasks[0].environment.runtime else { panic!("a container") };
    assert_eq!(image, "app:main-7");
    let command =
        ["echo", "pull_request", "acme/shop", "42", "c0ffee", "${branch}", "$HOME"].map(String::from);
    assert_eq!(plan.tasks[0].work, Work::Command(command.to_vec()));
}

#[test]
fn a_group_of_the_branch_has_a_name_for_an_event_without_one() {
    let file = format!("tags: '**'\nconcurrency: {{group: '${{branch}}'}}\n{ONE}");
    let group = |context: &Context| plan(&file, context).concurrency.map(|concurrency| concurrency.group);
    assert_eq!(group(&push("main")).as_deref(), Some("main"));
    assert_eq!(group(&tag("v1")).as_deref(), Some("tag:v1"));
    assert_eq!(group(&on(Event::Manual { branch: None, tag: None })).as_deref(), Some("commit:c0ffee"));
}

#[test]
fn a_script_is_never_replaced() {
    let script = "echo ${branch} ${BRANCH:-x} $${branch} ${commit}";
    let plan = plan(&format!("image: a:1\nstages: [{{name: s, script: '{script}'}}]\n"), &push("$(reboot)"));
    assert_eq!(stages(&plan.tasks[0])[0].script, [script]);
}

#[test]
fn what_is_not_said_has_the_default_that_fits() {
    let file = "
defaults: {stages: [{name: s, script: x}]}
tasks:
  latest: {image: 'registry.example.com:5000/a'}
  tagged: {image: 'a:1'}
  digest: {image: 'a@sha256:00'}
  variant: {matrix: {image: ['a:1', 'b:latest']}, image: '${matrix.image}'}
  asked: {image: a, pull: missing, approval: {by: [ops]}}
  normal: {image: 'a:1', approval: {by: [ops]}, class: normal}
";
    let plan = plan(file, &push("main"));
    let pulls: Vec<Pull> = plan
        .tasks
        .iter()
        .filter_map(|task| match &task.environment.runtime {
            Runtime::Container { pull, .. } => Some(*pull),
            Runtime::Process => None,
        })
        .collect();
    assert_eq!(
        pulls,
        [
            Pull::Always,
            Pull::Missing,
            Pull::Missing,
            Pull::Missing,
            Pull::Always,
            Pull::Missing,
            Pull::Missing
        ]
    );
    let class = |name: &str| plan.tasks.iter().find(|task| task.name == name).map(|task| task.class);
    assert_eq!(class("latest"), Some(Class::Normal));
    assert_eq!(class("asked"), Some(Class::Exclusive), "an approval makes it so");
    assert_eq!(class("normal"), Some(Class::Normal));
}

#[test]
fn the_status_stays_as_a_gate_when_the_event_meets_the_rest() {
    let file = "
defaults: {image: 'a:1', stages: [{name: s, script: x}]}
tasks:
  build: {}
  tell: {needs: [build], when: {status: failure, branch: main}}
  clean: {needs: [build], when: {status: always}}
";
    let gates =
        |context: &Context| plan(file, context).tasks.into_iter().map(|task| task.gate).collect::<Vec<_>>();
    assert_eq!(gates(&push("main")), [Gate::OnSuccess, Gate::OnFailure, Gate::Always]);
    let skip = Gate::Skip { why: "branch dev does not match main".into() };
    assert_eq!(gates(&push("dev")), [Gate::OnSuccess, skip, Gate::Always]);
}

#[test]
fn notifications_are_kept_for_their_branches_only() {
    let file = format!("notify: [{{to: all}}, {{to: release, branch: main, on: always}}]\n{ONE}");
    let told = |context: &Context| plan(&file, context).notify.into_iter().map(|n| n.to).collect::<Vec<_>>();
    assert_eq!(told(&push("main")), ["all", "release"]);
    assert_eq!(told(&push("dev")), ["all"]);
}

#[test]
fn anchors_and_merges_work_and_the_own_key_wins() {
    let file = "
x-base: &base {image: 'a:1', timeout: 5m, stages: [{name: s, script: x}]}
x-more: &more {timeout: 6m, grace: 1s}
tasks:
  t: {<<: [*more, *base], grace: 2s}
";
    let task = plan(file, &push("main")).tasks.remove(0);
    assert_eq!((task.limits.timeout.as_secs(), task.limits.grace.as_secs()), (360, 2));
}

#[test]
fn a_secret_argument_is_delivered_beside_the_plan() {
    let file = "name: j\nimage: a:1\nargs: [{name: KEY, secret: true}, {name: N, default: 5}, {name: EMPTY}]\ncommand: [x, '${args.N}']\n";
    let job = Job::parse("j.yml", file.as_bytes()).unwrap();
    let run = Execution { event: JobEvent::Manual, run_number: 1, env: map(&[("EXTRA", "e")]) };
    let resolution = job.resolve(&map(&[("KEY", "hunter2")]), &run).unwrap();
    assert!(!format!("{resolution:?}").contains("hunter2"));
    assert!(!serde_json::to_string(&resolution.plan).unwrap().contains("hunter2"));
    assert_eq!(resolution.secret_args, map(&[("KEY", "hunter2")]));
    let task = &resolution.plan.tasks[0];
    assert_eq!(task.environment.env, map(&[("EMPTY", ""), ("EXTRA", "e"), ("N", "5")]));
    assert_eq!(task.environment.secrets[0].delivery, SecretDelivery::Argument("KEY".into()));
    assert_eq!(task.work, Work::Command(vec!["x".into(), "5".into()]));
}

#[test]
fn explain_says_for_each_task_and_stage_what_decides() {
    let file = "
defaults: {image: 'a:1', stages: [{name: s, script: x}]}
tasks:
  web: {when: {paths: 'web/**', branch: main}}
  api: {when: {paths: 'api/**'}, stages: [{name: deploy, script: x, when: {event: [tag, manual]}}]}
  e2e: {needs: [web, {task: api, optional: true}]}
  page: {needs: [web], when: {status: failure, any: [{branch: dev}, {message: chan}]}}
";
    let mut context = push("main");
    context.changed = Some(vec!["web/a.js".into(), "README".into()]);
    insta::assert_json_snapshot!(parse(file).explain(&context).unwrap());
}

#[test]
fn json_and_carriage_returns_read_as_yaml_does() {
    let json = "{\n\t\"image\": \"a:1\",\n\t\"stages\": [{\"name\": \"s\", \"script\": \"x\\ny\"}]\n}\n";
    let script = |file: &str| stages(&plan(file, &push("main")).tasks[0])[0].script.clone();
    assert_eq!(script(json), ["x\ny"]);
    assert_eq!(
        script("image: a:1\r\nstages:\r\n  - name: s\r\n    script: |\r\n      x\r\n      y\r\n"),
        ["x\ny\n"]
    );
}

#[test]
fn what_is_parsed_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<(Pipeline, Job, Resolution, ocelot_spec::Problems)>();
}

#[test]
fn every_key_of_a_pipeline_reaches_the_plan() {
    let mut context = push("main");
    context.message = "go".into();
    context.changed = Some(vec!["src/a".into()]);
    insta::assert_json_snapshot!(plan(include_str!("every-key.yml"), &context));
}

#[test]
fn every_key_of_a_job_file_is_read() {
    let job = Job::parse("j.yml", include_str!("every-key.job.yml").as_bytes()).unwrap();
    let run = Execution { event: JobEvent::Schedule, run_number: 1, env: BTreeMap::new() };
    let plan = job.resolve(&job.schedules[0].args, &run).unwrap().plan;
    insta::assert_debug_snapshot!((
        &job.name,
        &job.description,
        &job.organization,
        &job.authors,
        &job.contributors,
        &job.authorized_groups,
        &job.args,
        &job.schedules,
        plan
    ));
}

#[test]
fn a_group_that_comes_out_empty_is_the_commits_own() {
    let file = "image: a\ncommand: [b]\nconcurrency: {group: \"${pr}\", cancel: running}\n";
    let group = |context| plan(file, &context).concurrency.unwrap().group;
    assert_eq!(group(pull_request("topic", "main")), "7");
    assert_eq!(group(push("main")), "commit:c0ffee");
}

#[test]
fn more_changed_files_than_can_be_compared_match_every_path() {
    let globs: Vec<String> = (0..2_000).map(|number| format!("{number}{}", "*a".repeat(100))).collect();
    let file = format!("image: a\nwhen: {{paths: {globs:?}}}\ncommand: [b]\n");
    let changed =
        |count: usize| Some((0..count).map(|number| format!("x{number}{}", "a".repeat(100))).collect());
    assert!(matches!(
        plan(&file, &Context { changed: changed(1), ..push("main") }).tasks[0].gate,
        Gate::Skip { .. }
    ));
    assert_eq!(
        plan(&file, &Context { changed: changed(100_000), ..push("main") }).tasks[0].gate,
        Gate::OnSuccess
    );
}

#[test]
fn needs_between_large_matrices_count_towards_the_plans_size() {
    let values: Vec<usize> = (0..250).collect();
    let task = |name: &str, needs: &str| {
        format!("  {name}: {{image: a, command: [b], matrix: {{n: {values:?}}}, needs: [{needs}]}}\n")
    };
    let tasks = [task("a", ""), task("b", "a"), task("c", "a, b"), task("d", "a, b, c")].concat();
    let problems = Pipeline::parse("ocelot.yml", format!("tasks:\n{tasks}").as_bytes()).unwrap_err();
    assert!(problems.to_string().contains("come to more than 16 MiB"), "{problems}");
}
