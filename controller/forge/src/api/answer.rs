//! What a forge's answer means for the one who sent the request again and again until it is done.
//!
//! A token that is not accepted is tried again: it may just be on its way to be replaced, and what
//! waits is bounded by its age. A time-out has no answer and is no case here: it may have happened,
//! and a status that is said twice is the same status.

use std::time::Duration;

use crate::text::cut;
use crate::{Forge, Headers};

/// No forge is believed when it asks for a longer wait.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The wait where a forge limits and does not say for how long.
const WAIT_UNTOLD: Duration = Duration::from_secs(60);
/// So much of an answer's body is looked at.
const BODY_BYTES_MAX: usize = 4096;

/// An answer, as far as it was read.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    pub status: u16,
    pub headers: &'a Headers<'a>,
    pub body: &'a [u8],
}

impl std::fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// Not before that time.
    RetryAfter(Duration),
    /// With the sender's own backoff.
    Retry,
    GivesUp(GiveUp),
}

/// Why sending it again would change nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GiveUp {
    #[error("the forge forbids it: the token lacks a right")]
    Forbidden,
    #[error("the forge knows no such repository or commit, or the token may not see it")]
    NotFound,
    #[error("the repository has moved: set the project's new address")]
    Moved,
    #[error("the forge refuses it ({status}): {why}")]
    Refused { status: u16, why: String },
}

/// Decides what an answer means; `now` is in Unix seconds.
pub fn classify(forge: Forge, response: &Response<'_>, now: u64) -> Answer {
    match response.status {
        200..=299 => Answer::Done,
        300..=399 => Answer::GivesUp(GiveUp::Moved),
        400 if forge == Forge::GitLab => bad_request_of_gitlab(response),
        401 | 408 | 409 | 423 | 425 => wait(response, now).map_or(Answer::Retry, Answer::RetryAfter),
        403 if is_limited(response) => Answer::RetryAfter(wait(response, now).unwrap_or(WAIT_UNTOLD)),
        403 => Answer::GivesUp(GiveUp::Forbidden),
        404 | 410 => Answer::GivesUp(GiveUp::NotFound),
        429 => Answer::RetryAfter(wait(response, now).unwrap_or(WAIT_UNTOLD)),
        400..=499 => Answer::GivesUp(refused(response)),
        // A server that fails, or a number that HTTP does not have.
        0..=199 | 500..=u16::MAX => wait(response, now).map_or(Answer::Retry, Answer::RetryAfter),
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned()
}

fn refused(response: &Response<'_>) -> GiveUp {
    GiveUp::Refused { status: response.status, why: cut(&text(response.body), 300).to_owned() }
}

fn number(response: &Response<'_>, name: &str) -> Option<u64> {
    std::str::from_utf8((response.headers)(name)?).ok()?.trim().parse().ok()
}

/// GitHub limits with 403 too: its headers say so, or, for too many at a time, only its words.
fn is_limited(response: &Response<'_>) -> bool {
    number(response, "retry-after").is_some()
        || number(response, "x-ratelimit-remaining") == Some(0)
        || text(response.body).to_ascii_lowercase().contains("rate limit")
}

/// How long the forge asks to wait.
fn wait(response: &Response<'_>, now: u64) -> Option<Duration> {
    let asked = number(response, "retry-after");
    let exhausted = number(response, "x-ratelimit-remaining").or(number(response, "ratelimit-remaining"));
    let reset = number(response, "x-ratelimit-reset").or(number(response, "ratelimit-reset"));
    let until_reset = reset.filter(|_| exhausted == Some(0)).map(|reset| reset.saturating_sub(now));
    let seconds = asked.or(until_reset)?;
    Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), WAIT_MAX))
}

/// GitLab refuses a status that it has already, and one that an unfinished word would take back.
fn bad_request_of_gitlab(response: &Response<'_>) -> Answer {
    let words = text(response.body);
    let transition = words.split_once("Cannot transition status via :").and_then(|(_, rest)| {
        let (event, rest) = rest.split_once(" from :")?;
        Some((event, rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?))
    });
    match transition {
        // It waits or runs or has ended: the forge knows as much or more.
        Some(("enqueue" | "run", "running" | "success" | "failed" | "canceled" | "skipped"))
        | Some(("enqueue", "pending"))
        | Some(("success" | "succeed", "success"))
        | Some(("drop", "failed"))
        | Some(("cancel", "canceled" | "canceling"))
        | Some(("skip", "skipped")) => Answer::Done,
        Some(_) | None => Answer::GivesUp(refused(response)),
    }
}
