//! Sessions that are gone: after a full wait on this controller's clock, what they held is taken.
//!
//! A key that vanished is a suspicion. The wait notes the revision of the executor's epoch, which
//! the taking transaction compares beside the session's absence; grace, which a start, trouble with
//! the store, a sleep or a mass loss gives, begins every wait anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ocelot_core::id::{SessionId, TaskId};
use ocelot_domain::task::event::Event;
use ocelot_domain::task::timing::{GRACE, Revision};
use ocelot_domain::task::{Task, Timing, Wait};

use ocelot_proto::kit::chaos;

use super::or_left;
use crate::service::{Result, Service, told_to};
use crate::store::keys::{Folder, Key};

/// Sessions that vanish within this time count as vanished together.
const TOGETHER: Duration = Duration::from_secs(2);
/// So many of them, and more than three in ten, are not the executors' fault.
const MASS_MIN: usize = 5;
/// A pass that comes so late says that this controller slept, and that nobody could reach it.
const SLEPT: Duration = Duration::from_secs(3);
/// A mass loss gives grace at most so often.
const MASS_EVERY: Duration = Duration::from_secs(60);

/// What this controller has measured of sessions that are gone.
#[derive(Debug)]
pub struct Sessions {
    /// Nothing is taken away before.
    grace_until: Duration,
    waits: BTreeMap<TaskId, Noted>,
    /// The sessions of the pass before.
    known: BTreeSet<SessionId>,
    vanished: Vec<(Duration, SessionId)>,
    /// How many there were before the first of `vanished`.
    before: usize,
    last_mass: Option<Duration>,
    /// When the pass before was over; how long a pass takes is the store's matter.
    looked: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    wait: Wait,
    /// The longest times that its holder may have been told.
    told: Timing,
    epoch: Revision,
    since: Duration,
}

impl Sessions {
    /// Begins with grace: this controller has just started.
    pub fn new(service: &Service) -> Self {
        Self {
            grace_until: service.now() + GRACE,
            waits: BTreeMap::new(),
            known: BTreeSet::new(),
            vanished: Vec::new(),
            before: 0,
            last_mass: None,
            looked: None,
        }
    }

    /// Looks once; returns how many tasks were taken from sessions that are gone.
    pub async fn once(&mut self, service: &Service) -> Result<usize> {
        let now = service.now();
        let slept = self.looked.map(|looked| now.saturating_sub(looked)).filter(|gap| *gap > SLEPT);
        if let Some(slept) = slept {
            tracing::warn!(slept_ms = slept.as_millis(), "this controller has slept: grace");
            self.give_grace(now);
        }
        let looked = self.look(service).await;
        self.looked = Some(service.now());
        if let Err(error) = &looked
            && error.is_retryable()
        {
            // Trouble with the store: what looks gone may only be out of sight.
            self.give_grace(service.now());
        }
        looked
    }

    async fn look(&mut self, service: &Service) -> Result<usize> {
        let now = service.now();
        let present = present(service);
        service.metrics().sessions_vanished(self.note_vanished(&present, now));
        let gone = service.orphans(&present);
        self.waits.retain(|task, _| gone.iter().any(|orphan| orphan.id == *task));
        if now < self.grace_until {
            // The store is asked all the same: only its answer ends the grace.
            service.store.health().await?;
            return Ok(0);
        }
        let mut taken = 0;
        for task in gone {
            taken += usize::from(or_left("sessions", self.consider(service, &task).await)?);
        }
        Ok(taken)
    }

    /// Waits for one task's holder, or takes the task when the wait is over.
    async fn consider(&mut self, service: &Service, task: &Task) -> Result<bool> {
        let noted = self.waits.get(&task.id).copied();
        let noted = noted.filter(|noted| Wait::begin(task, noted.epoch) == Some(noted.wait));
        let Some(noted) = noted else {
            return self.note(service, task).await.map(|()| false);
        };
        let elapsed = match chaos::bug("lost.without_wait") {
            true => Duration::from_secs(24 * 3600),
            false => service.now().saturating_sub(noted.since),
        };
        let timing = service.timing().longest(noted.told);
        let Some(served) = timing.served(noted.wait, elapsed) else { return Ok(false) };
        self.waits.remove(&task.id);
        chaos::point("lost.before_commit");
        let taken = service.let_happen(task.id, Event::SessionGone(served)).await?;
        if taken {
            chaos::point("lost.committed");
            service.metrics().attempt_lost("session_gone");
            tracing::info!(task.id = %task.id, waited_ms = elapsed.as_millis(), "taken from a session that is gone");
        }
        Ok(taken)
    }

    /// Begins a wait, if the session is gone in truth and not only in the view.
    async fn note(&mut self, service: &Service, task: &Task) -> Result<()> {
        self.waits.remove(&task.id);
        let Some(live) = task.live() else { return Ok(()) };
        // First the epoch: one of after the look would hide a return between the two, and a view that is
        // late would let the wait go on through it.
        let epoch = service.read(&Key::ExecutorEpoch(live.session.executor).to_string()).await?;
        if service.read(&Key::Session(live.session.id).to_string()).await?.is_some() {
            return Ok(());
        }
        let told = told_to(epoch.as_ref())?;
        let epoch = Revision(epoch.map_or(0, |item| u64::try_from(item.mod_revision.0).unwrap_or(0)));
        if let Some(wait) = Wait::begin(task, epoch) {
            self.waits.insert(task.id, Noted { wait, told, epoch, since: service.now() });
        }
        Ok(())
    }

    /// Returns how many sessions have vanished since the pass before.
    fn note_vanished(&mut self, present: &BTreeSet<SessionId>, now: Duration) -> usize {
        self.vanished.retain(|(since, _)| now.saturating_sub(*since) <= TOGETHER);
        if self.vanished.is_empty() {
            self.before = self.known.len();
        }
        let since = self.vanished.len();
        self.vanished.extend(self.known.difference(present).map(|session| (now, *session)));
        self.known.clone_from(present);
        let many = self.vanished.len();
        let is_mass = many >= MASS_MIN && many * 10 > self.before * 3;
        let is_due = self.last_mass.is_none_or(|last| now.saturating_sub(last) >= MASS_EVERY);
        if is_mass && is_due {
            tracing::error!(vanished = many, of = self.before, "many sessions vanished at once: grace");
            self.last_mass = Some(now);
            self.give_grace(now);
        }
        many - since
    }

    fn give_grace(&mut self, now: Duration) {
        self.grace_until = now + GRACE;
        self.waits.clear();
    }
}

fn present(service: &Service) -> BTreeSet<SessionId> {
    let folder = Folder::Sessions.to_string();
    service.view.read(|items| {
        let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        items.filter_map(|(_, entry)| Some(entry.known()?.session()?.session.id)).collect()
    })
}
