//! One stage's order to its supervisor, made of the plan: what runs, where, and what it finds in its
//! environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ocelot_core::plan::{Runtime, Stage, TaskPlan, Work};
use ocelot_supervisor::protocol::{Leftovers, Moment, Program, StageOrder};

use super::files::Offered;
use super::secrets::{Place, Secrets};
use crate::runtime::Given;

/// What an image that says nothing looks for programs in.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an order is made of beside the plan.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) offered: &'a Offered,
    pub(super) secrets: &'a Secrets,
    /// Where their files are.
    pub(super) place: &'a Place,
    /// The workspace, as the task sees it.
    pub(super) workspace: &'a Path,
    /// What the environment itself gives.
    pub(super) given: &'a Given,
    /// Of the whole task.
    pub(super) deadline: Moment,
}

/// Returns the order for a stage of the plan; none if there is no such stage.
pub(super) fn order(plan: &TaskPlan, index: u16, ground: &Ground<'_>) -> Option<StageOrder> {
    let command;
    let (stage, program) = match &plan.work {
        Work::Stages { shell, stages } => {
            let stage = stages.get(usize::from(index))?;
            let shell = shell.split_whitespace().map(str::to_owned).collect();
            (stage, Program::Script { shell, script: stage.script.join("\n") })
        }
        Work::Command(argv) => {
            command = command_stage();
            (&command, Program::Command(argv.clone()))
        }
    };
    let environment = &plan.environment;
    let directory = stage.directory.as_ref().unwrap_or(&environment.directory);
    let user = stage.user.as_ref().or(environment.user.as_ref()).or(ground.given.user.as_ref());
    Some(StageOrder {
        stage: index,
        name: stage.name.clone(),
        program,
        directory: ground.workspace.join(directory).to_string_lossy().into_owned(),
        user: user.cloned(),
        env: variables(plan, stage, ground),
        timeout_ms: stage.timeout.map(millis),
        task_deadline: Some(ground.deadline),
        quiet_timeout_ms: plan.limits.quiet_timeout.map(millis),
        grace_ms: millis(plan.limits.grace),
        leftovers: Leftovers::Keep,
    })
}

fn command_stage() -> Stage {
    Stage {
        name: "command".to_owned(),
        script: vec![],
        skip: None,
        always: false,
        allow_failure: ocelot_core::plan::Tolerance::None,
        directory: None,
        user: None,
        timeout: None,
        env: BTreeMap::new(),
        secrets: vec![],
    }
}

/// What is further down counts: nobody but us says which attempt this is.
fn variables(plan: &TaskPlan, stage: &Stage, ground: &Ground<'_>) -> BTreeMap<String, String> {
    let environment = &plan.environment;
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    env.extend(ground.given.env.clone());
    if environment.checkout.is_some() && environment.runtime != Runtime::Process {
        env.extend(trusted_workspace(ground.workspace));
    }
    env.extend(environment.env.clone());
    env.extend(stage.env.clone());
    env.extend(ground.secrets.variables(&environment.secrets, ground.place));
    env.extend(ground.secrets.variables(&stage.secrets, ground.place));
    env.extend(ground.offered.env.clone());
    let workspace = ground.workspace.to_string_lossy();
    let own = [
        ("OCELOT", "true"),
        ("CI", "true"),
        ("OCELOT_STAGE", &stage.name),
        ("OCELOT_WORKSPACE", &workspace),
        ("WORKSPACE", &workspace),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let old = [
        ("GIT_HASH", "OCELOT_COMMIT"),
        ("GIT_HASH_SHORT", "OCELOT_COMMIT_SHORT"),
        ("GIT_BRANCH", "OCELOT_BRANCH"),
        ("BUILD_ID", "OCELOT_RUN_ID"),
        ("GIT_PREVIOUS_SUCCESSFUL_COMMIT", "OCELOT_PREVIOUS_SUCCESSFUL_COMMIT"),
    ];
    for (name, ours) in old {
        if let Some(value) = env.get(ours).cloned() {
            env.insert(name.to_owned(), value);
        }
    }
    env
}

/// Git reads no repository of another user unless it is told to: a stage may have a user of its own, and
/// an executor that is not root gives its files to nobody.
fn trusted_workspace(workspace: &Path) -> [(String, String); 3] {
    let workspace = workspace.to_string_lossy().into_owned();
    [
        ("GIT_CONFIG_COUNT".to_owned(), "1".to_owned()),
        ("GIT_CONFIG_KEY_0".to_owned(), "safe.directory".to_owned()),
        ("GIT_CONFIG_VALUE_0".to_owned(), workspace),
    ]
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
