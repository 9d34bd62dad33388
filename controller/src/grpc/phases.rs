//! What an attempt went through, from its record to messages.

use ocelot_proto::wire;
use ocelot_proto::wire::stage_exit::Exit;

use crate::records::{ProgressRecord, StageExit, StageRecord, Used};

/// Returns an attempt with the times of its record, and nothing else filled in.
pub(super) fn phases(progress: Option<&ProgressRecord>) -> wire::Attempt {
    let Some(progress) = progress else { return wire::Attempt::default() };
    let ProgressRecord { offered_us, acknowledged_us, ended_us, told, .. } = progress;
    wire::Attempt {
        offered_unix_us: signed(*offered_us),
        acknowledged_unix_us: signed(*acknowledged_us),
        up_unix_us: signed(told.up_us.unwrap_or(0)),
        first_byte_unix_us: signed(told.first_byte_us.unwrap_or(0)),
        ended_unix_us: signed(ended_us.unwrap_or(0)),
        preparing: told.preparing.clone(),
        ..wire::Attempt::default()
    }
}

/// Fills in what is known of a stage.
pub(super) fn stage(progress: Option<&ProgressRecord>, index: u32, shown: wire::Stage) -> wire::Stage {
    let told = progress.and_then(|progress| progress.told.stages.iter().find(|stage| stage.index == index));
    let Some(StageRecord { began_us, ended_us, exit: ended, used, .. }) = told else { return shown };
    wire::Stage {
        began_unix_us: signed(*began_us),
        ended_unix_us: signed(ended_us.unwrap_or(0)),
        exit: ended.map(exit),
        r#use: used.map(use_of),
        ..shown
    }
}

fn exit(exit: StageExit) -> wire::StageExit {
    let exit = match exit {
        StageExit::Code(code) => Exit::Code(code),
        StageExit::Signal(signal) => Exit::Signal(signal),
        StageExit::TimedOut => Exit::TimedOut(true),
        StageExit::OutOfMemory { limit_bytes } => {
            Exit::OutOfMemory(wire::OutOfMemory { limit_bytes: limit_bytes.unwrap_or(0) })
        }
    };
    wire::StageExit { exit: Some(exit) }
}

fn use_of(used: Used) -> wire::ResourceUse {
    let Used { user_cpu_us, system_cpu_us, max_rss_bytes } = used;
    wire::ResourceUse { user_cpu_us, system_cpu_us, max_rss_bytes }
}

fn signed(unix_us: u64) -> i64 {
    i64::try_from(unix_us).unwrap_or(i64::MAX)
}
