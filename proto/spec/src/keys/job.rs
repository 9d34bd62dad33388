//! A job file.

use crate::keys::WORK;
use crate::keys::kinds::{BOOLEAN, DURATION_OR_ZERO, LINES, NAME, TEXT, key, required};
use crate::keys::old::OLD_ANYWHERE;
use crate::table::{Form, Kind, Least, Object};

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
