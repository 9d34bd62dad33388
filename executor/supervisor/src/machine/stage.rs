//! One stage from its start to its end.
//!
//! It ends in three steps: its process has ended, nothing that was asked to stop is still within its
//! grace, and what it had written is in the capture. Only then may anybody hear of the end.

use ocelot_core::frame::Exit;

use super::Signal;
use crate::protocol::{Leftovers, Moment, Notice, Outcome, Running, StageEnd, StageOrder, Stop, Usage};

/// How the stage's own process ended.
pub(super) type Death = (Exit, Usage, Option<u64>);

#[derive(Debug)]
pub(super) struct Stage {
    index: u16,
    leftovers: Leftovers,
    grace_ms: u64,
    since: Moment,
    timeout_at: Option<Moment>,
    task_deadline: Option<Moment>,
    quiet_ms: Option<u64>,
    heard_at: Moment,
    /// Its process and process group; none until it is started.
    pid: Option<i32>,
    phase: Phase,
    stop: Option<Stop>,
    death: Option<Death>,
    drain: Drain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Its group was asked to end and has until then.
    Asked {
        kill_at: Moment,
    },
    /// Everything is being ended; the sweep says when it is over.
    Swept,
    /// Nothing but its own process is waited for.
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    NotYet,
    Begun,
    Over,
}

impl Stage {
    pub(super) fn new(order: &StageOrder, now: Moment) -> Self {
        Self {
            index: order.stage,
            leftovers: order.leftovers,
            grace_ms: order.grace_ms,
            since: now,
            timeout_at: order.timeout_ms.map(|ms| now.after(ms)),
            task_deadline: order.task_deadline,
            quiet_ms: order.quiet_timeout_ms,
            heard_at: now,
            pid: None,
            phase: Phase::Running,
            stop: None,
            death: None,
            drain: Drain::NotYet,
        }
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn grace_ms(&self) -> u64 {
        self.grace_ms
    }

    pub(super) fn running(&self) -> Running {
        Running { stage: self.index, since: self.since, stopped: self.stop }
    }

    /// Returns the group whose emptiness must be reported.
    pub(super) fn awaits(&self) -> Option<i32> {
        let asked = matches!(self.phase, Phase::Asked { .. });
        self.pid.filter(|_| asked && self.death.is_some())
    }

    pub(super) fn next_deadline(&self, held: bool) -> Option<Moment> {
        match self.phase {
            Phase::Running => {
                let quiet = self.quiet_at().filter(|_| !held);
                [self.timeout_at, self.task_deadline, quiet].into_iter().flatten().min()
            }
            Phase::Asked { kill_at } => Some(kill_at),
            Phase::Swept | Phase::Killed => None,
        }
        .filter(|_| self.death.is_none() || self.awaits().is_some())
    }

    pub(super) fn spawned(&mut self, pid: i32) -> Notice {
        self.pid = Some(pid);
        Notice::Started { stage: self.index }
    }

    pub(super) fn not_started(self, why: String, now: Moment) -> StageEnd {
        StageEnd {
            stage: self.index,
            outcome: Outcome::NotStarted(why),
            stopped: self.stop,
            since: self.since,
            until: now,
            usage: Usage::default(),
            oom_kills: None,
        }
    }

    pub(super) fn heard(&mut self, now: Moment) {
        self.heard_at = now;
    }

    /// Returns the group to kill when this process, still a zombie, is the stage's own.
    pub(super) fn dooms_group(&self, pid: i32) -> Option<i32> {
        let kills = self.phase == Phase::Running && self.leftovers == Leftovers::Kill;
        self.pid.filter(|own| kills && *own == pid)
    }

    pub(super) fn exited(&mut self, pid: i32, death: Death) {
        if self.pid == Some(pid) {
            self.death = Some(death);
        }
    }

    /// Gives the first reason to stop; a later, harsher way still counts.
    pub(super) fn stop(&mut self, stop: Stop, phase: Phase) {
        // One that ended by itself did so, even if its last words are not read yet.
        if self.death.is_none() {
            self.stop.get_or_insert(stop);
        }
        self.phase = phase;
    }

    pub(super) fn gone(&mut self) {
        if self.phase != Phase::Running {
            self.phase = Phase::Killed;
        }
    }

    /// Returns the signal that is due to its group.
    pub(super) fn pass_time(&mut self, now: Moment, held: bool) -> Option<(i32, Signal)> {
        let group = self.pid?;
        match self.phase {
            Phase::Running if self.death.is_none() => {
                let stop = self.overdue(now, held)?;
                self.stop(stop, Phase::Asked { kill_at: now.after(self.grace_ms) });
                Some((group, Signal::Terminate))
            }
            Phase::Asked { kill_at } if now >= kill_at => {
                self.phase = Phase::Killed;
                Some((group, Signal::Kill))
            }
            Phase::Running | Phase::Asked { .. } | Phase::Swept | Phase::Killed => None,
        }
    }

    fn overdue(&self, now: Moment, held: bool) -> Option<Stop> {
        let over = |at: Option<Moment>| at.is_some_and(|at| now >= at);
        if over(self.timeout_at) {
            return Some(Stop::Timeout);
        }
        if over(self.task_deadline) {
            return Some(Stop::TaskTimeout);
        }
        (!held && over(self.quiet_at())).then_some(Stop::QuietTimeout)
    }

    fn quiet_at(&self) -> Option<Moment> {
        self.quiet_ms.map(|ms| self.heard_at.after(ms))
    }

    /// Returns true once: when nothing that may still write belongs to the stage.
    pub(super) fn begins_drain(&mut self) -> bool {
        let over = matches!(self.phase, Phase::Running | Phase::Killed) && self.death.is_some();
        let begins = over && self.drain == Drain::NotYet;
        if begins {
            self.drain = Drain::Begun;
        }
        begins
    }

    pub(super) fn drained(&mut self) {
        if self.drain == Drain::Begun {
            self.drain = Drain::Over;
        }
    }

    /// Returns the stage's end once it is reached.
    pub(super) fn end(&self, now: Moment) -> Option<StageEnd> {
        let over = self.drain == Drain::Over && matches!(self.phase, Phase::Running | Phase::Killed);
        let (exit, usage, oom_kills) = self.death.filter(|_| over)?;
        Some(StageEnd {
            stage: self.index,
            outcome: Outcome::Ended(exit),
            stopped: self.stop,
            since: self.since,
            until: now,
            usage,
            oom_kills,
        })
    }
}
