//! What holds for every file and every event.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::collections::{BTreeMap, HashSet};

use ocelot_core::plan::{Gate, Plan, Work};
use ocelot_spec::{Context, Event, Explanation, Job, Pipeline, Resolution, Verdict};
use proptest::prelude::*;

/// Fragments that meet every part of the reader more often than letters alone would.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "image: ", "stages:", "tasks:", "needs: ", "matrix: ", "env: ", "when: ", "{", "}", "[", "]", ", ", ": ", "\n",
            "\n  ", "\n    - ", "- ", "name: a", "script: b", "&a ", "*a", "<<: ", "${matrix.a}", "${", "$${", "!x ", "? ",
            "| \n", "> ", "\"", "'", "# ", "---\n", "...\n", "\t", "\r\n", "3.10", "true", "~", "x-a: ", "a: ", "args: ",
            "schedule: ", "cron: ", "\u{feff}", "\u{0}", "\u{85}", "%YAML 1.2\n", "**", "!", "é", "🦀",
        ]).prop_map(str::to_owned),
        1 => ".{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(fragments in prop::collection::vec(fragment(), 0..40)) {
        let text = fragments.concat();
        if let Err(problems) = Pipeline::parse("ocelot.yml", text.as_bytes()) {
            prop_assert!(!problems.problems.is_empty());
            let shown = problems.to_string();
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        }
        if let Err(problems) = Job::parse("job.yml", text.as_bytes()) {
            prop_assert!(!problems.problems.is_empty());
        }
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Pipeline::parse("ocelot.yml", &bytes));
        drop(Job::parse("job.yml", &bytes));
    }

    #[test]
    fn a_right_file_keeps_its_promises(pipeline in pipeline(), context in context()) {
        let parsed = Pipeline::parse("ocelot.yml", pipeline.as_bytes());
        let parsed = parsed.map_err(|problems| TestCaseError::fail(format!("{pipeline}\n{problems}")))?;
        let resolution = parsed.resolve(&context).unwrap();
        prop_assert_eq!(&resolution, &parsed.resolve(&context).unwrap());
        let explanation = parsed.explain(&context).unwrap();
        match resolution {
            Resolution::NoRun { why } => prop_assert_eq!(explanation, Explanation::NoRun { why }),
            Resolution::Run(plan) => {
                check_names_and_needs(&plan)?;
                check_explanation(&plan, explanation)?;
            }
        }
    }
}

fn check_names_and_needs(plan: &Plan) -> Result<(), TestCaseError> {
    let names: HashSet<&str> = plan.tasks.iter().map(|task| task.name.as_str()).collect();
    prop_assert_eq!(names.len(), plan.tasks.len());
    let mut done = HashSet::new();
    for _ in 0..plan.tasks.len() {
        for (index, task) in (0_u32..).zip(&plan.tasks) {
            prop_assert!(task.needs.iter().all(|need| (need.task as usize) < plan.tasks.len()));
            if task.needs.iter().all(|need| done.contains(&need.task)) {
                done.insert(index);
            }
        }
    }
    prop_assert_eq!(done.len(), plan.tasks.len(), "a cycle of needs");
    let json = serde_json::to_string(plan).unwrap();
    prop_assert_eq!(plan, &serde_json::from_str::<Plan>(&json).unwrap());
    Ok(())
}

fn check_explanation(plan: &Plan, explanation: Explanation) -> Result<(), TestCaseError> {
    let Explanation::Run { tasks, .. } = explanation else {
        return Err(TestCaseError::fail("explain says there is no run"));
    };
    prop_assert_eq!(tasks.len(), plan.tasks.len());
    for (task, explained) in plan.tasks.iter().zip(tasks) {
        prop_assert_eq!(&task.name, &explained.name);
        let skipped_here = matches!(task.gate, Gate::Skip { .. });
        prop_assert_eq!(skipped_here, explained.facts.iter().any(|fact| !fact.holds));
        if skipped_here {
            prop_assert!(matches!(explained.verdict, Verdict::Skipped { .. }), "{:?}", explained.verdict);
        }
        let Work::Stages { stages, .. } = &task.work else { continue };
        for (stage, explained) in stages.iter().zip(explained.stages) {
            prop_assert_eq!(stage.skip.is_none(), explained.runs);
            prop_assert_eq!(explained.runs, explained.facts.iter().all(|fact| fact.holds));
        }
    }
    Ok(())
}

fn when() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("branch: main".to_owned()),
        Just("branch: ['**', '!main']".to_owned()),
        Just("event: [push, schedule]".to_owned()),
        Just("paths: ['src/**', '!src/x']".to_owned()),
        Just("source: 'fix-*'".to_owned()),
        Just("tag: 'v*', message: 'release:'".to_owned()),
        Just("any: [{tag: '**'}, {branch: dev, event: manual}, {paths: '**'}]".to_owned()),
    ]
}

fn task(index: usize) -> impl Strategy<Value = String> {
    let needs = prop::collection::vec((0..index.max(1), any::<bool>(), any::<bool>()), 0..3);
    let status = prop::sample::select(vec!["", "status: always", "status: success"]);
    let matrix = prop::sample::select(vec![
        "",
        "matrix: {a: [1, 2], b: [x, y], exclude: [{a: 1, b: y}]}, ",
        "matrix: {include: [{a: 1}, {a: 2, c: 3}]}, ",
    ]);
    (needs, when(), status, matrix, when()).prop_map(move |(needs, when, status, matrix, stage_when)| {
        let unique: BTreeMap<usize, (bool, bool)> =
            needs.into_iter().map(|(to, optional, artifacts)| (to, (optional, artifacts))).collect();
        let needs: Vec<String> = unique
            .into_iter()
            .filter(|(to, _)| *to < index)
            .map(|(to, (optional, artifacts))| format!("{{task: t{to}, optional: {optional}, artifacts: {artifacts}}}"))
            .collect();
        let conditions: Vec<&str> = [when.as_str(), status].into_iter().filter(|part| !part.is_empty()).collect();
        format!(
            "  t{index}: {{image: 'a:1', {matrix}needs: [{}], when: {{{}}}, env: {{B: '${{branch}}'}}, stages: [{{name: s, script: x, when: {{{stage_when}}}}}]}}\n",
            needs.join(", "),
            conditions.join(", "),
        )
    })
}

fn pipeline() -> impl Strategy<Value = String> {
    let filters =
        prop::sample::select(vec!["", "branches: [main, dev]\n", "tags: 'v*'\n", "pull_requests: false\n"]);
    (1_usize..6)
        .prop_flat_map(|count| (0..count).map(task).collect::<Vec<_>>())
        .prop_flat_map(move |tasks| (Just(tasks), filters.clone()))
        .prop_map(|(tasks, filters)| format!("{filters}tasks:\n{}", tasks.concat()))
}

fn context() -> impl Strategy<Value = Context> {
    let branch = || prop::sample::select(vec!["main", "dev", "fix-1", "release/1"]).prop_map(str::to_owned);
    let event = prop_oneof![
        branch().prop_map(|branch| Event::Push { branch }),
        Just(Event::Tag { tag: "v1".into() }),
        (branch(), branch()).prop_map(|(source, target)| Event::PullRequest { number: 7, source, target }),
        branch().prop_map(|branch| Event::Schedule { branch }),
        (prop::option::of(branch()), prop::option::of(Just("v1".to_owned())))
            .prop_map(|(branch, tag)| Event::Manual { branch, tag }),
        branch().prop_map(|branch| Event::Upstream { branch }),
    ];
    let message = prop::sample::select(vec!["", "release: 1", "fix [skip ci]"]);
    let changed =
        prop::option::of(prop::collection::vec(prop::sample::select(vec!["src/a", "src/x", "README"]), 0..3));
    (event, message, changed).prop_map(|(event, message, changed)| Context {
        event,
        commit: "c0ffee".into(),
        message: message.into(),
        changed: changed.map(|paths| paths.into_iter().map(str::to_owned).collect()),
        project: "acme/shop".into(),
        run_number: 1,
        env: BTreeMap::from([("B".to_owned(), "given".to_owned())]),
    })
}
