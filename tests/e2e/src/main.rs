//! The one integration program. Each module adds its trials; a word in front of the options makes
//! the program one of its own child processes instead (`e2e child NAME ARGUMENTS`).

mod store;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, store::trials()).exit_code()
}
