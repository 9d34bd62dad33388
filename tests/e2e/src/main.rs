//! The one integration program. Each module adds its trials; a word in front of the options makes
//! the program one of its own child processes instead (`e2e child NAME ARGUMENTS`), or one long row
//! (`e2e long NAME COUNT SEED`).

mod chaos;
mod deploy;
mod disk;
mod images;
mod long;
mod pipelines;
mod runtime;
mod schedules;
mod store;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["child", "crash-writer", directory, seed] => store::crash::write(directory, seed),
        ["child", "post-receive", settings] => ocelot_e2e::fleet::forge::post_receive(settings),
        ["long", "starts", count, _] => runtime::measure(count),
        ["long", row, count, seed] => long::run(row, count, seed),
        _ => return run_trials(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run_trials() -> ExitCode {
    let trials = [
        images::trials(),
        runtime::trials(),
        store::trials(),
        pipelines::trials(),
        schedules::trials(),
        deploy::trials(),
        disk::trials(),
        chaos::trials(),
    ];
    let mut trials: Vec<_> = trials.into_iter().flatten().collect();
    trials.push(chaos::failpoints::coverage(&trials));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
