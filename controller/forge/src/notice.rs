//! Notifications of a run, as values: for a chat that reads Slack's form, and for any receiver that
//! can verify a signature.
//!
//! Branch names and commit messages are strangers' texts in a room full of people: they can not
//! mention anyone, form a link, or break out of their line.
//!
//! # The generic form
//! The body is JSON. Three headers go with it:
//! - `X-Ocelot-Delivery`: the id of the notification, the same when it is sent again;
//! - `X-Ocelot-Timestamp`: the moment of sending, Unix seconds in decimal;
//! - `X-Ocelot-Signature-256`: `sha256=` and the lower-case hex of HMAC-SHA256, under the shared
//!   secret, of `<delivery>.<timestamp>.<body>`: the two headers' bytes, a dot after each, and the
//!   raw body.
//!
//! The receiver computes the same, compares in constant time, refuses a timestamp some minutes old,
//! and remembers the delivery for as long: so a copy sent later is worth nothing.

use serde::Serialize;
use serde_json::{Value, json};

use crate::secret::Secret;
use crate::text::hex;

const LINE_CHARS_MAX: usize = 200;
/// Parts a word so that no chat knows it, and no person sees it.
const INVISIBLE: char = '\u{200b}';

/// What a notification says of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunNotice {
    /// `owner/name`
    pub project: String,
    pub number: u64,
    pub run: String,
    pub outcome: NoticeOutcome,
    pub reference: String,
    pub commit: Option<String>,
    pub message: Option<String>,
    pub author: Option<String>,
    pub url: String,
    pub duration_seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeOutcome {
    Success,
    Failure,
    /// It succeeded, and the one before it on that branch had not.
    Fixed,
    Cancelled,
}

impl NoticeOutcome {
    const fn words(self) -> &'static str {
        match self {
            Self::Success => "succeeded",
            Self::Failure => "failed",
            Self::Fixed => "is fixed",
            Self::Cancelled => "was cancelled",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Success | Self::Fixed => "good",
            Self::Failure => "danger",
            Self::Cancelled => "warning",
        }
    }
}

/// A message whose body and headers are sent exactly so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// The message for Slack, Mattermost and whatever else reads Slack's incoming webhooks.
pub fn slack_message(notice: &RunNotice) -> Value {
    let link = format!("<{}|{} #{}>", link_target(&notice.url), line(&notice.project), notice.number);
    let text = format!("{link} {} on {}", notice.outcome.words(), line(&notice.reference));
    let fallback = format!("{} #{} {}", line(&notice.project), notice.number, notice.outcome.words());
    let commit = notice.commit.as_deref().map(|commit| line(&commit.chars().take(12).collect::<String>()));
    let title = notice.message.as_deref().and_then(|message| message.lines().next()).map(line);
    let details = [commit, title, notice.author.as_deref().map(line), notice.duration_seconds.map(duration)];
    let details: Vec<String> = details.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    json!({
        "text": text,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "attachments": [{
            "color": notice.outcome.colour(),
            "fallback": fallback,
            "text": details.join(" · "),
            "mrkdwn_in": [],
        }],
    })
}

/// The message for any receiver, signed; `now` is in Unix seconds.
pub fn generic_message(notice: &RunNotice, delivery: &str, now: u64, secret: &Secret) -> Message {
    let body = json!({ "event": "run", "run": notice }).to_string().into_bytes();
    let timestamp = now.to_string();
    let signature = secret.sign(&[delivery.as_bytes(), b".", timestamp.as_bytes(), b".", &body]);
    Message {
        headers: vec![
            ("content-type", "application/json".into()),
            ("user-agent", "ocelot".into()),
            ("x-ocelot-delivery", delivery.to_owned()),
            ("x-ocelot-timestamp", timestamp),
            ("x-ocelot-signature-256", format!("sha256={}", hex(&signature))),
        ],
        body,
    }
}

/// One line of a stranger's text, which a chat shows and does not act upon.
fn line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().take(LINE_CHARS_MAX) {
        match c {
            '&' => line.push_str("&amp;"),
            '<' => line.push_str("&lt;"),
            '>' => line.push_str("&gt;"),
            // Mattermost and others know @here and [text](address) in plain text.
            '@' | '[' | ']' | '!' | '(' => line.extend([c, INVISIBLE]),
            '`' => line.push('\''),
            '*' | '_' | '~' => line.extend([c, INVISIBLE]),
            c if c.is_control() || is_bidi(c) => line.push(' '),
            // An address in plain text would become a link by itself.
            ':' => line.extend([c, INVISIBLE]),
            c => line.push(c),
        }
    }
    line
}

const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Our own address, kept from ending the link that it is in.
fn link_target(url: &str) -> String {
    let target = |c: char| match c {
        '|' => "%7C".into(),
        '<' => "%3C".into(),
        '>' => "%3E".into(),
        '&' => "&amp;".into(),
        c if c.is_control() || c.is_whitespace() => "%20".into(),
        c => c.to_string(),
    };
    url.chars().map(target).collect::<Vec<String>>().concat()
}

fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests;
