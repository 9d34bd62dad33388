//! Open polls: one per session, woken when there is something to say.
//!
//! A higher poll number voids an older one, and an older one never opens beside it. Waking is a
//! hint: whoever is woken computes the answer from the records. Bounded by the number of sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use ocelot_core::id::{ExecutorId, SessionId};
use ocelot_domain::task::Session;

/// All polls that hang at this controller.
#[derive(Debug, Default)]
pub struct Waiters {
    polls: Mutex<Polls>,
}

#[derive(Debug, Default)]
struct Polls {
    open: BTreeMap<SessionId, Hanging>,
    /// Those that were opened since offers were sought.
    fresh: BTreeSet<SessionId>,
}

#[derive(Debug)]
struct Hanging {
    session: Session,
    number: u64,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    news: Notify,
    voided: AtomicBool,
    /// It waits, and no wake is on its way.
    asleep: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        self.asleep.store(false, Ordering::Release);
        self.news.notify_one();
    }
}

/// One open poll. Dropping it closes it.
#[derive(Debug)]
pub struct OpenPoll {
    waiters: Arc<Waiters>,
    session: SessionId,
    number: u64,
    bell: Arc<Bell>,
}

impl Waiters {
    /// Opens a poll; none if one with a higher number is open.
    pub fn open(self: &Arc<Self>, session: Session, number: u64) -> Option<OpenPoll> {
        let mut polls = self.lock();
        if let Some(older) = polls.open.get(&session.id) {
            if older.number > number {
                return None;
            }
            older.bell.voided.store(true, Ordering::Release);
            older.bell.ring();
        }
        let bell = Arc::new(Bell::default());
        polls.open.insert(session.id, Hanging { session, number, bell: Arc::clone(&bell) });
        polls.fresh.insert(session.id);
        drop(polls);
        Some(OpenPoll { waiters: Arc::clone(self), session: session.id, number, bell })
    }

    /// Lets the session's open poll look again.
    pub fn wake(&self, session: &SessionId) {
        if let Some(hanging) = self.lock().open.get(session) {
            hanging.bell.ring();
        }
    }

    pub fn wake_executor(&self, executor: &ExecutorId) {
        for hanging in self.lock().open.values().filter(|hanging| hanging.session.executor == *executor) {
            hanging.bell.ring();
        }
    }

    /// Returns the sessions whose polls are open.
    pub fn polling(&self) -> Vec<Session> {
        self.lock().open.values().map(|hanging| hanging.session).collect()
    }

    /// Returns those of these sessions whose polls are open, and all whose polls were opened since this
    /// was asked before.
    pub fn polling_anew(&self, sessions: impl Iterator<Item = SessionId>) -> Vec<Session> {
        let mut polls = self.lock();
        let mut wanted = std::mem::take(&mut polls.fresh);
        wanted.extend(sessions);
        wanted.iter().filter_map(|id| polls.open.get(id)).map(|hanging| hanging.session).collect()
    }

    /// Lets the session's poll count as opened anew: it may take work that it could not.
    pub fn look_at(&self, session: &SessionId) {
        self.lock().fresh.insert(*session);
    }

    /// Returns whether the session's open poll has found nothing to say and waits.
    #[cfg(any(test, feature = "test-util"))]
    pub fn is_asleep(&self, session: &SessionId) -> bool {
        self.lock().open.get(session).is_some_and(|hanging| hanging.bell.asleep.load(Ordering::Acquire))
    }

    fn lock(&self) -> MutexGuard<'_, Polls> {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenPoll {
    /// Waits until the poll is woken; once for all wakes since the last time. Cancel-safe.
    pub async fn woken(&self) {
        self.bell.asleep.store(true, Ordering::Release);
        self.bell.news.notified().await;
        self.bell.asleep.store(false, Ordering::Release);
    }

    /// Returns whether a newer poll took this one's place.
    pub fn is_voided(&self) -> bool {
        self.bell.voided.load(Ordering::Acquire)
    }
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        let mut polls = self.waiters.lock();
        if polls.open.get(&self.session).is_some_and(|hanging| Arc::ptr_eq(&hanging.bell, &self.bell)) {
            polls.open.remove(&self.session);
            polls.fresh.remove(&self.session);
        }
        drop(polls);
        tracing::trace!(poll = self.number, "a poll is closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelot_core::id::Incarnation;

    fn session() -> Session {
        Session {
            id: SessionId::from_bytes([1; 16]),
            executor: ExecutorId::from_bytes([2; 16]),
            incarnation: Incarnation(1),
        }
    }

    #[tokio::test]
    async fn a_higher_number_voids_an_older_poll_and_a_lower_one_does_not_open() {
        let waiters = Arc::new(Waiters::default());
        let first = waiters.open(session(), 1).unwrap();
        let second = waiters.open(session(), 2).unwrap();
        first.woken().await;
        assert!(first.is_voided() && !second.is_voided());
        assert!(waiters.open(session(), 1).is_none());
        drop(first);
        assert_eq!(waiters.polling(), [session()]);
        drop(second);
        assert_eq!(waiters.polling(), []);
    }

    #[test]
    fn a_poll_is_new_once_and_again_when_it_is_asked_for() {
        let waiters = Arc::new(Waiters::default());
        let nobody = std::iter::empty;
        let poll = waiters.open(session(), 1).unwrap();
        assert_eq!(waiters.polling_anew(nobody()), [session()]);
        assert_eq!(waiters.polling_anew(nobody()), []);
        assert_eq!(waiters.polling_anew(std::iter::once(session().id)), [session()]);
        waiters.look_at(&session().id);
        assert_eq!(waiters.polling_anew(nobody()), [session()]);
        drop(poll);
        assert_eq!(waiters.polling_anew(std::iter::once(session().id)), []);
    }

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let waiters = Arc::new(Waiters::default());
        let poll = waiters.open(session(), 1).unwrap();
        waiters.wake(&session().id);
        poll.woken().await;
        assert!(!poll.is_voided());
    }
}
