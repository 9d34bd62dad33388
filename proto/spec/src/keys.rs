//! Every key of both files: the tables that checks, JSON schemas and the reference page come from.
//!
//! A key is added here first; a reader that does not use it, or uses one that is not here, is a mistake
//! that the tests find.

use crate::table::{Form, Key, Kind, Least, Object};

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, about, required: false }
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, default: "required", about, required: true }
}

const WHOLE_MAX: i64 = i32::MAX as i64;

const TEXT: Kind = Kind::One(Form::Text);
const LINE: Kind = Kind::One(Form::Line);
const BOOLEAN: Kind = Kind::One(Form::Boolean);
const NAME: Kind = Kind::One(Form::Name);
const DURATION: Kind = Kind::One(Form::Duration);
const DURATION_OR_ZERO: Kind = Kind::One(Form::DurationOrZero);
const REF_GLOBS: Kind = Kind::OneOrList(Form::RefGlob, Least::One);
const PATH_GLOBS: Kind = Kind::OneOrList(Form::PathGlob, Least::One);
const LINES: Kind = Kind::List(&LINE, Least::None);
const ENV: Kind = Kind::Map(Form::Variable, &Kind::One(Form::Replaced));
const ARGUMENTS: Kind = Kind::List(&Kind::One(Form::Argument), Least::One);
const SECRETS: Kind =
    Kind::List(&Kind::Either(&Kind::One(Form::BareSecret), &Kind::Object(&SECRET)), Least::None);
const EXIT_CODES: Kind = Kind::List(&Kind::One(Form::Integer(0, 255)), Least::One);
const TOLERANCE: Kind = Kind::Either(&BOOLEAN, &Kind::Object(&EXIT_CODES_ONLY));

pub(crate) const EVENTS: [&str; 6] = ["push", "tag", "pull_request", "schedule", "manual", "upstream"];
const STATUSES: [&str; 3] = ["success", "failure", "always"];
const CAUSES: [&str; 7] = ["exit", "signal", "oom", "timeout", "image", "disk", "lost"];
const TOOLS: [&str; 7] = ["docker", "ssh-key", "maven", "npm", "pypi", "netrc", "kubeconfig"];

/// Names that the predecessors and other systems use, wherever they stand.
const OLD_ANYWHERE: &[(&str, &str)] = &[
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
const OLD_TASK: &[(&str, &str)] = &[
    ("script", "`stages: [{name: build, script: COMMAND}]`: a script stands in a stage"),
    ("name", "the task's name as the key above it, in `tasks`"),
    ("if", "`when:`"),
    ("only", "`when: {branch: NAME}`"),
];
const OLD_STAGE: &[(&str, &str)] = &[
    ("command", "`script: COMMAND`; a list of arguments without a shell is the task's `command`"),
    ("commands", "`script: COMMAND`"),
    ("run", "`script: COMMAND`"),
    ("image", "`image:` of the task: its stages share one container; another image is another task"),
];

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

pub(crate) static SERVICE: Object = Object {
    what: "a service",
    about: "A container beside the task.",
    keys: &[
        required("image", Kind::One(Form::Image), "Its image."),
        key("env", ENV, "`{}`", "Its variables; it gets none of the task's."),
        key("command", ARGUMENTS, "the image's", "Arguments instead of the image's own."),
        key("secrets", SECRETS, "`[]`", "Its secrets."),
        key("pull_secret", Kind::One(Form::SecretName), "none", "The secret with the login of its registry."),
        key("resources", Kind::Object(&RESOURCES), "the executor's", "What it needs and may not exceed."),
        key("ready", Kind::Object(&READY), "once it is started", "When the task may begin."),
    ],
    also: &[],
    old: &[OLD_ANYWHERE],
};

pub(crate) static READY: Object = Object {
    what: "`ready`",
    about: "Exactly one of `port` and `command`.",
    keys: &[
        key("port", Kind::One(Form::Integer(1, 65_535)), "-", "Ready when this port takes a connection."),
        key("command", ARGUMENTS, "-", "Ready when this, run in the service, succeeds."),
        key("timeout", DURATION, "`60s`", "Then the task fails."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static SECRET: Object = Object {
    what: "a secret",
    about: "A bare `NAME` is a variable of that name. Looked up in the job, then the project, then the \
            organization. Never given to forks.",
    keys: &[
        required("name", Kind::One(Form::SecretName), "Its name in the store."),
        key("env", Kind::One(Form::Variable), "its name", "The variable that holds it."),
        key(
            "file",
            Kind::One(Form::SecretPath),
            "-",
            "The file that holds it: in the workspace, or an absolute path in the container.",
        ),
        key(
            "as",
            Kind::One(Form::Choice(&TOOLS)),
            "-",
            "The tool whose login it is; written where that tool looks.",
        ),
    ],
    also: &[],
    old: &[],
};

pub(crate) static CACHE: Object = Object {
    what: "a cache",
    about: "Its key is `key` with a digest of `key_files`. Pull requests read the caches of their target branch and \
            write their own.",
    keys: &[
        required("name", NAME, "Its name."),
        required("paths", Kind::OneOrList(Form::Path, Least::One), "What is kept."),
        key(
            "key_files",
            Kind::OneOrList(Form::PathGlob, Least::None),
            "`[]`",
            "Files whose content makes the key.",
        ),
        key("key", Kind::One(Form::Replaced), "empty", "The readable part of the key."),
        key("fallback", BOOLEAN, "`true`", "Whether the newest cache with the same `key` will do."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static ARTIFACT: Object = Object {
    what: "an artifact",
    about: "",
    keys: &[
        required("name", Kind::One(Form::ReplacedLine), "Its name in the run."),
        required("paths", PATH_GLOBS, "What is kept."),
        key("when", Kind::One(Form::Choice(&STATUSES)), "`success`", "After which end of the task."),
        key("expires", DURATION, "`30d`", "How long it is kept."),
        key("optional", BOOLEAN, "`false`", "Whether it is no error that nothing matches."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static CHECKOUT: Object = Object {
    what: "`checkout`",
    about: "",
    keys: &[
        key("depth", Kind::One(Form::Integer(0, WHOLE_MAX)), "`0`", "Commits of history; 0 is all of it."),
        key("submodules", BOOLEAN, "`false`", "Whether submodules are fetched."),
        key("lfs", BOOLEAN, "`false`", "Whether large files are fetched."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static RESOURCES: Object = Object {
    what: "`resources`",
    about: "More than any executor has is said at once.",
    keys: &[
        key("cpus", Kind::One(Form::Cpus), "the executor's", "Processors, in thousandths at the finest."),
        key("memory", Kind::One(Form::Size), "the executor's", "Memory."),
        key("disk", Kind::One(Form::Size), "the executor's", "Space of the workspace."),
        key("pids", Kind::One(Form::Integer(1, WHOLE_MAX)), "the executor's", "Processes and threads."),
        key("gpus", Kind::One(Form::Integer(0, 1024)), "`0`", "Graphics processors."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static RETRY: Object = Object {
    what: "`retry`",
    about: "A key that is left out has the value of the default.",
    keys: &[
        key("limit", Kind::One(Form::Integer(0, 5)), "`2`", "How often after the first try."),
        key(
            "on",
            Kind::OneOrList(Form::Choice(&CAUSES), Least::One),
            "`[lost, image, disk]`",
            "Which ends are tried again.",
        ),
        key("exit_codes", EXIT_CODES, "any", "With `exit`: only these codes."),
        key("delay", DURATION_OR_ZERO, "`10s`", "How long to wait before."),
    ],
    also: &[],
    old: &[&[("max", "`limit: 2`"), ("attempts", "`limit: 2`"), ("when", "`on: [exit]`")]],
};

pub(crate) static EXIT_CODES_ONLY: Object = Object {
    what: "`allow_failure`",
    about: "",
    keys: &[required("exit_codes", EXIT_CODES, "Only these codes are allowed.")],
    also: &[],
    old: &[],
};

pub(crate) static NEED: Object = Object {
    what: "a need",
    about: "",
    keys: &[
        required("task", LINE, "The task's name."),
        key("optional", BOOLEAN, "`false`", "Whether it is met when that task is skipped."),
        key("artifacts", BOOLEAN, "`true`", "Whether its artifacts are unpacked first."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static APPROVAL: Object = Object {
    what: "`approval`",
    about: "Bound to the commit; the author may not approve alone.",
    keys: &[
        required("by", Kind::List(&LINE, Least::One), "Groups or users who may consent."),
        key("message", LINE, "none", "What they are asked."),
        key("expires", DURATION, "`7d`", "Then the task is skipped."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static CONCURRENCY: Object = Object {
    what: "`concurrency`",
    about: "At most `limit` of a group at a time, in the order of their acceptance. A group belongs to the project; one \
            written `/name` is shared by all.",
    keys: &[
        required(
            "group",
            Kind::One(Form::Group),
            "The group. `${branch}` of a pull request is its own here.",
        ),
        key("limit", Kind::One(Form::Integer(1, WHOLE_MAX)), "`1`", "How many at a time."),
        key(
            "cancel",
            Kind::One(Form::Choice(&["never", "waiting", "running"])),
            "`never`",
            "Which older ones a newer one ends: those that wait, or those that run too.",
        ),
    ],
    also: &[],
    old: &[],
};

pub(crate) static NOTIFY: Object = Object {
    what: "a notification",
    about: "",
    keys: &[
        required("to", NAME, "A target that an operator set up."),
        key(
            "on",
            Kind::OneOrList(Form::Choice(&["failure", "fixed", "success", "always"]), Least::One),
            "`[failure, fixed]`",
            "Which ends are told; `fixed` is the first success after a failure.",
        ),
        key("branch", REF_GLOBS, "all", "Only runs of these branches."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static WHEN: Object = Object {
    what: "`when`",
    about: "Every key that is given must match; a list means any of it.",
    keys: &[
        key("branch", REF_GLOBS, "any", "The branch; of a pull request its target."),
        key("source", REF_GLOBS, "any", "The source branch of a pull request."),
        key("tag", REF_GLOBS, "any", "The tag that was pushed."),
        key("event", Kind::OneOrList(Form::Choice(&EVENTS), Least::One), "any", "What started the run."),
        key(
            "paths",
            PATH_GLOBS,
            "any",
            "Some changed file. A push compares with the branch before it, a new branch and a pull request with their \
             merge base. Where nothing can be compared this holds.",
        ),
        key(
            "message",
            Kind::OneOrList(Form::Line, Least::One),
            "any",
            "A text that the commit's message contains.",
        ),
        key(
            "status",
            Kind::One(Form::Choice(&STATUSES)),
            "`success`",
            "How the task's needs must have ended. Only in a task, and not within `any`.",
        ),
        key("any", Kind::List(&Kind::Object(&WHEN), Least::One), "-", "Conditions of which one is enough."),
    ],
    also: &[],
    old: &[&[
        ("branches", "`branch: [main, \"release/**\"]`"),
        ("ref", "`branch:` or `tag:`"),
        ("changes", "`paths:`"),
    ]],
};

pub(crate) static JOB: Object = Object {
    what: "a job file",
    about: "The keys of a task at the top level, without `needs`, `when`, `matrix` and `fail_fast`; and:",
    keys: &[
        key("version", Kind::One(Form::Choice(&["1"])), "`1`", "The version of this schema."),
        required("name", NAME, "The job's name."),
        key("description", TEXT, "empty", "What it is for."),
        key("organization", TEXT, "empty", "Whose it is."),
        key("authors", LINES, "`[]`", "Who wrote it."),
        key("contributors", LINES, "`[]`", "Who helped."),
        key(
            "args",
            Kind::List(&Kind::Object(&ARG), Least::None),
            "`[]`",
            "Its arguments; each becomes a variable of the same name.",
        ),
        key(
            "authorized_groups",
            LINES,
            "`[]`",
            "Who may execute it; an empty list: everyone who may execute.",
        ),
        key(
            "schedule",
            Kind::List(&Kind::Object(&SCHEDULE), Least::None),
            "`[]`",
            "When it is executed by itself.",
        ),
    ],
    also: &[&WORK],
    old: &[
        OLD_ANYWHERE,
        &[
            ("script", "`stages: [{name: run, script: COMMAND}]`"),
            ("needs", "not possible: a job is one task"),
            ("when", "not possible: a job runs whenever it is executed; a stage can have `when`"),
            ("matrix", "not possible: a job is one task; give it `args`"),
            ("fail_fast", "not possible: a job is one task"),
            ("tasks", "not possible: a job is one task"),
        ],
    ],
};

pub(crate) static ARG: Object = Object {
    what: "an argument",
    about: "",
    keys: &[
        required("name", Kind::One(Form::Variable), "Its name, and the variable's."),
        key("description", TEXT, "empty", "What it is for."),
        key("required", BOOLEAN, "`false`", "Whether it must be given."),
        key("default", TEXT, "empty", "Its value when it is not given."),
        key("secret", BOOLEAN, "`false`", "Masked in the log and not stored readable."),
        key("choices", Kind::List(&TEXT, Least::One), "any", "The values it may have."),
        key("pattern", Kind::One(Form::TextGlob), "any", "A glob that the value must match."),
    ],
    also: &[],
    old: &[],
};

pub(crate) static SCHEDULE: Object = Object {
    what: "a schedule",
    about: "",
    keys: &[
        required("cron", Kind::One(Form::Cron), "Minute, hour, day of the month, month, day of the week."),
        key("timezone", Kind::One(Form::Zone), "`UTC`", "The time zone of `cron`."),
        key("args", Kind::Map(Form::Variable, &TEXT), "`{}`", "The arguments."),
        key(
            "overlap",
            Kind::One(Form::Choice(&["skip", "queue", "allow"])),
            "`skip`",
            "What happens while the last run still goes on.",
        ),
        key(
            "catch_up",
            Kind::One(Form::Choice(&["none", "one", "all"])),
            "`one`",
            "Which of the moments that were missed are made up for.",
        ),
        key(
            "jitter",
            DURATION_OR_ZERO,
            "`0s`",
            "Up to how much later it may begin, so that not all begin at once.",
        ),
    ],
    also: &[],
    old: &[],
};
