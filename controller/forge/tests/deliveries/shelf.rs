//! The payloads on disk, and the headers that go with them.

use std::path::PathBuf;

use ocelot_forge::Forge;
use ocelot_forge::event::Event;
use ocelot_forge::payload::{Delivery, parse};

fn folder(forge: Forge) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/payloads").join(forge.word())
}

/// The kinds of payloads that lie here for a forge, in order.
pub(crate) fn kinds(forge: Forge) -> Vec<String> {
    let entries = std::fs::read_dir(folder(forge)).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    let mut kinds: Vec<String> = entries.map(name).collect();
    kinds.sort();
    assert!(kinds.len() >= 14, "{forge} has too few payloads");
    kinds
}

pub(crate) fn payload(forge: Forge, kind: &str) -> Vec<u8> {
    std::fs::read(folder(forge).join(format!("{kind}.json"))).unwrap()
}

/// The one header that names the event.
pub(crate) fn event(
    header: &'static str,
    word: &'static str,
) -> impl Fn(&str) -> Option<&'static [u8]> + 'static {
    move |name| (name == header).then_some(word.as_bytes())
}

pub(crate) fn headers_of(forge: Forge, kind: &str) -> impl Fn(&str) -> Option<&'static [u8]> + 'static {
    let pull = kind.starts_with("pull_request");
    match forge {
        Forge::GitHub => event(
            "x-github-event",
            match kind {
                "ping" => "ping",
                "create" => "create",
                "unknown" => "watch",
                _ if pull => "pull_request",
                _ => "push",
            },
        ),
        Forge::GitLab => event(
            "x-gitlab-event",
            match kind {
                "unknown" => "Pipeline Hook",
                "tag" | "deleted_tag" => "Tag Push Hook",
                _ if pull => "Merge Request Hook",
                _ => "Push Hook",
            },
        ),
        Forge::Gitea => event(
            "x-gitea-event",
            match kind {
                "create" => "create",
                "unknown" => "release",
                "deleted_branch" | "deleted_tag" => "delete",
                _ if pull => "pull_request",
                _ => "push",
            },
        ),
        Forge::Bitbucket => event(
            "x-event-key",
            match kind {
                "unknown" => "issue:created",
                "pull_request_opened" | "pull_request_fork" => "pullrequest:created",
                "pull_request_closed" => "pullrequest:rejected",
                _ if pull => "pullrequest:updated",
                _ => "repo:push",
            },
        ),
    }
}

/// The only event of a body.
pub(crate) fn one(forge: Forge, kind: &str, body: &[u8]) -> Event {
    match parse(forge, &headers_of(forge, kind), body) {
        Ok(Delivery::Events { mut events, left_out: 0 }) if events.len() == 1 => events.remove(0),
        other => panic!("{forge} {kind}: {other:?}"),
    }
}
