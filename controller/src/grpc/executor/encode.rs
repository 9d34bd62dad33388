//! From what the use cases answer to messages.

use std::time::Duration;

use bytes::Bytes;
use ocelot_core::plan::Class;
use ocelot_domain::task::Timing;
use ocelot_proto::wire;

use crate::records::SourceRecord;
use crate::service::{AttemptRef, Directive, HeartbeatAnswer, LogOffsets, OfferedTask, Opens, PollAnswer};

pub(super) fn attempt(attempt: &AttemptRef) -> wire::AttemptId {
    let run = Bytes::copy_from_slice(attempt.task.run.as_bytes());
    let task = wire::TaskId { run, index: attempt.task.index };
    wire::AttemptId { task: Some(task), number: attempt.attempt.number(), epoch: attempt.epoch.0 }
}

pub(super) fn timing(timing: &Timing) -> wire::Timing {
    wire::Timing {
        heartbeat_ms: millis(timing.heartbeat()),
        session_ttl_ms: millis(timing.session_ttl()),
        poll_ms: millis(timing.poll()),
        guard_exclusive_ms: millis(timing.guard(Class::Exclusive)),
        guard_normal_ms: millis(timing.guard(Class::Normal)),
    }
}

pub(super) fn poll(answer: PollAnswer) -> wire::PollResponse {
    let PollAnswer { offers, directives, voided } = answer;
    wire::PollResponse {
        offers: offers.into_iter().map(offer).collect(),
        directives: directives.into_iter().map(directive).collect(),
        voided,
    }
}

fn offer(offer: OfferedTask) -> wire::Offer {
    wire::Offer {
        attempt: Some(attempt(&offer.attempt)),
        plan: offer.plan,
        plan_digest: Bytes::copy_from_slice(offer.plan_digest.as_bytes()),
        env: offer.env.into_iter().collect(),
        source: offer.source.as_ref().map(|one| source(one, offer.needs_credentials)),
        masks: false,
    }
}

/// Returns what opens a repository, for the one message that carries it.
pub(super) fn credentials(opens: &Opens) -> wire::GitCredentials {
    use wire::git_credentials::{Credentials, Login, SshKey};

    let credentials = match opens {
        Opens::Login { user, password } => {
            Credentials::Login(Login { user: user.clone(), password: password.to_string() })
        }
        Opens::SshKey { private_key, known_hosts } => Credentials::SshKey(SshKey {
            private_key: private_key.to_string(),
            known_hosts: known_hosts.clone().unwrap_or_default(),
        }),
    };
    wire::GitCredentials { credentials: Some(credentials) }
}

fn source(source: &SourceRecord, needs_credentials: bool) -> wire::Source {
    wire::Source {
        url: source.url.clone(),
        commit: source.commit.clone(),
        reference: source.reference.clone(),
        branch: source.event.built_branch().unwrap_or_default().to_owned(),
        needs_credentials,
    }
}

fn directive(given: Directive) -> wire::Directive {
    use wire::directive::{Directive as Wire, Drain, Resume};
    let directive = match given {
        Directive::Cancel(one) => Wire::Cancel(attempt(&one)),
        Directive::Kill(one) => Wire::Kill(attempt(&one)),
        Directive::Drain { why } => Wire::Drain(Drain { reason: why }),
        Directive::Resume => Wire::Resume(Resume {}),
    };
    wire::Directive { directive: Some(directive) }
}

pub(super) fn heartbeat(answer: HeartbeatAnswer) -> wire::HeartbeatResponse {
    let HeartbeatAnswer { vouched, directives, logs, timing: intervals } = answer;
    wire::HeartbeatResponse {
        vouched: vouched.iter().map(attempt).collect(),
        directives: directives.into_iter().map(directive).collect(),
        logs: logs.iter().map(offsets).collect(),
        timing: Some(timing(&intervals)),
    }
}

pub(super) fn offsets(offsets: &LogOffsets) -> wire::LogOffsets {
    wire::LogOffsets {
        attempt: Some(attempt(&offsets.attempt)),
        received: offsets.received,
        durable: offsets.durable,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
