//! A name for each request, in every answer and every line of the log about it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderValue};

/// The header that carries it, in both directions and over gRPC too.
pub(super) const HEADER: &str = "x-request-id";

/// The name of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives each request its name.
#[derive(Debug)]
pub struct RequestIds {
    /// Tells this process from every other.
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub fn new(random: u64) -> Self {
        Self { process: random, next: AtomicU64::new(1) }
    }

    /// Returns the name that the caller gave, if it is a plain one, or a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> RequestId {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|id| is_plain(id));
        match given {
            Some(id) => RequestId(id.into()),
            None => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                RequestId(format!("{:016x}-{number:x}", self.process).into())
            }
        }
    }
}

impl RequestId {
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a plain name is a header's value")
    }
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(plain)
}
