//! Key names of the predecessors and of other systems, each with what to write here.

/// Names that the predecessors and other systems use, wherever they stand.
pub(super) const OLD_ANYWHERE: &[(&str, &str)] = &[
    ("image_name", "`image: NAME`"),
    ("env_vars", "`env: {NAME: value}`; arguments of a job are `args`, secrets are `secrets`"),
    ("environment", "`env: {NAME: value}`"),
    ("variables", "`env: {NAME: value}`"),
    ("author", "`authors: [NAME]`, a list, in a job file"),
    ("buildTool", "`image:` with the tool in it, such as `image: maven:3-eclipse-temurin-21`"),
    ("machineTag", "`labels: [NAME]`"),
    ("tags_required", "`labels: [NAME]`"),
    ("runs-on", "`labels: [os=linux]`"),
    ("packages", "an `image:` that holds them, or a stage that installs them"),
    ("trigger", "`branches:` at the top level, or `when: {branch: NAME}` in a task or a stage"),
    ("jobs", "`tasks:`"),
    ("steps", "`stages: [{name: NAME, script: COMMAND}]`"),
    ("depends_on", "`needs: [TASK]`"),
    ("timeout_minutes", "`timeout: 15m`"),
];
pub(super) const OLD_TASK: &[(&str, &str)] = &[
    ("script", "`stages: [{name: build, script: COMMAND}]`: a script stands in a stage"),
    ("name", "the task's name as the key above it, in `tasks`"),
    ("if", "`when:`"),
    ("only", "`when: {branch: NAME}`"),
];
pub(super) const OLD_STAGE: &[(&str, &str)] = &[
    ("command", "`script: COMMAND`; a list of arguments without a shell is the task's `command`"),
    ("commands", "`script: COMMAND`"),
    ("run", "`script: COMMAND`"),
    ("image", "`image:` of the task: its stages share one container; another image is another task"),
];
