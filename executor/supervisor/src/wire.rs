//! Messages on the socket: a length of four bytes, little-endian, then JSON.
//!
//! Both sides bound what they hold: a message over the limit ends the connection.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A stage's script and environment come from a definition of at most 1 MiB, and JSON may escape.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a message of {0} bytes is longer than allowed")]
    TooLong(usize),
    #[error("a message is not understood")]
    Unknown(#[source] serde_json::Error),
}

/// Appends the message to `bytes`.
pub fn encode<T: Serialize>(message: &T, bytes: &mut Vec<u8>) -> Result<(), WireError> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    serde_json::to_writer(&mut *bytes, message).map_err(WireError::Unknown)?;
    let length = bytes.len() - start - LENGTH_BYTES;
    if length > MESSAGE_BYTES_MAX {
        bytes.truncate(start);
        return Err(WireError::TooLong(length));
    }
    bytes[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Makes messages of bytes that come in pieces of any size.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    taken: usize,
}

impl Inbox {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole message, or none until more bytes are pushed.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        let rest = &self.buffer[self.taken..];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = serde_json::from_slice(message).map_err(WireError::Unknown)?;
        self.taken += LENGTH_BYTES + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ocelot_core::frame::Offset;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{Leftovers, MaskValue, Moment, Program, Request, StageOrder};

    fn order(name: String, value: String) -> StageOrder {
        StageOrder {
            stage: 3,
            name,
            program: Program::Command(vec!["true".to_owned()]),
            directory: "/".to_owned(),
            user: None,
            env: BTreeMap::from([("SECRET".to_owned(), value)]),
            timeout_ms: Some(1),
            task_deadline: Some(Moment(2)),
            quiet_timeout_ms: None,
            grace_ms: 3,
            leftovers: Leftovers::Keep,
        }
    }

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            any::<u64>().prop_map(|at| Request::Beat { deadline: Moment(at) }),
            any::<u64>().prop_map(|at| Request::Taken { offset: Offset(at) }),
            proptest::collection::vec(any::<u8>(), 0..40)
                .prop_map(|value| Request::AddMask { stage: Some(1), value: MaskValue(value) }),
            (any::<String>(), any::<String>())
                .prop_map(|(name, value)| Request::RunStage(Box::new(order(name, value)))),
            (any::<u16>(), any::<u64>())
                .prop_map(|(through, grace_ms)| Request::Cancel { through, grace_ms }),
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_any_split_of_their_bytes(
            requests in proptest::collection::vec(request(), 0..8), size in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            for request in &requests {
                encode(request, &mut bytes).unwrap();
            }
            let mut inbox = Inbox::default();
            let mut received = Vec::new();
            for piece in bytes.chunks(size) {
                inbox.push(piece);
                while let Some(request) = inbox.next_message::<Request>().unwrap() {
                    received.push(request);
                }
            }
            prop_assert_eq!(received, requests);
        }

        #[test]
        fn any_bytes_are_read_or_refused_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut inbox = Inbox::default();
            inbox.push(&bytes);
            while let Ok(Some(_)) = inbox.next_message::<Request>() {}
        }
    }

    fn read(json: &str) -> Result<Option<Request>, WireError> {
        let mut inbox = Inbox::default();
        inbox.push(&(json.len() as u32).to_le_bytes());
        inbox.push(json.as_bytes());
        inbox.next_message()
    }

    #[test]
    fn what_a_request_does_not_know_is_an_error() {
        assert!(matches!(read(r#"{"beat":{"deadline":1}}"#), Ok(Some(Request::Beat { .. }))));
        assert!(matches!(read(r#"{"beat":{"deadline":1,"unless":2}}"#), Err(WireError::Unknown(_))));
        assert!(matches!(read(r#"{"explode":{}}"#), Err(WireError::Unknown(_))));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let mut inbox = Inbox::default();
        inbox.push(&(MESSAGE_BYTES_MAX as u32 + 1).to_le_bytes());
        assert!(matches!(inbox.next_message::<Request>(), Err(WireError::TooLong(_))));
    }

    #[test]
    fn no_secret_is_shown_when_a_request_is_printed() {
        let order = Request::RunStage(Box::new(order("build".to_owned(), "hunter2".to_owned())));
        let mask = Request::AddMask { stage: None, value: MaskValue(b"hunter2".to_vec()) };
        let shown = format!("{order:?} {mask:?}");
        assert!(shown.contains("SECRET") && !shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("104, 117"), "{shown}");
    }
}
