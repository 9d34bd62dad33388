//! What an executor says about one attempt: taken, handed back, its kill confirmed.

use ocelot_domain::task::Step;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::{JournalSequence, Session, Task};
use ocelot_proto::kit::chaos;

use super::error::Result;
use super::facts::Facts;
use super::{AttemptRef, Service};

impl Service {
    /// Takes an offer. Only after this may anything of the attempt start.
    pub async fn acknowledge(
        &self,
        session: Session,
        attempt: AttemptRef,
        sequence: JournalSequence,
    ) -> Result<()> {
        let claim = attempt.claim(session);
        let asked = self.now();
        chaos::point("acknowledge.before_commit");
        let event = Event::Acknowledged { claim, sequence };
        let begun = |_: &Facts, before: &Task, step: &Step| Ok(self.begun(session, attempt, step, before));
        let done = self.transition_with(attempt.task, event, begun).await;
        if !chaos::bug("acknowledge.ignores_record") && done?.written.is_some() {
            self.memory().acknowledged(attempt, session.id, asked);
        }
        chaos::point("acknowledge.committed");
        self.memory().delivered.remove(&attempt);
        Ok(())
    }

    /// Returns whether it is known without a read that the attempt is this session's.
    pub(super) fn has_just_acknowledged(&self, session: Session, attempt: &AttemptRef) -> bool {
        self.memory().was_just_acknowledged(attempt, &session.id, self.now())
    }

    /// Hands an offer back. A repeat finds the task queued or offered anew, and changes nothing.
    pub async fn decline(&self, session: Session, attempt: AttemptRef, why: &str) -> Result<()> {
        let claim = attempt.claim(session);
        let waited = self.seen_for(attempt).await?;
        self.transition(attempt.task, Event::Declined { claim, waited }).await?;
        tracing::info!(task.id = %attempt.task, executor.id = %session.executor, why, "declined");
        self.memory().delivered.remove(&attempt);
        Ok(())
    }

    /// Notes that a fenced attempt's processes are gone.
    pub fn confirm_fenced(&self, session: Session, attempt: AttemptRef) {
        self.memory().confirmed(&session.executor, &attempt);
        self.waiters.look_at(&session.id);
        self.bell.notify_one();
    }

    async fn seen_for(&self, attempt: AttemptRef) -> Result<std::time::Duration> {
        let now = self.now();
        let key = crate::store::keys::Key::Task(attempt.task).to_string();
        let revision = self.view.get(&key).map(|entry| entry.mod_revision);
        Ok(revision.map_or(std::time::Duration::ZERO, |revision| {
            self.board().seen_for(&attempt.task, revision, now)
        }))
    }
}
