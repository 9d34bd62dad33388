//! What somebody outside is owed of a run: which entries of the outbox go into the transaction that
//! accepts it, and into the one that ends it.
//!
//! A fork's file names no target of notifications: it would let strangers speak in our rooms.

use std::collections::BTreeSet;

use ocelot_core::id::RunId;
use ocelot_core::plan::{Notify, NotifyOn, Plan};
use ocelot_domain::run::RunOutcome;
use ocelot_spec::Event;

use super::Service;
use crate::records::{OutboxEntry, OutboxStep, OutboxTarget, ProjectName, RunRecord, Stage, Subject, Wanted};
use crate::store::codec::encode;
use crate::store::keys::{Folder, Key};
use crate::store::{Revision, Txn};

/// What a forge tells statuses of one commit apart by: a push and a pull request are two words on it.
pub(crate) fn context(event: &Event) -> &'static str {
    match event {
        Event::PullRequest { .. } => "ocelot/pull-request",
        Event::Tag { .. } | Event::Manual { tag: Some(_), .. } => "ocelot/tag",
        Event::Push { .. }
        | Event::Schedule { .. }
        | Event::Upstream { .. }
        | Event::Manual { tag: None, .. } => "ocelot/push",
    }
}

/// An entry as the view has it.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) key: String,
    pub(crate) revision: Revision,
    pub(crate) entry: OutboxEntry,
}

impl Service {
    /// Returns what is owed when a run is accepted.
    pub(super) fn owed_at_acceptance(&self, run: &RunRecord) -> Txn {
        let wanted = match run.stage {
            Stage::Expanding | Stage::Active => Wanted::Pending,
            Stage::Finished { outcome, .. } => Wanted::Ended { outcome, is_fixed: false },
        };
        self.owed_to_forge(run, wanted)
    }

    /// Returns what is owed when a run ends.
    pub(crate) fn owed_at_end(&self, run: &RunRecord, plan: &Plan, outcome: RunOutcome) -> Txn {
        // Only people are told of it, and to find it out costs a look at many runs.
        let is_told = run.is_trusted() && !plan.notify.is_empty();
        let is_fixed = is_told && outcome == RunOutcome::Succeeded && self.had_failed_before(run);
        let wanted = Wanted::Ended { outcome, is_fixed };
        let status = self.owed_to_forge(run, wanted);
        if !run.is_trusted() {
            return status;
        }
        let wants = |notify: &&Notify| notify.on.iter().any(|on| is_wanted(*on, outcome, is_fixed));
        let names: BTreeSet<&String> = plan.notify.iter().filter(wants).map(|notify| &notify.to).collect();
        names
            .into_iter()
            .fold(status, |txn, name| txn.and(self.owed(run, OutboxTarget::Notify(name.clone()), wanted)))
    }

    fn owed_to_forge(&self, run: &RunRecord, wanted: Wanted) -> Txn {
        let (Subject::Project { name }, Some(_)) = (&run.subject, &run.source) else { return Txn::new() };
        let project = name.parse().ok().and_then(|name: ProjectName| self.sight_of_project(&name));
        let link = project.filter(|project| project.forge_secret.is_some()).and_then(|project| project.forge);
        match link {
            Some(link) => self.owed(run, OutboxTarget::Status(link.kind), wanted),
            None => Txn::new(),
        }
    }

    fn owed(&self, run: &RunRecord, target: OutboxTarget, wanted: Wanted) -> Txn {
        let key = Key::Outbox { run: run.id, target: target.key() };
        let entry = OutboxEntry {
            run: run.id,
            subject: run.subject.name().to_owned(),
            target,
            wanted,
            number: wanted.number(),
            owed_at: self.timestamp(),
            step: OutboxStep::owed(),
        };
        Txn::new().put(key, encode(&entry, None))
    }

    /// Tells whether the run before this one, of the same branch, did not succeed.
    fn had_failed_before(&self, run: &RunRecord) -> bool {
        // A pull request has the branch that it goes to, and is not on it.
        let branch = |run: &RunRecord| {
            let event = run.source.as_ref().map(|source| &source.event)?;
            Some((event.branch().map(str::to_owned), event.pull_request()))
        };
        let ours = branch(run);
        self.view.read(|items| {
            let folder = Folder::Runs.to_string();
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let before = items.filter_map(|(_, entry)| entry.known()?.run()).filter(|other| {
                other.number < run.number
                    && other.subject.name() == run.subject.name()
                    && branch(other) == ours
            });
            let spoke = before.filter_map(|other| match other.stage {
                Stage::Finished { outcome, .. } if is_good(outcome) || is_bad(outcome) => {
                    Some((other.number, outcome))
                }
                Stage::Finished { .. } | Stage::Expanding | Stage::Active => None,
            });
            spoke.max_by_key(|(number, _)| *number).is_some_and(|(_, outcome)| is_bad(outcome))
        })
    }

    /// Tells whether a newer run speaks under the same context of the same commit.
    pub(crate) fn is_spoken_over(&self, run: &RunRecord) -> bool {
        let Some(source) = &run.source else { return false };
        self.view.read(|items| {
            let folder = Folder::Runs.to_string();
            let mut items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            items.any(|(_, entry)| {
                let Some(other) = entry.known().and_then(|stored| stored.run()) else { return false };
                let is_same = other.source.as_ref().is_some_and(|theirs| {
                    theirs.commit == source.commit && context(&theirs.event) == context(&source.event)
                });
                is_same && other.number > run.number && other.subject.name() == run.subject.name()
            })
        })
    }

    /// Returns everything in the outbox, as the view has it.
    pub(crate) fn outbox(&self) -> Vec<Owed> {
        let folder = Folder::Outbox.to_string();
        self.view.read(|items| {
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            let owed = items.filter_map(|(key, item)| {
                let entry = item.known()?.outbox()?.clone();
                Some(Owed { key: key.clone(), revision: item.mod_revision, entry })
            });
            owed.collect()
        })
    }

    /// Returns why a project's newest word to its forge was not told.
    pub(crate) fn word_back_trouble(&self, project: &ProjectName) -> Option<String> {
        let owed = self.outbox().into_iter().filter(|owed| owed.entry.subject == project.as_str());
        let troubled = owed.filter(|owed| owed.entry.step.trouble().is_some());
        let newest = troubled.max_by_key(|owed| owed.revision)?;
        let why = newest.entry.step.trouble()?.to_owned();
        Some(match &newest.entry.target {
            OutboxTarget::Status(_) => format!("a commit's status could not be set: {why}"),
            OutboxTarget::Notify(name) => format!("{name} could not be notified: {why}"),
        })
    }

    /// Returns where people see a run.
    pub(crate) fn run_url(&self, run: RunId) -> String {
        format!("{}/runs/{run}", self.url.get().map(String::as_str).unwrap_or_default())
    }

    /// Returns this controller's name, under which it claims.
    pub(crate) fn own_name(&self) -> &str {
        &self.name
    }

    /// Returns the time of day in Unix seconds, for what leaves the system.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.parts.clock.wall().0 / 1_000_000
    }

    /// Returns a number from 0 to 1 that spreads what many do at once.
    pub(crate) fn spread(&self) -> f64 {
        (self.parts.chance.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Tells whether the view has been read at all.
    pub(crate) fn has_view(&self) -> bool {
        self.view.applied() > Revision::default()
    }
}

fn is_good(outcome: RunOutcome) -> bool {
    matches!(outcome, RunOutcome::Succeeded)
}

fn is_bad(outcome: RunOutcome) -> bool {
    match outcome {
        RunOutcome::Rejected | RunOutcome::Lost | RunOutcome::TimedOut | RunOutcome::Failed => true,
        RunOutcome::Cancelled | RunOutcome::Succeeded | RunOutcome::Skipped => false,
    }
}

fn is_wanted(on: NotifyOn, outcome: RunOutcome, is_fixed: bool) -> bool {
    match on {
        NotifyOn::Always => true,
        NotifyOn::Success => is_good(outcome),
        NotifyOn::Failure => is_bad(outcome),
        NotifyOn::Fixed => is_fixed,
    }
}
