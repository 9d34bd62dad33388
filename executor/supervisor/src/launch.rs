//! From an order to a process.
//!
//! The process gets the environment of the order and nothing of the supervisor's: no descriptor, no
//! signal setting, no limit. A script travels as an argument or, where the kernel finds that too
//! long, as a file in memory; secrets are in the environment only.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;
use rustix::process::Rlimit;

use crate::account::{Account, Accounts};
use crate::protocol::{Program, StageOrder};
use crate::streams::Writers;
use crate::sys::{self, Identity};

/// What one argument may have, with the zero at its end.
const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;

/// Starts the stage's process and returns its number, or what to tell the people who wait for it.
pub(crate) fn launch(order: &StageOrder, writers: Writers, core: Rlimit) -> Result<i32, String> {
    let accounts = Accounts::read();
    let account = order.user.as_deref().map(|user| accounts.resolve(user)).transpose();
    let account = account.map_err(|error| format!("cannot run as asked: {error}"))?;
    check_directory(&order.directory)?;
    let script;
    let argv = match &order.program {
        Program::Command(argv) => argv.clone(),
        Program::Script { shell, script: text } if text.len() < ARGUMENT_BYTES_MAX => {
            [shell.clone(), words(["-e", "-c", text, name(shell)])].concat()
        }
        Program::Script { shell, script: text } => {
            script = in_memory(text).map_err(|error| format!("cannot keep the script: {error}"))?;
            let path = format!("/proc/self/fd/{}", script.as_raw_fd());
            [shell.clone(), words(["-e", &path])].concat()
        }
    };
    let Some((program, arguments)) = argv.split_first() else {
        return Err("cannot start anything: the command is empty".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&order.env).current_dir(&order.directory);
    if !order.env.contains_key("HOME") {
        command.env("HOME", home(&accounts, account.as_ref()));
    }
    command.stdin(Stdio::null()).stdout(writers.stdout).stderr(writers.stderr);
    let identity = account.map(|account| account.identity).filter(|identity| !is_own(identity));
    sys::spawn(&mut command, identity, core).map_err(|error| format!("cannot start {program}: {error}"))
}

/// Says so when the directory is what is missing: the system's own error would blame the program.
fn check_directory(directory: &str) -> Result<(), String> {
    let why = match std::fs::metadata(Path::new(directory)) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => io::Error::from(io::ErrorKind::NotADirectory),
        Err(error) => error,
    };
    Err(format!("cannot start in {directory}: {why}"))
}

fn home(accounts: &Accounts, account: Option<&Account>) -> String {
    let home = match account {
        Some(account) => account.home.clone(),
        None => accounts.home_of(rustix::process::geteuid().as_raw()),
    };
    home.unwrap_or_else(|| "/".to_owned())
}

/// Nothing has to change, and a supervisor that is not root could not.
fn is_own(identity: &Identity) -> bool {
    identity.uid == rustix::process::geteuid() && identity.gid == rustix::process::getegid()
}

/// Returns a file that the child inherits by its number. Nobody else is forked while it is open.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("script", MemfdFlags::empty())?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// What the shell calls itself in its messages.
fn name(shell: &[String]) -> &str {
    shell.first().and_then(|shell| shell.rsplit('/').next()).unwrap_or("sh")
}
