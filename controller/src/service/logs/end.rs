//! How a log ended: whole, or with a loss that says where and why.

use ocelot_core::frame::{self, Body, Frame, Mark};
use serde::{Deserialize, Serialize};

use crate::store::codec::Record;

/// The end of a log, stored beside it. From then on it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Bytes of the log as it is stored, with its mark if it has one.
    pub length: u64,
    pub sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// What of a log is missing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Bytes are missing from here on.
    pub at: u64,
    /// For people.
    pub reason: String,
    pub kind: LossKind,
}

/// Who the bytes were lost with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Nobody has them any more.
    Bytes,
    /// The attempt was taken from its executor.
    Attempt,
}

/// SHA-256 of a whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "hex")] pub [u8; 32]);

/// The whole log as an executor tells it: what must be stored before the attempt may be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub length: u64,
    pub sha256: Digest,
}

impl Record for End {
    const KIND: &'static str = "log-end";
    const VERSION: u32 = 1;
}

impl LossKind {
    /// Returns the frame that ends a log with a loss, as readers see it.
    pub(super) fn mark(self, unix_us: u64, reason: &str) -> Vec<u8> {
        let mark = match self {
            Self::Bytes => Mark::Loss,
            Self::Attempt => Mark::Lost,
        };
        let mut bytes = Vec::new();
        frame::encode(&Frame { unix_us, stage: None, body: Body::Mark(mark, reason) }, &mut bytes);
        bytes
    }
}

mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.map(|byte| format!("{byte:02x}")).concat())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(D::Error::custom("a digest is 64 hexadecimal digits"));
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::codec::assert_stored_shape;

    use super::*;

    #[test]
    fn the_stored_shape_is_the_one_on_file() {
        let loss = Loss { at: 4_000, reason: "the executor is gone".into(), kind: LossKind::Attempt };
        let end = End { length: 4_040, sha256: Digest([0xab; 32]), loss: Some(loss) };
        assert_stored_shape(&end, "log-end.v1");
    }
}
