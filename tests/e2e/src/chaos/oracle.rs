//! What must hold after any fault.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::{Caller, Fleet, RunId};
use ocelot_proto::wire::outcome::Outcome;

/// The runs of a trial and what is known of each.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    runs: Vec<(RunId, &'static str)>,
    cancelled: BTreeSet<RunId>,
}

impl Accepted {
    /// Remembers a run whose acceptance was answered.
    pub(super) fn add(&mut self, run: RunId, class: &'static str) {
        self.runs.push((run, class));
    }

    pub(super) fn cancel(&mut self, run: RunId) {
        self.cancelled.insert(run);
    }

    /// Waits for the end of every run and checks all of them.
    pub(super) async fn judge(&self, fleet: &Fleet) -> Result<BTreeMap<RunId, Outcome>> {
        let caller = fleet.caller(0)?;
        let mut outcomes = BTreeMap::new();
        for (run, class) in &self.runs {
            let outcome = caller.outcome(*run).await;
            let outcome = outcome
                .with_context(|| format!("{class} {}\n{}", Id::from_bytes(*run), fleet.last_words()))?;
            outcomes.insert(*run, outcome);
        }
        self.witnessed(fleet, &outcomes)?;
        self.unchanged(&caller, &outcomes).await?;
        self.whole(fleet, &caller, &outcomes).await?;
        Ok(outcomes)
    }

    /// No process's death loses a byte: the log of what succeeded is whole.
    async fn whole(&self, fleet: &Fleet, caller: &Caller, outcomes: &BTreeMap<RunId, Outcome>) -> Result<()> {
        for run in outcomes.iter().filter(|(_, end)| matches!(end, Outcome::Succeeded(_))).map(|(run, _)| run)
        {
            for task in caller.run(*run).await?.tasks {
                let loss = task.attempts.last().and_then(|attempt| attempt.loss.as_ref());
                let name = Id::from_bytes(*run);
                ensure!(loss.is_none(), "the log of {name} lost {loss:?}\n{}", fleet.last_words());
            }
        }
        Ok(())
    }

    fn witnessed(&self, fleet: &Fleet, outcomes: &BTreeMap<RunId, Outcome>) -> Result<()> {
        let lives = fleet.witness.lives()?;
        let overlaps = fleet.witness.overlaps()?;
        for life in &lives {
            ensure!(life.starts == 1, "one attempt was started {} times: {life:?}", life.starts);
        }
        for (run, class) in &self.runs {
            let name = Id::from_bytes(*run).to_string();
            let own: Vec<_> = lives.iter().filter(|life| life.run == name).collect();
            let outcome = &outcomes[run];
            match *class {
                "once" => ensure!(own.len() <= 1, "a once task ran {} times: {own:?}", own.len()),
                "exclusive" => {
                    let own = overlaps.iter().find(|(one, _)| one.run == name);
                    ensure!(own.is_none(), "an exclusive task overlapped: {own:?}");
                }
                "normal" => {}
                other => anyhow::bail!("there is no class {other}"),
            }
            if matches!(outcome, Outcome::Succeeded(_)) {
                ensure!(
                    own.iter().any(|life| life.ended),
                    "{name} succeeded and never ran to its end: {own:?}"
                );
            }
            let may_fail = self.cancelled.contains(run) || *class == "once";
            ensure!(may_fail || matches!(outcome, Outcome::Succeeded(_)), "{class} {name} ended {outcome:?}");
        }
        Ok(())
    }

    /// An end that was seen is the end for ever.
    async fn unchanged(&self, caller: &Caller, outcomes: &BTreeMap<RunId, Outcome>) -> Result<()> {
        for (run, outcome) in outcomes {
            let again = caller.outcome(*run).await?;
            ensure!(again == *outcome, "{} was {outcome:?} and is {again:?}", Id::from_bytes(*run));
        }
        Ok(())
    }
}
