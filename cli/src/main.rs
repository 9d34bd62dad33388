//! The `ocelot` command: reads arguments, calls one command, turns its end into an exit code.

mod args;
mod checkout;
mod client;
mod commands;
mod config;
mod error;
mod find;
mod find_project;
mod follow;
mod graph;
mod init;
mod local;
mod predecessors;
mod prompt;
mod shape;
mod show;
mod up;
mod up_file;
mod words;

use std::process::ExitCode;

use clap::Parser;
use ocelot_proto::kit::clock::{Clock, SystemClock};

use crate::args::{Args, Color, Command, Format};
use crate::commands::Session;
use crate::config::{Environment, Wanted};
use crate::error::{Error, REPORT, Result};
use crate::show::{Output, Times};

/// A bug of ours.
const EXIT_BUG: u8 = 70;

fn main() -> ExitCode {
    let environment = Environment::read();
    std::panic::set_hook(Box::new(tell_bug));
    match std::panic::catch_unwind(|| command(environment)) {
        Ok(code) => code,
        Err(_) => ExitCode::from(EXIT_BUG),
    }
}

fn command(environment: Environment) -> ExitCode {
    let now_us = i64::try_from(SystemClock.wall().0).unwrap_or(i64::MAX);
    let times = Times { now_us };
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            return refuse(&error, &Output::new(Format::Text, Color::Auto, &environment.around, times));
        }
    };
    let output = Output::new(args.output, args.color, &environment.around, times);
    let wanted = Wanted { server: args.server, context: args.context };
    let session = Session { output, environment, wanted };
    match run(&args.command, &session) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => session.output.fail(&error),
    }
}

fn run(command: &Command, session: &Session) -> Result<()> {
    // What talks to nobody needs no runtime.
    match command {
        Command::Validate(validate) => return commands::validate::run(validate, &session.output),
        Command::Explain(explain) => return commands::explain::run(explain, &session.output),
        Command::Init(init) => return commands::init::run(init, &session.output),
        Command::Completion(completion) => return commands::completion::run(completion, &session.output),
        _ => {}
    }
    // A whole fleet works on all processors; a client is quicker without threads.
    let mut builder = match command {
        Command::Up(_) | Command::Demo | Command::Local(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().map_err(Error::Output)?;
    let ended = runtime.block_on(remote(command, session));
    // A name that is still being looked up would hold the end.
    runtime.shutdown_background();
    ended
}

async fn remote(command: &Command, session: &Session) -> Result<()> {
    match command {
        Command::Up(up) => Box::pin(commands::up::run(up, session)).await,
        Command::Demo => Box::pin(commands::demo::run(session)).await,
        Command::Create(create) => commands::create::run(create, session).await,
        Command::Update(update) => commands::update::run(update, session).await,
        Command::Delete(delete) => commands::delete::run(delete, session).await,
        Command::List(list) => commands::list::run(list, session).await,
        Command::Describe(describe) => commands::describe::run(describe, session).await,
        Command::Execute(execute) => Box::pin(commands::execute::run(execute, session)).await,
        Command::Getlogs(getlogs) => Box::pin(commands::getlogs::run(getlogs, session)).await,
        Command::Status(status) => commands::status::run(status, session).await,
        Command::Runs(runs) => commands::runs::run(runs, session).await,
        Command::Cancel(cancel) => commands::cancel::run(cancel, session).await,
        Command::Retry(retry) => Box::pin(commands::retry::run(retry, session)).await,
        Command::Why(why) => commands::why::run(why, session).await,
        Command::Artifacts(artifacts) => Box::pin(commands::artifacts::run(artifacts, session)).await,
        Command::Schedule(schedule) => Box::pin(commands::schedule::run(schedule, session)).await,
        Command::Executor(executor) => Box::pin(commands::executor::run(executor, session)).await,
        Command::Token(token) => Box::pin(commands::token::run(token, session)).await,
        Command::Secret(secret) => Box::pin(commands::secret::run(secret, session)).await,
        Command::Config(config) => commands::config::run(config, session).await,
        Command::Version(version) => commands::version::run(version, session).await,
        Command::Doctor => Box::pin(commands::doctor::run(session)).await,
        Command::Complete(complete) => Box::pin(commands::complete::run(complete, session)).await,
        Command::Build(build) => Box::pin(commands::build::run(build, session)).await,
        Command::Local(local) => Box::pin(commands::local::run(local, session)).await,
        Command::Project(project) => Box::pin(commands::project::run(project, session)).await,
        Command::Watch(add) => Box::pin(commands::project::add(add, session)).await,
        Command::Poll(name) => Box::pin(commands::project::poll(name, session)).await,
        Command::Repos(repos) => Box::pin(commands::project::repos(repos, session)).await,
        Command::Validate(validate) => commands::validate::run(validate, &session.output),
        Command::Explain(explain) => commands::explain::run(explain, &session.output),
        Command::Init(init) => commands::init::run(init, &session.output),
        Command::Completion(completion) => commands::completion::run(completion, &session.output),
    }
}

/// Answers what was typed and is not understood; help and version come this way too.
fn refuse(error: &clap::Error, output: &Output) -> ExitCode {
    if let Some(ours) = predecessors::ours(error) {
        return output.fail(&ours);
    }
    // Nobody is left to tell if the terminal is gone.
    drop(error.print());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Tells what a person can do about a bug of ours, instead of a trace.
fn tell_bug(panic: &std::panic::PanicHookInfo<'_>) {
    let place =
        panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("no reason given");
    let version = env!("CARGO_PKG_VERSION");
    // Nobody is left to tell if standard error is gone.
    drop(std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("error: ocelot {version} broke at {place}: {text}\nhint: {REPORT}\n").as_bytes(),
    ));
}
