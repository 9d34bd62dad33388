//! Runs the model check and the random sequences, and prints what they covered.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

use ocelot_core::plan::Class;
use ocelot_proto::kit::chaos::BUGS;
use ocelot_sim::fleet;
use ocelot_sim::model::Guard;
use ocelot_sim::power;
use ocelot_sim::rows::{self, Bounds, Row};
use ocelot_sim::sequences::{self, Passed};

/// Checks of the protocol over the code that ships
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    row: What,
}

#[derive(Subcommand)]
enum What {
    /// Search everything that can happen to one task, then again without each guard
    Model {
        /// Search the full bounds, for minutes
        #[arg(long)]
        long: bool,
        /// Print one JSON object per row
        #[arg(long)]
        json: bool,
        /// Show the shortest way to each violation
        #[arg(long)]
        traces: bool,
        /// Search only with all guards on
        #[arg(long, conflicts_with = "off")]
        on: bool,
        /// Search only without a guard whose name contains this
        #[arg(long)]
        off: Option<String>,
        /// Search with these many faults, whatever the bounds say
        #[arg(long)]
        faults: Option<u8>,
    },
    /// Put random sequences of events to one task and check its invariants after each
    Sequences {
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
        /// The first sequence's seed; a failure names the seed to run again with --count 1
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Let whole fleets happen, each made from one seed, with everything that strikes them
    Simulate {
        #[arg(long, default_value_t = 1_000)]
        count: u64,
        /// The first world's seed; a failure names the seed to replay with --history
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print the history of the one world of this seed
        #[arg(long)]
        history: bool,
    },
    /// Plant bugs, one at a time, and say after how many worlds each is found
    Power {
        /// How many worlds each bug is given
        #[arg(long, default_value_t = 200)]
        count: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only bugs whose name contains this
        #[arg(long)]
        only: Option<String>,
        /// Leave compares out of the controllers' transactions, one kind at a time
        #[arg(long)]
        compares: bool,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse().row {
        What::Model { long, json, traces, on, off, faults } => {
            let bounds = if long { Bounds::LONG } else { Bounds::SHORT };
            let bounds = faults.map_or(bounds, |faults| bounds.with_faults(faults));
            let mut table = Table { json, traces, fine: true };
            if !json {
                let head = "class             faults guard that is off                                       states depth       edges  verdict";
                writeln!(stdout(), "{head}")?;
            }
            if off.is_none() {
                for class in [Class::Normal, Class::Once, Class::Exclusive] {
                    for cancels in [false, true] {
                        table.row(|| rows::with_all(class, cancels, &bounds))?;
                    }
                }
            }
            let wanted = |guard: &Guard| off.as_ref().is_none_or(|off| format!("{guard:?}").contains(off));
            if !on {
                for guard in Guard::ALL.into_iter().filter(wanted) {
                    table.row(|| rows::without(guard, None, &bounds))?;
                }
                for [guard, other] in Guard::PAIRS.into_iter().filter(|[guard, _]| wanted(guard)) {
                    table.row(|| rows::without(guard, Some(other), &bounds))?;
                }
            }
            Ok(if table.fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        What::Sequences { count, seed } => run_sequences(count, seed),
        What::Simulate { seed, history: true, .. } => show(seed),
        What::Simulate { count, seed, history: false } => simulate(count, seed),
        What::Power { count, seed, only, compares: false } => power((count, seed), only.as_deref()),
        What::Power { count, seed, only, compares: true } => compares((count, seed), only.as_deref()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration is printed for people; nothing depends on it")]
fn run_sequences(count: u64, seed: u64) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut out = stdout().lock();
    match sequences::run(count, seed) {
        Ok(passed) => {
            let Passed { events, accepted, finished } = passed;
            let seconds = began.elapsed().as_secs_f64();
            writeln!(
                out,
                "{count} sequences from seed {seed}: {events} events, {accepted} accepted, {finished} ended, {seconds:.1} s"
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failed) => {
            writeln!(out, "seed {}: {}\n{}", failed.seed, failed.why, failed.events)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration is printed for people; nothing depends on it")]
fn simulate(count: u64, seed: u64) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let ended = fleet::run(count, seed, &fleet::Planted::default());
    let seconds = began.elapsed().as_secs_f64();
    let mut out = stdout().lock();
    match ended {
        Ok(passed) => {
            writeln!(out, "{count} worlds from seed {seed}, {seconds:.1} s: no promise broke")?;
            writeln!(out, "{}", passed.counts)?;
            for (fault, times) in &passed.struck {
                writeln!(out, "{times:>9}  {fault}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(failed) => {
            writeln!(out, "seed {}, {} worlds passed: {}", failed.seed, failed.passed, failed.why)?;
            writeln!(out, "replay: {}", failed.replay())?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Plants each bug; fails if one is found neither here nor by the test elsewhere that looks for it.
fn power((count, seed): (u64, u64), only: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut out = stdout().lock();
    let untrue = power::untrue()?;
    for why in &untrue {
        writeln!(out, "{why}")?;
    }
    let mut missed = untrue.len();
    for name in BUGS.iter().filter(|name| only.is_none_or(|only| name.contains(only))) {
        let elsewhere = power::elsewhere(name);
        let bug = fleet::Bug::ALL.into_iter().find(|bug| bug.name() == *name);
        let planted = fleet::Planted { bug, ..fleet::Planted::default() };
        match bug.map(|_| fleet::run(count, seed, &planted)) {
            Some(Err(failed)) => writeln!(out, "{name:<30} {}", found(&failed))?,
            Some(Ok(_)) if elsewhere.is_none() => {
                missed += 1;
                writeln!(out, "{name:<30} not found in {count} worlds")?;
            }
            Some(Ok(_)) => writeln!(out, "{name:<30} not in {count} worlds")?,
            None => {}
        }
        if let Some(elsewhere) = elsewhere {
            writeln!(out, "{name:<30} found by {} in {}", elsewhere.test, elsewhere.file)?;
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Leaves each kind of compare out of the controllers' transactions; fails if one that alone kept a
/// change back was not missed.
fn compares((count, seed): (u64, u64), only: Option<&str>) -> anyhow::Result<ExitCode> {
    let found_there = fleet::compares(60, seed).map_err(|failed| anyhow::anyhow!("{failed:?}"))?;
    let mut missed = 0;
    for named in found_there {
        let name = named.to_string();
        if only.is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let mut out = stdout().lock();
        let left_out = Some(named.clone());
        match fleet::run(count, seed, &fleet::Planted { left_out, ..fleet::Planted::default() }) {
            Err(failed) => writeln!(out, "{name:<36} {}", found(&failed))?,
            Ok(fleet::Passed { left_out, .. }) => {
                let covered = power::covered(&named);
                missed += u64::from(covered.is_none() && left_out.alone > 0);
                let fleet::LeftOut { refusals, alone, others } = left_out;
                let others: Vec<String> =
                    others.iter().map(|(other, times)| format!("{other} {times} times")).collect();
                writeln!(
                    out,
                    "{name:<36} not in {count} worlds: it would have refused {refusals} times, {alone} times \
                     alone; beside it {}; {}",
                    if others.is_empty() { "nothing".to_owned() } else { others.join(", ") },
                    covered.unwrap_or("nobody says why"),
                )?;
            }
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn found(failed: &fleet::Failed) -> String {
    let why: String = failed.why.chars().take(110).collect();
    format!("seed {:>4}, {:>3} passed: {why}", failed.seed, failed.passed)
}

/// Prints what happened in one world, line by line.
fn show(seed: u64) -> anyhow::Result<ExitCode> {
    let ended = fleet::world(seed, &fleet::Planted::default(), true);
    let mut out = stdout().lock();
    for line in &ended.history {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "seed {seed}, history {:016x}: {}", ended.digest, ended.counts)?;
    let Some(why) = ended.broken else { return Ok(ExitCode::SUCCESS) };
    writeln!(out, "broken {why}")?;
    Ok(ExitCode::FAILURE)
}

struct Table {
    json: bool,
    traces: bool,
    /// All rows with every guard on hold.
    fine: bool,
}

impl Table {
    #[expect(
        clippy::disallowed_methods,
        reason = "the duration is printed for people; nothing depends on it"
    )]
    fn row(&mut self, search: impl FnOnce() -> Row) -> anyhow::Result<()> {
        let began = Instant::now();
        let row = search();
        let seconds = began.elapsed().as_secs_f64();
        self.fine &= row.holds || !row.off.is_empty();
        let mut out = stdout().lock();
        if self.json {
            let mut line = serde_json::to_value(&row)?;
            line["seconds"] = seconds.into();
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{row}  {seconds:.1} s")?;
            if self.traces {
                for (number, made) in row.trace.iter().enumerate() {
                    writeln!(out, "    {:>2}. {made}", number + 1)?;
                }
            }
        }
        Ok(())
    }
}
