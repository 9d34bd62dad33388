//! What people typed at the systems before this one, answered with what to type here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::Error;

/// A flag of a predecessor, and ours.
const FLAGS: &[(&str, &str)] = &[
    ("--job-name", "name the job after the verb: ocelot execute NAME, ocelot describe NAME"),
    ("--job-path", "ocelot create -f FILE"),
    ("--job-id", "name the run after the verb: ocelot getlogs NAME#NUMBER"),
    ("--args", "write each one by itself, with any letters in it: ocelot execute NAME key=value key2=value2"),
    ("--cp-host", "ocelot config add NAME URL; or OCELOT_SERVER=URL for one command"),
    ("--email-id", "a token says who you are: ocelot token create NAME --for PERSON"),
    ("--token", "OCELOT_TOKEN=..., or keep it: ocelot config add NAME URL"),
    ("--time-out", "every call has a deadline of its own; there is nothing to set"),
    ("--acct-repo", "ocelot runs --project OWNER/NAME"),
    ("--hash", "name the run: ocelot status NAME#NUMBER; to build it: ocelot build --commit HASH"),
    ("--envs", "ocelot build --env NAME=VALUE"),
    ("--no-follow", "nothing is followed unless it is asked for: --follow"),
    ("--latest", "ocelot build --branch NAME builds what stands there"),
    ("--vcs-type", "the address of the repository tells; otherwise: ocelot project add --forge NAME"),
    ("--cron", "ocelot project set OWNER/NAME --poll 5m"),
    ("--file-loc", "ocelot validate FILE"),
    ("--render-tag", "say it in the file: labels: [NAME]"),
    ("--raw_logs", "--raw"),
];

/// A verb of a predecessor, and ours.
const VERBS: &[(&str, &str)] = &[
    ("template", "ocelot create --template"),
    ("jobs", "ocelot list; what ran: ocelot runs"),
    ("register", "on the new machine: ocelot-executor register TOKEN; the token: ocelot executor token"),
    ("start", "ocelot up, or ocelot-controller start and ocelot-executor start"),
    ("controller", "ocelot-controller start, or all in one: ocelot up"),
    ("summary", "ocelot runs"),
    ("deploy", "ocelot execute NAME"),
    ("reconcile", "ocelot status, ocelot why"),
    ("settings", "ocelot config show"),
    ("connect", "ocelot config add NAME URL"),
    ("dev", "ocelot local, ocelot validate"),
    ("developer", "ocelot local, ocelot validate"),
    ("creds", "ocelot secret"),
    ("repo", "ocelot project"),
    ("org", "projects are OWNER/NAME; the owner is the organization: ocelot project list 'OWNER/*'"),
    ("server", "ocelot-controller start, or all in one: ocelot up"),
    ("help", "ocelot --help, ocelot VERB --help"),
];

/// Returns our answer to what a predecessor would have understood.
pub(crate) fn ours(error: &clap::Error) -> Option<Error> {
    let (kind, table) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, FLAGS),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, VERBS),
        _ => return None,
    };
    let Some(ContextValue::String(typed)) = error.get(kind) else { return None };
    let name = typed.split('=').next().unwrap_or(typed);
    let (_, next) = table.iter().find(|(old, _)| *old == name)?;
    Some(Error::usage(format!("there is no {name} here"), *next))
}
