//! The `ocelot` command: reads arguments, calls one command, turns its end into an exit code.

mod args;
mod checkout;
mod commands;
mod error;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.output);
    let ended = match args.command {
        Command::Validate(validate) => commands::validate::run(&validate, &output),
        Command::Explain(explain) => commands::explain::run(&explain, &output),
        Command::Version => commands::version::run(&output),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.fail(&error),
    }
}
