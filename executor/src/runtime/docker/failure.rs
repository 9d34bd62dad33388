//! What an engine's refusal means: whose fault it is, in words that say what to do.

use bollard::errors::Error;

use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::runtime::RuntimeError;

const STATUS_NOT_FOUND: u16 = 404;
const STATUS_NOT_MODIFIED: u16 = 304;
const STATUS_CONFLICT: u16 = 409;
const STATUS_BROKEN: u16 = 500;
/// How Podman ends what it says when something else is in the way: until its version 5 it answers many of
/// these with 500, which Docker answers with 409.
const CONFLICTS: [&str; 5] = [
    "that name is already in use",
    "network already exists",
    "network is being used",
    "container state improper",
    "please force removal",
];
/// An engine may quote a whole page of a proxy.
const EVIDENCE_CHARS_MAX: usize = 500;

/// What an answer of the engine says, apart from its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    NotFound,
    Conflict,
    NotModified,
    Refused,
    /// None came, or a broken one: what was asked may have happened.
    Unknown,
}

pub(super) fn answer(error: &Error) -> Answer {
    match error {
        Error::DockerResponseServerError { status_code, message } => match *status_code {
            STATUS_NOT_FOUND => Answer::NotFound,
            STATUS_CONFLICT => Answer::Conflict,
            STATUS_NOT_MODIFIED => Answer::NotModified,
            STATUS_BROKEN if CONFLICTS.iter().any(|conflict| message.contains(conflict)) => Answer::Conflict,
            _ => Answer::Refused,
        },
        Error::DockerStreamError { .. } => Answer::Refused,
        _ => Answer::Unknown,
    }
}

/// Returns the engine's own words.
pub(super) fn words(error: &Error) -> String {
    let said = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            text
        }
    };
    said.trim().chars().take(EVIDENCE_CHARS_MAX).collect()
}

/// Returns why a pull failed.
pub(super) fn of_pull(image: &str, error: &Error) -> Cause {
    match answer(error) {
        Answer::Unknown => platform("pull the image", &words(error)),
        Answer::NotFound | Answer::Conflict | Answer::NotModified | Answer::Refused => {
            Cause::Failed(class_of_pull(image, &words(error)))
        }
    }
}

/// The engine says it only in words, which are those of the registry or of its own network.
fn class_of_pull(image: &str, words: &str) -> Failure {
    let lower = words.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let why = if says(&["no space left", "disk quota"]) {
        return Failure::Disk { why: format!("no room for image {image}: {words}") };
    } else if says(&["denied", "unauthorized", "authentication required", "no basic auth", "forbidden"]) {
        format!("the registry refused image {image}: {words}; is its name right, and its pull secret?")
    } else if says(&["not found", "manifest unknown", "does not exist", "no such image", "name unknown"]) {
        format!("image {image} was not found: {words}")
    } else if says(&["invalid reference", "invalid repository", "must be lowercase", "could not parse"]) {
        format!("{image} is no name of an image: {words}")
    } else if says(&["no matching manifest"]) {
        format!("image {image} was not made for this machine: {words}")
    } else if says(&[
        "connection refused",
        "no such host",
        "timeout",
        "deadline exceeded",
        "tls",
        "x509",
        "eof",
        "reset by peer",
        "unreachable",
        "server misbehaving",
        "dial tcp",
        "toomanyrequests",
        "gave http response",
        "awaiting headers",
    ]) {
        format!("the registry of image {image} cannot be reached: {words}")
    } else {
        format!("image {image} was not pulled: {words}")
    };
    Failure::Image { why }
}

pub(super) fn platform(doing: &str, why: &str) -> Cause {
    Cause::Platform { why: format!("the engine could not {doing}: {why}") }
}

pub(super) fn runtime(doing: &str, error: Error) -> RuntimeError {
    RuntimeError { doing: format!("the engine could not {doing}"), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(words: &str) -> String {
        match of_pull("a/b:1", &Error::DockerStreamError { error: words.to_owned() }) {
            Cause::Failed(Failure::Image { why } | Failure::Disk { why }) => {
                why.split(&words.to_owned()).next().unwrap_or_default().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_pull_is_classed_by_the_engines_words() {
        let refused = "the registry refused image a/b:1: ";
        let missing = "image a/b:1 was not found: ";
        let unreachable = "the registry of image a/b:1 cannot be reached: ";
        for (words, expected) in [
            ("pull access denied for a/b, repository does not exist or may require 'docker login'", refused),
            ("unauthorized: authentication required", refused),
            ("Get https://r/v2/: no basic auth credentials", refused),
            ("manifest for a/b:1 not found: manifest unknown: manifest unknown", missing),
            (
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                unreachable,
            ),
            ("Get \"https://r/v2/\": x509: certificate signed by unknown authority", unreachable),
            ("dial tcp: lookup r: no such host", unreachable),
            ("write /var/lib/x: no space left on device", "no room for image a/b:1: "),
            ("no matching manifest for linux/arm64/v8", "image a/b:1 was not made for this machine: "),
            ("something new", "image a/b:1 was not pulled: "),
        ] {
            assert_eq!(class(words), expected, "{words}");
        }
    }

    #[test]
    fn what_podman_finds_in_the_way_is_a_conflict_whatever_its_number() {
        let said = |status_code, message: &str| {
            answer(&Error::DockerResponseServerError { status_code, message: message.to_owned() })
        };
        for words in [
            "container create: creating container storage: the container name \"a\" is already in use by b. \
             You have to remove that container to be able to reuse that name: that name is already in use",
            "network name a already used: network already exists",
            "\"a\" has associated containers with it: network is being used",
            "can only kill running containers. a is in state exited: container state improper",
            "unable to delete image \"a\" by ID with more than one tag ([b c]): please force removal",
        ] {
            assert_eq!(said(500, words), Answer::Conflict, "{words}");
        }
        assert_eq!(said(409, "anything"), Answer::Conflict);
        assert_eq!(said(500, "the disk is full"), Answer::Refused);
        assert_eq!(said(404, "no such container"), Answer::NotFound);
    }

    #[test]
    fn an_engine_that_does_not_answer_is_this_machines_fault() {
        let cause = of_pull("a", &Error::RequestTimeoutError);
        assert_eq!(cause, platform("pull the image", "Timeout error"));
    }
}
