//! Which tasks of a plan run here, and what of them cannot be asked of one machine.
//!
//! Pure. What is left out, or done otherwise than the file says, is told.

use std::collections::BTreeSet;

use ocelot_core::plan::{Gate, Keep, Need, Plan, Runtime, TaskPlan};

use crate::error::{Error, Result};
use crate::show::plain;

/// What a person asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// A task, or one variant of it; none: all of them.
    pub(super) task: Option<String>,
    /// With the tasks that it needs.
    pub(super) needs: bool,
    /// Without containers.
    pub(super) process: bool,
}

/// Takes what is wished for out of a plan; returns it with what a person is told.
pub(super) fn select(plan: Plan, wish: &Wish) -> Result<(Plan, Vec<String>)> {
    let mut notes = Vec::new();
    let mut plan = match &wish.task {
        None => plan,
        Some(task) => only(plan, task, wish.needs, &mut notes)?,
    };
    let mut labels = BTreeSet::new();
    for task in plan.tasks.iter_mut().filter(|task| runs(task)) {
        check(task)?;
        labels.extend(std::mem::take(&mut task.labels).into_iter().map(|label| match label.value {
            Some(value) => format!("{}={value}", label.key),
            None => label.key,
        }));
        if wish.process {
            without_container(task)?;
        }
    }
    if !labels.is_empty() {
        let labels: Vec<String> = labels.into_iter().collect();
        notes.push(format!("note: this machine is not asked for the labels {}", labels.join(", ")));
    }
    // There is nobody to tell who does not see it.
    plan.notify.clear();
    Ok((plan, notes))
}

fn runs(task: &TaskPlan) -> bool {
    !matches!(task.gate, Gate::Skip { .. })
}

/// Keeps one task with all its variants, or one variant, and what they need.
fn only(plan: Plan, name: &str, needs: bool, notes: &mut Vec<String>) -> Result<Plan> {
    let Plan { mut tasks, concurrency, notify, group } = plan;
    let is_named = |task: &TaskPlan| task.name == name || task.base == name;
    let mut open: Vec<usize> = (0..tasks.len()).filter(|place| is_named(&tasks[*place])).collect();
    if open.is_empty() {
        let mut names: Vec<&str> = tasks.iter().map(|task| task.base.as_str()).collect();
        names.dedup();
        return Err(Error::usage(
            format!("there is no task {}", plain(name)),
            format!("its tasks: {}", names.join(", ")),
        ));
    }
    for place in &open {
        let task = &mut tasks[*place];
        if let Gate::Skip { why } = &task.gate {
            notes.push(format!("note: {} was asked for, and runs although {why}", task.name));
            task.gate = Gate::OnSuccess;
        }
        if !needs {
            task.needs.clear();
            task.gate = Gate::OnSuccess;
        }
    }
    let mut kept = BTreeSet::new();
    while let Some(place) = open.pop() {
        if kept.insert(place) {
            open.extend(tasks[place].needs.iter().map(|need| need.task as usize));
        }
    }
    let places: Vec<usize> = kept.into_iter().collect();
    let moved = |need: Need| {
        let place = places.binary_search(&(need.task as usize)).ok()?;
        Some(Need { task: u32::try_from(place).ok()?, ..need })
    };
    let mut kept: Vec<TaskPlan> = Vec::with_capacity(places.len());
    for (place, mut task) in tasks.into_iter().enumerate() {
        if places.binary_search(&place).is_ok() {
            task.needs = std::mem::take(&mut task.needs).into_iter().filter_map(moved).collect();
            kept.push(task);
        }
    }
    Ok(Plan { tasks: kept, concurrency, notify, group })
}

/// Refuses what nothing carries out yet.
fn check(task: &TaskPlan) -> Result<()> {
    let engine = matches!(task.environment.runtime, Runtime::Container { engine: true, .. });
    let key = if engine {
        "engine"
    } else if task.approval.is_some() {
        "approval"
    } else if task.keep != Keep::Never {
        "keep"
    } else {
        return Ok(());
    };
    Err(Error::usage(
        format!("the task {} says `{key}`, which is not yet here", task.name),
        "run others: ocelot local TASK",
    ))
}

fn without_container(task: &mut TaskPlan) -> Result<()> {
    if !task.environment.services.is_empty() {
        return Err(Error::usage(
            format!("the task {} has services beside it, and they run in containers only", task.name),
            "leave --runtime out, or run others: ocelot local TASK",
        ));
    }
    task.environment.runtime = Runtime::Process;
    task.environment.user = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ocelot_spec::{Context, Event, Pipeline, Resolution};

    use super::*;

    const FILE: &str = "
defaults: {image: busybox}
tasks:
  lint: {stages: [{name: a, script: ls}]}
  test:
    matrix: {node: [18, 20]}
    needs: [lint]
    stages: [{name: a, script: ls}]
  site: {stages: [{name: a, script: ls}], labels: [gpu, os=linux]}
  deploy:
    needs: [test, site]
    when: {branch: main}
    stages: [{name: a, script: ls}]
  tell:
    needs: [deploy]
    when: {status: failure}
    stages: [{name: a, script: ls}]
";

    fn plan(file: &str) -> Plan {
        let context = Context {
            event: Event::Push { branch: "topic".into() },
            commit: "a".repeat(40),
            message: String::new(),
            changed: None,
            project: "acme/shop".into(),
            run_number: 1,
            env: BTreeMap::new(),
        };
        match Pipeline::parse("ocelot.yml", file.as_bytes()).unwrap().resolve(&context).unwrap() {
            Resolution::Run(plan) => plan,
            Resolution::NoRun { why } => panic!("{why}"),
        }
    }

    fn selected(task: Option<&str>, needs: bool) -> String {
        let wish = Wish { task: task.map(str::to_owned), needs, process: false };
        let (plan, notes) = match select(plan(FILE), &wish) {
            Ok(selected) => selected,
            Err(error) => return format!("{error}; {}", error.hint().unwrap_or_default()),
        };
        let lines = plan.tasks.iter().map(|task| {
            let needs: Vec<&str> =
                task.needs.iter().map(|need| plan.tasks[need.task as usize].name.as_str()).collect();
            format!("{} {:?} after [{}]", task.name, task.gate, needs.join(" "))
        });
        lines.chain(notes).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_named_task_comes_with_what_it_needs_or_alone() {
        let asked =
            [(None, true), (Some("test"), true), (Some("test[node=20]"), true), (Some("deploy"), true)];
        let mut all: Vec<String> = asked.iter().map(|(task, needs)| selected(*task, *needs)).collect();
        all.push(selected(Some("deploy"), false));
        all.push(selected(Some("tell"), false));
        all.push(selected(Some("tst"), true));
        insta::assert_snapshot!(all.join("\n\n"), @r#"
        lint OnSuccess after []
        test[node=18] OnSuccess after [lint]
        test[node=20] OnSuccess after [lint]
        site OnSuccess after []
        deploy Skip { why: "branch topic does not match main" } after [test[node=18] test[node=20] site]
        tell OnFailure after [deploy]
        note: this machine is not asked for the labels gpu, os=linux

        lint OnSuccess after []
        test[node=18] OnSuccess after [lint]
        test[node=20] OnSuccess after [lint]

        lint OnSuccess after []
        test[node=20] OnSuccess after [lint]

        lint OnSuccess after []
        test[node=18] OnSuccess after [lint]
        test[node=20] OnSuccess after [lint]
        site OnSuccess after []
        deploy OnSuccess after [test[node=18] test[node=20] site]
        note: deploy was asked for, and runs although branch topic does not match main
        note: this machine is not asked for the labels gpu, os=linux

        deploy OnSuccess after []
        note: deploy was asked for, and runs although branch topic does not match main

        tell OnSuccess after []

        there is no task tst; its tasks: lint, test, site, deploy, tell
        "#);
    }

    #[test]
    fn without_containers_all_is_on_this_machine_but_services_are_not() {
        let wish = Wish { process: true, needs: true, task: None };
        let (plan_here, _) = select(plan(FILE), &wish).unwrap();
        assert!(
            plan_here
                .tasks
                .iter()
                .filter(|task| runs(task))
                .all(|task| task.environment.runtime == Runtime::Process)
        );
        let file = "image: a\nservices: {db: {image: b}}\nstages: [{name: a, script: ls}]\n";
        assert!(select(plan(file), &wish).is_err());
        let file = "image: a\nengine: true\nstages: [{name: a, script: ls}]\n";
        let error = select(plan(file), &Wish::default()).unwrap_err();
        assert_eq!(error.to_string(), "the task main says `engine`, which is not yet here");
    }
}
