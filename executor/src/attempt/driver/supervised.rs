//! While the container is up: its supervisor's notices in, stages, beats and cancels out, through any
//! break of the connection.

use std::time::Duration;

use ocelot_core::frame::Offset;
use ocelot_core::plan::Keep;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire::held::Phase as WirePhase;
use ocelot_supervisor::protocol::{Moment, Notice, Request, StageEnd as Ended, State as Seen};

use super::{Done, Driver, LogPlace, Sealing, Up, pace};
use crate::attempt::files::identity;
use crate::attempt::link::{Heard, Link, LinkError};
use crate::attempt::order::{Ground, millis, order};
use crate::attempt::progress::judged;
use crate::attempt::secrets::Unplaced;
use crate::attempt::state::{BootTime, Cause, Event, Gone};
use crate::runtime::{RuntimeError, Standing};

/// With so little of the guard left, someone is asked to vouch at once.
const GUARD_LOW: Duration = Duration::from_secs(20);
/// A supervisor answers at once, or it is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A supervisor whose clock differs by more stands in a time of its own.
const CLOCKS_APART_MAX_MS: u64 = 5_000;

impl Driver {
    pub(super) fn launched(&mut self, up: Up) {
        self.starting = None;
        if std::mem::take(&mut self.kill_waits) {
            self.container = Some(up.container);
            return self.take_away(true);
        }
        let now = self.shared.boot.now();
        self.shared.ready.learn(&self.shared, &self.plan, &self.launch(BootTime(0)));
        self.told.up(self.shared.clock.wall().0);
        self.dirty = true;
        self.task_deadline = Some(Moment(now.0).after(millis(self.plan.limits.timeout)));
        self.show(WirePhase::Running);
        let container = up.container.clone();
        self.container = Some(up.container);
        self.setup.know_container(&container);
        self.given = up.given;
        if let LogPlace::Ready(log) = &self.log {
            log.follow(&self.places.control());
        }
        match up.link {
            Some((link, seen)) => self.link_up(link, seen),
            None => self.link_lost(),
        }
        self.event(Event::Launched(container));
    }

    pub(super) fn not_launched(&mut self, cause: Cause) {
        self.starting = None;
        if std::mem::take(&mut self.kill_waits) {
            return self.take_away(true);
        }
        self.event(Event::NotLaunched(cause));
    }

    pub(super) fn run_stage(&mut self, index: u16) {
        if self.fetching_again {
            self.stage_waits = Some(index);
            return;
        }
        let workspace = self.runtime.as_ref().map(|runtime| runtime.workspace(&self.launch(BootTime(0))));
        let now = Moment(self.shared.boot.now().0);
        let deadline = *self.task_deadline.get_or_insert(now.after(millis(self.plan.limits.timeout)));
        let place = self.secret_place();
        let ground = Ground {
            offered: &self.offered,
            secrets: &self.secrets,
            place: &place,
            workspace: &workspace.unwrap_or_else(|| self.places.workspace()),
            given: &self.given,
            deadline,
        };
        let order = order(&self.plan, index, &ground);
        let user = order.as_ref().and_then(|order| order.user.as_deref());
        // A few small files in memory.
        if let Err(error) = self.secrets.open_for(&self.plan, index, user, &place) {
            let why = format!("the files of secrets cannot be written: {error}");
            return self.event(Event::ContainerGone(match error {
                Unplaced::Blocked { .. } => Gone::Blocked { why },
                Unplaced::Io(_) => Gone::Died { why },
            }));
        }
        self.wants.order = order;
        self.ordered = false;
        self.pump();
    }

    pub(super) fn cancel_stage(&mut self, index: u16) {
        self.wants.cancel = Some(index);
        let grace_ms = millis(self.plan.limits.grace);
        self.send(&Request::Cancel { through: index, grace_ms });
        chaos::point("cancel.passed_on");
    }

    /// Returns how long until the guard is low, unless someone was asked to vouch already.
    pub(super) fn guard_low_in(&self) -> Option<Duration> {
        let deadline = self.deadline.filter(|deadline| self.asked_for != Some(*deadline))?;
        let left = deadline.0.saturating_sub(self.shared.boot.now().0);
        Some(Duration::from_millis(left).saturating_sub(GUARD_LOW))
    }

    pub(super) fn set_guard(&mut self, deadline: BootTime) {
        let deadline = match chaos::bug("guard.never_ends") {
            true => BootTime(u64::MAX / 2),
            false => deadline,
        };
        self.deadline = Some(deadline);
        self.setup.vouch(deadline);
        if self.assigned {
            self.send(&Request::Beat { deadline: Moment(deadline.0) });
        } else {
            self.pump();
        }
    }

    /// Sends what the supervisor has not been told on this connection.
    fn pump(&mut self) {
        let Some(deadline) = self.deadline.filter(|_| self.link.is_some()) else { return };
        if !self.assigned {
            self.assigned = true;
            let identity = identity(self.id);
            self.send(&Request::Assign { identity, deadline: Moment(deadline.0) });
            if let Some(through) = self.wants.cancel {
                let grace_ms = millis(self.plan.limits.grace);
                self.send(&Request::Cancel { through, grace_ms });
            }
        }
        if !self.ordered
            && let Some(order) = self.wants.order.clone()
        {
            self.ordered = true;
            self.send(&Request::RunStage(Box::new(order)));
            chaos::point("stage.ordered");
        }
    }

    pub(super) fn send(&mut self, request: &Request) {
        let Some(link) = &mut self.link else { return };
        if let Err(error) = link.send(request) {
            self.broken(&error);
        }
    }

    /// Takes a new connection, and what the supervisor says of itself.
    pub(super) fn link_up(&mut self, link: Link, seen: Seen) {
        let apart = seen.now.0.abs_diff(self.shared.boot.now().0);
        if apart > CLOCKS_APART_MAX_MS {
            let why = format!("its guard cannot be trusted: the container's clock differs by {apart} ms");
            return self.event(Event::ContainerGone(Gone::Died { why }));
        }
        self.link = Some(link);
        self.assigned = false;
        self.ordered = false;
        if let Some(running) = &seen.running {
            let clocks = self.clocks();
            self.told.began(running.stage, running.since, clocks);
            // It was ordered before the break.
            self.ordered = self.wants.order.as_ref().is_some_and(|order| order.stage == running.stage);
        }
        self.grown(seen.capture.end);
        self.pump();
        for end in &seen.ended {
            self.stage_ended(end);
        }
        if self.sealing == Sealing::Sweeping {
            self.sweep();
        }
    }

    pub(super) fn hear(&mut self, heard: Result<Heard, LinkError>) {
        match heard {
            Ok(Heard::Notice(notice)) => self.notice(notice),
            Ok(Heard::Refused { request, refusal }) => {
                tracing::warn!(attempt = %self.id, request, %refusal, "the supervisor refused");
                if request == "assign" || request == "run" {
                    let why = format!("the supervisor refused to {request}: {refusal}");
                    self.event(Event::ContainerGone(Gone::Died { why }));
                }
            }
            Err(error) => self.broken(&error),
        }
    }

    fn notice(&mut self, notice: Notice) {
        // Only one that goes on speaking is whole: the next break is looked at without a wait.
        self.breaks = 0;
        match notice {
            Notice::State(_) | Notice::Done => {}
            Notice::Started { stage } => {
                let clocks = self.clocks();
                self.told.began(stage, Moment(clocks.boot.0), clocks);
                self.dirty = true;
            }
            Notice::Ended(end) => self.stage_ended(&end),
            Notice::Swept if self.sealing == Sealing::Sweeping => {
                self.task_swept = true;
                self.part_swept();
            }
            Notice::Swept => {}
            Notice::Capture(state) => self.grown(state.end),
            Notice::Refused(_) => {}
        }
    }

    fn stage_ended(&mut self, seen: &Ended) {
        let end = judged(seen, self.plan.resources.memory_bytes);
        let clocks = self.clocks();
        self.told.ended(seen, end, clocks);
        self.dirty = true;
        if self.wants.order.as_ref().is_some_and(|order| order.stage == seen.stage) {
            self.wants.order = None;
        }
        if self.wants.cancel == Some(seen.stage) {
            self.wants.cancel = None;
        }
        self.close_secrets(Some(seen.stage));
        self.event(Event::StageEnded { index: seen.stage, end });
    }

    fn grown(&mut self, end: Offset) {
        self.captured = self.captured.max(end);
        if let LogPlace::Ready(log) = &self.log {
            log.captured(end);
        }
    }

    fn broken(&mut self, error: &LinkError) {
        tracing::debug!(attempt = %self.id, error = %chain(error), "the supervisor's connection broke");
        self.link = None;
        self.assigned = false;
        self.link_lost();
    }

    /// Looks at the container, which may have ended.
    fn link_lost(&mut self) {
        let (Some(runtime), Some(container)) = (self.runtime.clone(), self.container.clone()) else { return };
        let shared = self.shared.clone();
        self.breaks += 1;
        let breaks = self.breaks - 1;
        self.work(async move {
            shared.wait(pace(Duration::from_millis(10), Duration::from_secs(2)), breaks).await;
            Done::Looked(runtime.inspect(&container).await)
        });
    }

    pub(super) fn looked(&mut self, looked: Result<Standing, RuntimeError>) {
        match looked {
            Ok(standing) => match standing.gone() {
                None => self.connect(),
                Some(gone) => self.gone(gone),
            },
            Err(error) => {
                tracing::warn!(attempt = %self.id, error = %chain(&error), "the container cannot be looked at");
                self.shared.runtimes.suspect();
                self.link_lost();
            }
        }
    }

    fn gone(&mut self, gone: Gone) {
        // A container that was taken away on purpose is no news to anyone.
        let known = self.container.take().is_some();
        self.task_swept = true;
        self.part_swept();
        if known {
            self.event(Event::ContainerGone(gone));
        }
    }

    fn connect(&mut self) {
        let Some(container) = self.container.clone() else { return };
        let given = self.given.clone();
        self.work(async move {
            let link = tokio::time::timeout(CONNECT, Link::connect(&container.control)).await;
            let link = link.unwrap_or(Err(LinkError::Silent));
            Done::Linked(link.map(|link| Box::new(Up { container, given, link: Some(link) })))
        });
    }

    pub(super) fn linked(&mut self, linked: Result<Box<Up>, LinkError>) {
        // What came too late for a container that is being taken away.
        if self.container.is_none() {
            return;
        }
        match linked.map(|up| up.link) {
            Ok(Some((link, seen))) => self.link_up(link, seen),
            Ok(None) => self.link_lost(),
            Err(error) => {
                tracing::debug!(attempt = %self.id, error = %chain(&error), "the supervisor cannot be reached");
                self.link_lost();
            }
        }
    }

    /// Ends what stages left running, so that the capture is at its end. The supervisor stays, and
    /// knows what it saw, until the result is durable.
    pub(super) fn sweep(&mut self) {
        let grace_ms = millis(self.plan.limits.grace);
        self.pump();
        self.send(&Request::Cancel { through: u16::MAX, grace_ms });
    }

    pub(super) fn keeps_container(&self, keep: bool) -> bool {
        keep && self.plan.keep == Keep::OnFailure
    }
}
