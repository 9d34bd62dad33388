//! The arguments fit together, and `docs/reference/cli.md` says of them what they are.
//!
//! After a change write the page anew with `OCELOT_BLESS=1 cargo test -p ocelot`.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::Args;

#[test]
fn the_arguments_fit_together() {
    Args::command().debug_assert();
}

const HEAD: &str = "# The `ocelot` command

Made from the command's own arguments by a test; not written by hand.

Results go to standard output, everything else to standard error. `--output json` is a contract:
[cli-json.md](cli-json.md). RUN is `name#42`, a job's name for its last run, any unique part of an id, or
nothing: the last run that was executed from here.

| Exit code | Meaning |
|---|---|
| 0 | it is done; with `--follow` or `--wait`: the run succeeded |
| 1 | it could not be done |
| 2 | what was typed or configured cannot be right |
| 3 | the run did not succeed |
| 4 | no controller answers |
| 70 | a bug of ours |

Where a command goes: `--server` or `OCELOT_SERVER`, then `--context` or `OCELOT_CONTEXT`, then the context
that `ocelot config use` chose, then the `ocelot up` that this user runs on this machine. `OCELOT_TOKEN` is
the token to call with, `OCELOT_TOKEN_FILE` a file that holds it, `OCELOT_CA_FILE` holds authorities to trust in place of the machine's, `NO_COLOR`
turns colours off.
";

fn described(arg: &Arg) -> String {
    let mut name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    if arg.get_action().takes_values() {
        let values = arg.get_value_names().unwrap_or_default();
        let values: Vec<String> = values.iter().map(|value| format!("<{value}>")).collect();
        name = format!("{name} {}", values.join(" ")).trim().to_owned();
    }
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if arg.get_action().takes_values() && !choices.is_empty() {
        help = format!("{help}: {}", choices.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        help = format!("{help}; `{}`", variable.to_string_lossy());
    }
    format!("| `{}` | {} |", name.replace('|', "\\|"), help.replace('|', "\\|"))
}

fn page(path: &str, command: &Command, into: &mut String) {
    let aliases: Vec<&str> = command.get_visible_aliases().collect();
    let also = if aliases.is_empty() { String::new() } else { format!(" (also `{}`)", aliases.join("`, `")) };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| path == "ocelot" || !arg.is_global_set())
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()) || path.ends_with(" describe"))
        .filter(|arg| arg.get_id() != "help")
        .collect();
    writeln!(into, "\n## `{path}`{also}\n\n{about}.").unwrap();
    if !own.is_empty() {
        into.push_str("\n| Argument | Meaning |\n|---|---|\n");
        own.iter().for_each(|arg| writeln!(into, "{}", described(arg)).unwrap());
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        page(&format!("{path} {}", below.get_name()), below, into);
    }
}

#[test]
fn the_reference_page_is_what_the_arguments_say() {
    let mut made = HEAD.to_owned();
    page("ocelot", &Args::command(), &mut made);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/cli.md");
    if std::env::vars().any(|(name, _)| name == "OCELOT_BLESS") {
        std::fs::write(path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == made, "docs/reference/cli.md is not what the arguments say: run with OCELOT_BLESS=1");
}
