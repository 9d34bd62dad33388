//! The top level of `ocelot.yml`, a task, a stage.

use crate::keys::kinds::{
    ARGUMENTS, BOOLEAN, DURATION, DURATION_OR_ZERO, ENV, LINE, NAME, SECRETS, TOLERANCE, key, required,
};
use crate::keys::old::{OLD_ANYWHERE, OLD_STAGE, OLD_TASK};
use crate::keys::{
    APPROVAL, ARTIFACT, CACHE, CHECKOUT, CONCURRENCY, NEED, NOTIFY, RESOURCES, RETRY, SERVICE, WHEN,
};
use crate::table::{Form, Kind, Least, Object};

pub(crate) static PIPELINE: Object = Object {
    what: "the top level",
    about: "Either the keys of one task, which is then called `main`, or `tasks`. Keys that begin with `x-` are \
            ignored: a place for anchors.",
    keys: &[
        key("version", Kind::One(Form::Choice(&["1"])), "`1`", "The version of this schema."),
        key(
            "branches",
            Kind::OneOrList(Form::RefGlob, Least::None),
            "`[\"**\"]`",
            "Branches whose pushes start a run. For a pull request its target branch counts. An empty list: none.",
        ),
        key(
            "tags",
            Kind::OneOrList(Form::RefGlob, Least::None),
            "`[]`",
            "Tags whose pushes start a run. An empty list: none.",
        ),
        key(
            "pull_requests",
            BOOLEAN,
            "`true`",
            "Whether pull requests start runs. Those from forks follow the project's fork policy as well.",
        ),
        key("env", ENV, "`{}`", "Variables of every task. The nearest place wins, see *Which value wins*."),
        key(
            "defaults",
            Kind::Object(&TASK),
            "`{}`",
            "Keys that each of `tasks` gets unless it has them itself. A task's own key replaces the whole value; \
             only `env` and `labels` are merged.",
        ),
        key(
            "tasks",
            Kind::Map(Form::Name, &Kind::Object(&TASK)),
            "-",
            "The tasks by name: at most 200, and 1000 once matrices are expanded.",
        ),
        key(
            "concurrency",
            Kind::Object(&CONCURRENCY),
            "none",
            "How many runs may go on at a time. In a file of one task this, too, is about the run.",
        ),
        key(
            "notify",
            Kind::List(&Kind::Object(&NOTIFY), Least::None),
            "none",
            "Whom to tell about a run's end.",
        ),
        key("group", NAME, "the project's", "A word that lists and pages are filtered by."),
    ],
    also: &[&TASK],
    old: &[OLD_ANYWHERE, OLD_TASK],
};

pub(crate) static TASK: Object = Object {
    what: "a task",
    about: "One container, one workspace, one executor.",
    keys: &[
        key(
            "needs",
            Kind::List(&Kind::Either(&LINE, &Kind::Object(&NEED)), Least::None),
            "`[]`",
            "Tasks that must end first. The name of a task with a matrix means all its variants.",
        ),
        key("when", Kind::Object(&WHEN), "always", "Else the task is skipped, and the reason is kept."),
        key(
            "matrix",
            Kind::Matrix,
            "none",
            "Axes with their values, and `include` and `exclude`: one variant for each combination, at most 256, called \
             `test[node=20,os=linux]`. Variants have a variable for each axis: `MATRIX_NODE`.",
        ),
        key("fail_fast", BOOLEAN, "`false`", "Whether the first variant that fails cancels the others."),
    ],
    also: &[&WORK],
    old: &[OLD_ANYWHERE, OLD_TASK],
};

/// What a job file shares with a task.
pub(crate) static WORK: Object = Object {
    what: "a task",
    about: "",
    keys: &[
        key(
            "image",
            Kind::One(Form::Image),
            "required with `container`",
            "Tag or digest of the container's image. It is looked up once for a run.",
        ),
        key(
            "runtime",
            Kind::One(Form::Choice(&["container", "process"])),
            "`container`",
            "`process` runs on the machine itself, on executors that permit it.",
        ),
        key(
            "stages",
            Kind::List(&Kind::Object(&STAGE), Least::One),
            "exactly one of both",
            "Run in order in one workspace; the first failure ends the task.",
        ),
        key(
            "command",
            ARGUMENTS,
            "exactly one of both",
            "Arguments of a program, run without a shell: for images that have none.",
        ),
        key(
            "labels",
            Kind::List(&Kind::One(Form::Label), Least::None),
            "`[]`",
            "`word` or `key=value`: an executor must have all of them. Each has `os=`, `arch=`, `runtime=` and `name=`.",
        ),
        key(
            "services",
            Kind::Map(Form::Name, &Kind::Object(&SERVICE)),
            "`{}`",
            "Containers beside the task, reached under their names. Not with `process`.",
        ),
        key("env", ENV, "`{}`", "Variables of all its stages."),
        key(
            "secrets",
            SECRETS,
            "`[]`",
            "Secrets for all its stages; a stage's own reach less far and are better.",
        ),
        key(
            "cache",
            Kind::List(&Kind::Object(&CACHE), Least::None),
            "`[]`",
            "Folders restored before the task and saved after its success.",
        ),
        key(
            "artifacts",
            Kind::List(&Kind::Object(&ARTIFACT), Least::None),
            "`[]`",
            "Files kept with the run and handed to tasks that need this one.",
        ),
        key(
            "checkout",
            Kind::Either(&Kind::One(Form::False), &Kind::Object(&CHECKOUT)),
            "full history",
            "How the repository is put into the workspace; `false`: not at all. A job has no repository.",
        ),
        key("directory", Kind::One(Form::Directory), "`.`", "Where stages start, in the workspace."),
        key("shell", LINE, "`/bin/sh`", "What runs the scripts."),
        key("user", LINE, "the image's", "Who runs the scripts."),
        key(
            "pull",
            Kind::One(Form::Choice(&["missing", "always", "never"])),
            "`missing`",
            "When the image is fetched; `always` is the default for `:latest` and for an image without a tag.",
        ),
        key(
            "pull_secret",
            Kind::One(Form::SecretName),
            "none",
            "The secret with the login of the image's registry.",
        ),
        key(
            "engine",
            BOOLEAN,
            "`false`",
            "A private engine for building images, at `DOCKER_HOST`; on executors that permit it.",
        ),
        key(
            "resources",
            Kind::Object(&RESOURCES),
            "the executor's",
            "What the task needs and may not exceed.",
        ),
        key("timeout", DURATION, "`1h`", "How long one attempt may run."),
        key("queue_timeout", DURATION, "`24h`", "How long it may wait for an executor."),
        key("quiet_timeout", DURATION, "none", "How long it may be without output."),
        key("grace", DURATION_OR_ZERO, "`10s`", "The time between SIGTERM and SIGKILL."),
        key(
            "retry",
            Kind::Object(&RETRY),
            "`{limit: 2, on: [lost, image, disk]}`",
            "When it is tried again by itself.",
        ),
        key("allow_failure", TOLERANCE, "`false`", "Whether it may fail without failing the run."),
        key(
            "class",
            Kind::One(Form::Choice(&["normal", "exclusive", "once"])),
            "`normal`; with `approval`: `exclusive`",
            "`normal` may overlap with an attempt whose executor was lost, `exclusive` never runs twice at once, \
             `once` is never started again without a person.",
        ),
        key(
            "priority",
            Kind::One(Form::Integer(-100, 100)),
            "`0`",
            "Higher goes first; above 0 needs permission.",
        ),
        key("concurrency", Kind::Object(&CONCURRENCY), "none", "How many of a group may run at a time."),
        key("approval", Kind::Object(&APPROVAL), "none", "A person's consent that it waits for."),
        key(
            "keep",
            Kind::One(Form::Choice(&["never", "on-failure"])),
            "`never`",
            "`on-failure` leaves the container for one hour, for `ocelot shell`.",
        ),
    ],
    also: &[],
    old: &[],
};

pub(crate) static STAGE: Object = Object {
    what: "a stage",
    about: "A named list of shell commands. It runs as one shell with `set -e`, so `cd` and variables carry over \
            inside it, and `${...}` in it is the shell's own.",
    keys: &[
        required("name", LINE, "Shown at its head; different for each stage of a task."),
        required("script", Kind::OneOrList(Form::Script, Least::One), "A command or a list of them."),
        key("env", ENV, "`{}`", "Variables of this stage."),
        key("secrets", SECRETS, "`[]`", "Secrets for this stage only."),
        key("directory", Kind::One(Form::Directory), "the task's", "Where it starts, in the workspace."),
        key("user", LINE, "the task's", "Who runs it."),
        key("timeout", DURATION, "none", "How long it may run."),
        key("allow_failure", TOLERANCE, "`false`", "Whether the task goes on when it fails."),
        key("when", Kind::Object(&WHEN), "always", "Else it is left out. `status` is not known here."),
        key("always", BOOLEAN, "`false`", "Whether it runs after a failure or a cancel too."),
    ],
    also: &[],
    old: &[OLD_STAGE, OLD_ANYWHERE],
};
