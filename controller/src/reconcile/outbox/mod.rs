//! The outbox: what somebody outside is owed, told at least once, the newest state last.
//!
//! An entry is claimed, told, and then deleted by comparing the very version that was told: a crash
//! between tells it again, and a state that is newer meanwhile stays owed. Whoever finds that the
//! state changed while it was telling tells the newest again, so that an old word on a slow way is
//! not the last one. A forge that is down is waited for by itself; no run fails because of it.

mod pace;
mod targets;
mod tell;
#[cfg(test)]
mod tests;
mod words;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::note;
use crate::egress::Egress;
use crate::records::{OutboxStep, OutboxTarget, ProjectName};
use crate::service::{Owed, Service};
use crate::store::keys::{Folder, Key};
use crate::store::view::Changed;
use crate::store::{Expected, Txn};

pub use targets::{Channel, Targets};

use pace::{Pace, Seen};
use tell::tell;

/// How often waits that are over are looked for.
const TICK: Duration = Duration::from_millis(250);
/// How often what was given up is looked at, to be forgotten with its run.
const SWEEP: Duration = Duration::from_secs(30);

/// Where words go that do not go to a forge.
#[derive(Debug, Clone)]
pub struct Outside {
    pub egress: Arc<Egress>,
    pub targets: Targets,
}

/// Tells whatever is owed until it is dropped. A telling that is dropped is told again.
pub async fn follow(service: &Service, outside: &Outside) {
    service.view.loaded().await;
    let (mut changes, mut pace) = (service.view.changes(), Pace::default());
    let mut telling = FuturesUnordered::new();
    let folder = Folder::Outbox.to_string();
    let mut sweep = service.now() + SWEEP;
    loop {
        for seen in pace.due(seen(service), service.own_name(), service.now()) {
            telling.push(tell(service, outside, seen));
        }
        let mut tick = pin!(service.sleep(TICK));
        // All are cancel-safe.
        loop {
            tokio::select! {
                biased;
                Some(told) = telling.next(), if !telling.is_empty() => {
                    pace.done(told, service.now(), service.spread());
                    break;
                }
                changed = changes.next() => match changed {
                    Changed::Keys(keys) if !keys.iter().any(|key| key.starts_with(&folder)) => {}
                    Changed::Keys(_) | Changed::Everything => break,
                },
                () = &mut tick => break,
            }
        }
        if service.now() >= sweep {
            sweep = service.now() + SWEEP;
            note("outbox", forget(service).await);
        }
    }
}

/// Tells once what is owed and due; returns how much was looked at.
#[cfg(test)]
async fn once(service: &Service, outside: &Outside, pace: &mut Pace) -> usize {
    let due = pace.due(seen(service), service.own_name(), service.now());
    let count = due.len();
    let mut telling: FuturesUnordered<_> = due.into_iter().map(|seen| tell(service, outside, seen)).collect();
    while let Some(told) = telling.next().await {
        pace.done(told, service.now(), service.spread());
    }
    count
}

/// Returns what is owed, each with whom it waits for.
fn seen(service: &Service) -> Vec<Seen> {
    let seen = |owed: Owed| {
        let host = match &owed.entry.target {
            OutboxTarget::Notify(name) => format!("notify:{name}"),
            OutboxTarget::Status(_) => host_of(service, &owed.entry.subject).unwrap_or_default(),
        };
        Seen { owed, host }
    };
    service.outbox().into_iter().map(seen).collect()
}

fn host_of(service: &Service, project: &str) -> Option<String> {
    let project = service.sight_of_project(&project.parse::<ProjectName>().ok()?)?;
    let home = service.forge_line().ok()?.home(&project.url, project.forge.as_ref()?).ok()?;
    Some(home.host().to_owned())
}

/// Forgets what was given up together with its run.
async fn forget(service: &Service) -> crate::service::Result<()> {
    for owed in service.outbox() {
        let is_given_up = matches!(owed.entry.step, OutboxStep::GivenUp { .. });
        if is_given_up && service.view.get(&Key::Run(owed.entry.run).to_string()).is_none() {
            let txn = Txn::new().when(owed.key.as_str(), Expected::At(owed.revision)).delete(owed.key);
            service.commit_duty(txn).await?;
        }
    }
    Ok(())
}
