//! The variables that only the controller knows, and that every stage of a task finds.

use std::collections::BTreeMap;

use ocelot_core::plan::TaskPlan;
use ocelot_domain::task::Task;

use super::AttemptRef;
use crate::records::{RunRecord, SourceRecord, Subject};

/// Characters of a short commit id.
const SHORT: usize = 7;

/// Returns the variables of one attempt.
pub(super) fn of(
    run: &RunRecord,
    task: &Task,
    planned: &TaskPlan,
    attempt: AttemptRef,
    base: Option<&str>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("OCELOT_RUN_ID", run.id.to_string());
    set("OCELOT_RUN_NUMBER", run.number.to_string());
    set("OCELOT_TASK", task.id.to_string());
    set("OCELOT_TASK_NAME", planned.name.clone());
    set("OCELOT_ATTEMPT", attempt.attempt.to_string());
    set("OCELOT_TRIGGER", run.trigger.kind.name().to_owned());
    set("OCELOT_TRIGGERED_BY", run.trigger.by.0.clone());
    match &run.subject {
        Subject::Job { name, version } => {
            set("OCELOT_JOB", name.clone());
            set("OCELOT_JOB_VERSION", version.to_string());
        }
        Subject::Project { name } => {
            set("OCELOT_PROJECT", name.clone());
        }
    }
    if let Some(base) = base {
        set("OCELOT_RUN_URL", format!("{base}/runs/{}", run.id));
    }
    if let Some(source) = &run.source {
        env.extend(of_commit(source));
    }
    env
}

fn of_commit(source: &SourceRecord) -> impl Iterator<Item = (String, String)> {
    let event = &source.event;
    let short: String = source.commit.chars().take(SHORT).collect();
    let known = [
        ("OCELOT_COMMIT", Some(source.commit.clone())),
        ("OCELOT_COMMIT_SHORT", Some(short)),
        ("OCELOT_COMMIT_MESSAGE", Some(source.message.clone())),
        ("OCELOT_EVENT", Some(event.word().to_owned())),
        ("OCELOT_BRANCH", event.built_branch().map(str::to_owned)),
        ("OCELOT_TAG", event.tag().map(str::to_owned)),
        ("OCELOT_PR_NUMBER", event.pull_request().map(|number| number.to_string())),
        // Empty rather than absent, so that a script under `set -u` can ask.
        ("OCELOT_PREVIOUS_SUCCESSFUL_COMMIT", Some(source.previous_success.clone().unwrap_or_default())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
}
