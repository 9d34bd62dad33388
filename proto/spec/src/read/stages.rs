//! The stages of a task, or its command.

use ocelot_core::plan;

use crate::check::was_meant;
use crate::keys;
use crate::problem::{Findings, Wrong};
use crate::read::{Fields, parts};
use crate::when::When;

/// Reads what the task does; the conditions stand in the order of the stages.
pub(crate) fn work(task: &Fields<'_>, findings: &mut Findings) -> (plan::Work, Vec<When>) {
    exactly_one(task, findings);
    if task.has("command") {
        return (plan::Work::Command(task.texts("command")), Vec::new());
    }
    parts::unique(task, "stages", "stage", findings);
    let shell = task.text("shell").unwrap_or_else(|| "/bin/sh".to_owned());
    let (stages, conditions) = task.maps("stages").map(|fields| stage(&fields, findings)).unzip();
    (plan::Work::Stages { shell, stages }, conditions)
}

fn exactly_one(task: &Fields<'_>, findings: &mut Findings) {
    match (task.has("stages"), task.has("command")) {
        (true, true) => {
            let wrong = Wrong::new("a task has `stages` or `command`, not both");
            findings.add(task.place("command"), wrong.hint("put the command into a stage's `script`"));
        }
        (false, false) if was_meant(task.own, &keys::PIPELINE, &["stages", "command", "tasks"]) => {}
        (false, false) => {
            let wrong = Wrong::new("a task needs `stages` or `command`");
            findings.add(task.at(), wrong.hint("write `stages: [{name: build, script: make}]`"));
        }
        (false, true) if Fields::of(task.own).has("shell") => {
            let wrong = Wrong::new("`shell` runs the scripts of stages, and `command` has none");
            findings.add(task.place("shell"), wrong.hint("remove it"));
        }
        (true, false) | (false, true) => {}
    }
}

/// Refuses `status` in a condition and in all those of its `any`.
fn refuse_status(when: &Fields<'_>, wrong: &Wrong, findings: &mut Findings) {
    if when.has("status") {
        findings.add(when.place("status"), wrong.clone());
    }
    when.maps("any").for_each(|inner| refuse_status(&inner, wrong, findings));
}

/// What the needs' end decides, decides about the task as a whole: it cannot be one of several ways.
pub(crate) fn refuse_status_in_any(when: &Fields<'_>, findings: &mut Findings) {
    let wrong = Wrong::new("`status` does not stand within `any`").hint("put it beside `any`");
    when.maps("any").for_each(|inner| refuse_status(&inner, &wrong, findings));
}

fn stage(fields: &Fields<'_>, findings: &mut Findings) -> (plan::Stage, When) {
    let when = fields.fields("when").map(|when| When::read(&when)).unwrap_or_default();
    if let Some(when) = fields.fields("when") {
        let wrong = Wrong::new("`status` is about a task's needs and not known in a stage");
        refuse_status(&when, &wrong.hint("`always: true` lets a stage run after a failure"), findings);
    }
    let stage = plan::Stage {
        name: fields.text("name").unwrap_or_default(),
        script: fields.texts("script"),
        skip: None,
        always: fields.flag("always", false),
        allow_failure: parts::tolerance(fields),
        directory: fields.text("directory"),
        user: fields.text("user"),
        timeout: fields.duration("timeout"),
        env: fields.env(),
        secrets: parts::secrets(fields, findings),
    };
    (stage, when)
}
