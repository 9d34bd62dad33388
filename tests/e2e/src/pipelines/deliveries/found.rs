//! What the controllers have of the pushes, beside what they should have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, ensure};
use ocelot_core::id::RunId as Id;
use ocelot_e2e::fleet::Caller;
use ocelot_proto::wire;
use ocelot_proto::wire::project_event::Decision;
use ocelot_proto::wire::trigger::Kind;

use super::pushes::{Project, Push};
use super::sending::Answers;
use super::{PAGE, PROJECTS, events};

/// What the controllers have, beside what it should be.
#[derive(Debug, Default)]
pub(super) struct Found {
    one_run: usize,
    missing: Vec<Push>,
    several: Vec<Push>,
    /// Runs of no push. The first look at a repository builds its default branch.
    uncalled: Vec<String>,
    first_looks: usize,
    /// A look found the push before the webhook told of it.
    by_looks: usize,
    /// Answers that name another run than the push has, or two.
    misnamed: Vec<String>,
    /// Pushes that were news more than once.
    news_twice: usize,
    /// Projects whose runs are not numbered from 1 on.
    misnumbered: Vec<String>,
}

impl Found {
    pub(super) async fn of(
        caller: &Caller,
        projects: &[Project],
        pushes: &[Push],
        answers: &Answers,
    ) -> Result<Self> {
        let mut found = Self::default();
        let mut of_push: BTreeMap<(String, String, String), Vec<wire::RunSummary>> = BTreeMap::new();
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for run in runs(caller).await? {
            let Some(wire::run_summary::Of::Project(project)) = run.of.clone() else { continue };
            numbers.entry(project.clone()).or_default().push(run.number);
            let commit = run.commit.clone().context("a run of a project has a commit")?;
            of_push.entry((project, commit.branch, commit.id)).or_default().push(run);
        }
        let mut decisions = BTreeMap::new();
        for project in projects {
            for event in events(caller, project).await? {
                decisions.insert(shown(&event.id)?, event.decision);
            }
        }
        for (place, push) in pushes.iter().enumerate() {
            let key = (projects[push.project].name.clone(), push.branch.clone(), push.after.clone());
            let runs = of_push.remove(&key).unwrap_or_default();
            match runs.as_slice() {
                [] => found.missing.push(push.clone()),
                [run] => {
                    found.one_run += 1;
                    found.names(place, run, answers, &decisions)?;
                }
                [_, _, ..] => found.several.push(push.clone()),
            }
        }
        for ((project, branch, commit), runs) in of_push {
            match (branch.as_str(), runs.len()) {
                ("main", 1) => found.first_looks += 1,
                _ => found.uncalled.push(format!("{project} {branch} {commit}")),
            }
        }
        for (project, mut numbers) in numbers {
            numbers.sort_unstable();
            if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
                found.misnumbered.push(project);
            }
        }
        found.news_twice = answers.news.values().filter(|news| **news > 1).count();
        Ok(found)
    }

    /// Compares the run of a push with what the answers said of it.
    fn names(
        &mut self,
        place: usize,
        run: &wire::RunSummary,
        answers: &Answers,
        decisions: &BTreeMap<String, Option<Decision>>,
    ) -> Result<()> {
        let own = shown(&run.id)?;
        let named = answers.runs.get(&place).context("every push was told of")?;
        if *named == BTreeSet::from([own.clone()]) {
            return Ok(());
        }
        // Another event has made the run: the one that was answered says so.
        let says_so = |named: &String| match decisions.get(named) {
            Some(Some(Decision::Ignored(why))) => why.contains(&own),
            _ => false,
        };
        let trigger = run.trigger.as_ref().map(|trigger| trigger.kind());
        if named.len() == 1 && named.iter().all(says_so) && trigger == Some(Kind::Poller) {
            self.by_looks += 1;
        } else {
            self.misnamed.push(format!("{own} is named {named:?}"));
        }
        Ok(())
    }

    pub(super) fn judge(&self, pushes: usize) -> Result<()> {
        let wrong = self.missing.len()
            + self.several.len()
            + self.uncalled.len()
            + self.misnamed.len()
            + self.misnumbered.len()
            + self.news_twice;
        ensure!(wrong == 0 && self.one_run == pushes && self.first_looks <= PROJECTS, "{self:#?}");
        Ok(())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pushes have one run, {} none, {} several, {} runs are of no push; {} were found by a look \
             first, {} answers name another run, {} were news twice",
            self.one_run,
            self.missing.len(),
            self.several.len(),
            self.uncalled.len(),
            self.by_looks,
            self.misnamed.len(),
            self.news_twice
        )
    }
}

async fn runs(caller: &Caller) -> Result<Vec<wire::RunSummary>> {
    let mut runs = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListRunsRequest {
            project: "acme/*".to_owned(),
            page_size: PAGE,
            page_token,
            ..wire::ListRunsRequest::default()
        };
        let page = caller.runs().list_runs(request).await?.into_inner();
        runs.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(runs);
        }
    }
}

fn shown(id: &[u8]) -> Result<String> {
    Ok(Id::from_bytes(id.try_into()?).to_string())
}
