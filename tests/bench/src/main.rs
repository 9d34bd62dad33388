//! Every figure that this project claims comes from a row of this program.
//!
//! A row measures its baseline in the same run, in turns with ours, because figures of two runs or
//! two machines cannot be compared.

mod counting;
mod measure;
mod rows;
mod workload;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use measure::{Effort, Figure};

/// Measures what Ocelot promises, beside what it is promised against.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows to measure; the beginning of a name means all rows that begin with it. None: all.
    rows: Vec<String>,
    /// Print one JSON object per row instead of a table.
    #[arg(long)]
    json: bool,
    /// Print the names of the rows and what they measure, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Rounds of ours and of the baseline, in turns.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// How many executors or tasks a row of a whole cell has; without it, what the row says.
    #[arg(long)]
    count: Option<usize>,
    /// Where files are written; its disk is what is measured.
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let chosen = rows::all().into_iter().filter(|row| {
        arguments.rows.is_empty() || arguments.rows.iter().any(|name| row.name.starts_with(name.as_str()))
    });
    let effort = Effort {
        rounds: arguments.rounds.max(1),
        round: Duration::from_secs_f64(arguments.seconds),
        count: arguments.count,
        directory: arguments.directory.clone(),
    };
    let mut out = std::io::stdout().lock();
    let mut measured = 0;
    for row in chosen {
        measured += 1;
        if arguments.list {
            writeln!(out, "{:<28} {}", row.name, row.about)?;
            continue;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let figure = runtime.block_on((row.measure)(effort.clone()))?;
        if arguments.json {
            writeln!(out, "{}", serde_json::to_string(&figure.named(row.name))?)?;
        } else {
            if measured == 1 {
                writeln!(out, "{}", Figure::HEADING)?;
            }
            writeln!(out, "{}", figure.line(row.name))?;
        }
    }
    anyhow::ensure!(measured > 0, "no row begins with {:?}; --list shows them", arguments.rows);
    Ok(())
}
