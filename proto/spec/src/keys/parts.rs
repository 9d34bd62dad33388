//! The maps that stand inside tasks and stages.

use crate::keys::kinds::{
    ARGUMENTS, BOOLEAN, CAUSES, DURATION, DURATION_OR_ZERO, ENV, EVENTS, EXIT_CODES, LINE, NAME, PATH_GLOBS,
    REF_GLOBS, SECRETS, STATUSES, TOOLS, WHOLE_MAX, key, required,
};
use crate::keys::old::OLD_ANYWHERE;
use crate::table::{Form, Kind, Least, Object};

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
