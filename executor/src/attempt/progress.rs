//! What has happened in an attempt, told whole each time.

use ocelot_core::frame::Exit;
use ocelot_proto::wire;
use ocelot_supervisor::protocol::{self, StageEnd as Seen, Stop};

use super::state::{BootTime, Limit, StageEnd};

/// The wall clock beside the clock of deadlines, read at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) unix_us: u64,
    pub(super) boot: BootTime,
}

impl Clocks {
    /// Returns what people call a moment of the past.
    fn unix_us_at(self, moment: protocol::Moment) -> i64 {
        let ago_us = self.boot.0.saturating_sub(moment.0).saturating_mul(1_000);
        self.unix_us.saturating_sub(ago_us).try_into().unwrap_or(i64::MAX)
    }
}

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    wire: wire::Progress,
}

impl Told {
    /// Returns it as it is sent; each is newer than the one before.
    pub(super) fn next(&mut self) -> wire::Progress {
        self.wire.sequence += 1;
        self.wire.clone()
    }

    /// Goes on behind what another process may have told: the count follows the clock.
    pub(super) fn resume(&mut self, now: BootTime) {
        self.wire.sequence = self.wire.sequence.max(now.0);
    }

    pub(super) fn preparing(&mut self, what: &str) {
        if self.wire.up_unix_us == 0 {
            what.clone_into(&mut self.wire.preparing);
        }
    }

    pub(super) fn up(&mut self, unix_us: u64) {
        self.wire.up_unix_us = unix_us.try_into().unwrap_or(i64::MAX);
        self.wire.preparing.clear();
    }

    pub(super) fn first_byte(&mut self, unix_us: u64) {
        if self.wire.first_byte_unix_us == 0 {
            self.wire.first_byte_unix_us = unix_us.try_into().unwrap_or(i64::MAX);
        }
    }

    pub(super) fn began(&mut self, stage: u16, since: protocol::Moment, clocks: Clocks) {
        let began = clocks.unix_us_at(since);
        self.wire.preparing.clear();
        if self.wire.up_unix_us == 0 {
            self.wire.up_unix_us = began;
        }
        if self.wire.stages.iter().all(|known| known.index != u32::from(stage)) {
            let stage =
                wire::StageProgress { index: stage.into(), began_unix_us: began, ..Default::default() };
            self.wire.stages.push(stage);
        }
    }

    pub(super) fn ended(&mut self, seen: &Seen, end: StageEnd, clocks: Clocks) {
        self.began(seen.stage, seen.since, clocks);
        let stages = &mut self.wire.stages;
        let Some(stage) = stages.iter_mut().find(|known| known.index == u32::from(seen.stage)) else {
            return;
        };
        // Both by the supervisor's word: when the beginning was heard of is another moment.
        stage.began_unix_us = clocks.unix_us_at(seen.since);
        stage.ended_unix_us = clocks.unix_us_at(seen.until);
        stage.r#use = Some(wire::ResourceUse {
            user_cpu_us: seen.usage.user_us,
            system_cpu_us: seen.usage.system_us,
            max_rss_bytes: seen.usage.resident_bytes_max,
        });
        stage.exit = Some(wire::StageExit { exit: Some(exit(end)) });
    }
}

fn exit(end: StageEnd) -> wire::stage_exit::Exit {
    use wire::stage_exit::Exit as Wire;
    match end {
        StageEnd::Exit(Exit::Code(code)) => Wire::Code(code),
        StageEnd::Exit(Exit::Signal(signal)) => Wire::Signal(signal),
        StageEnd::TimedOut(_) => Wire::TimedOut(true),
        StageEnd::OutOfMemory { limit_bytes } => {
            Wire::OutOfMemory(wire::OutOfMemory { limit_bytes: limit_bytes.unwrap_or(0) })
        }
    }
}

/// What a stage that could not be started is said to have ended with, as its shell would say it.
const NOT_STARTED: Exit = Exit::Code(127);

/// Returns what a supervisor's word means to the attempt.
pub(super) fn judged(seen: &Seen, limit_bytes: Option<u64>) -> StageEnd {
    let exit = match &seen.outcome {
        protocol::Outcome::Ended(exit) => *exit,
        protocol::Outcome::NotStarted(_) => NOT_STARTED,
    };
    match seen.stopped {
        Some(Stop::Timeout) => StageEnd::TimedOut(Limit::Stage),
        Some(Stop::TaskTimeout) => StageEnd::TimedOut(Limit::Run),
        Some(Stop::QuietTimeout) => StageEnd::TimedOut(Limit::Quiet),
        Some(Stop::Cancelled | Stop::Terminated) => StageEnd::Exit(exit),
        // A shell passes on that its child was killed as 128 and the signal's number.
        None if seen.oom_kills.is_some_and(|kills| kills > 0)
            && matches!(exit, Exit::Signal(9) | Exit::Code(137)) =>
        {
            StageEnd::OutOfMemory { limit_bytes }
        }
        None => StageEnd::Exit(exit),
    }
}

#[cfg(test)]
mod tests {
    use ocelot_supervisor::protocol::{Moment, Usage};

    use super::*;

    #[test]
    fn a_stage_took_what_its_supervisor_says_however_late_its_beginning_was_heard() {
        let mut told = Told::default();
        told.began(0, Moment(1_009), Clocks { unix_us: 5_009_700, boot: BootTime(1_009) });
        let outcome = protocol::Outcome::Ended(Exit::Code(0));
        let usage = Usage::default();
        let seen = Seen {
            stage: 0,
            outcome,
            since: Moment(1_002),
            until: Moment(1_010),
            stopped: None,
            oom_kills: None,
            usage,
        };
        told.ended(
            &seen,
            StageEnd::Exit(Exit::Code(0)),
            Clocks { unix_us: 5_011_300, boot: BootTime(1_011) },
        );
        let stage = &told.next().stages[0];
        assert_eq!(stage.ended_unix_us - stage.began_unix_us, 8_000);
    }
}
