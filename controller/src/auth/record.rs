//! What is stored of tokens. Never a token itself.
//!
//! Expiry is a time of day by nature: it is promised to people, and it outlives every process. A
//! clock that jumps ends a token early or late by the jump.

use serde::{Deserialize, Serialize};

use crate::store::codec::Record;
use crate::store::keys::Key;

use super::token::TokenHash;

/// An API token: what a person or a script has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Unique among API tokens.
    pub name: String,
    /// The person or script it is for.
    pub person: String,
    pub created_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_us: Option<u64>,
    /// True to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_us: Option<u64>,
    /// The newest first; the others are being replaced.
    pub values: Vec<TokenValue>,
}

/// One value of an API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenValue {
    pub sha256: TokenHash,
    /// The first characters, to recognise it by.
    pub shown: String,
    /// It was replaced, and works until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<u64>,
}

/// What lets machines become executors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationToken {
    pub sha256: TokenHash,
    /// What an executor may register with.
    pub labels: Vec<String>,
    pub uses_left: u32,
    pub created_us: u64,
    pub expires_us: u64,
    /// Who made it.
    pub by: String,
}

/// Says that the fleet's first API token was made. It outlives that token, so that there is never a
/// second first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FirstToken {
    pub(super) sha256: TokenHash,
}

/// The name of that record beside those of the tokens.
pub(super) const FIRST: &str = "first";

impl Record for FirstToken {
    const KIND: &'static str = "first-token";
    const VERSION: u32 = 1;
}

impl Record for ApiToken {
    const KIND: &'static str = "api-token";
    const VERSION: u32 = 1;
}

impl Record for RegistrationToken {
    const KIND: &'static str = "registration-token";
    const VERSION: u32 = 1;
}

impl ApiToken {
    pub(super) fn key(name: &str) -> Key {
        Key::Token(format!("{API_FOLDER}{name}"))
    }

    /// Returns the name in a key, if it is that of an API token.
    pub(super) fn name_in(key: &str) -> Option<String> {
        match key.parse() {
            Ok(Key::Token(name)) => name.strip_prefix(API_FOLDER).map(str::to_owned),
            _ => None,
        }
    }

    /// Returns the moment from which on this value of it is refused.
    pub(super) fn end_us(&self, value: &TokenValue) -> Option<u64> {
        [self.expires_us, value.until_us].into_iter().flatten().min()
    }
}

impl RegistrationToken {
    /// Half a hash finds the record and tells nothing of the token.
    pub(super) fn key(hash: TokenHash) -> Key {
        Key::Token(format!("registration.{}", &hash.to_hex()[..32]))
    }
}

/// In front of the names of API tokens.
pub(super) const API_FOLDER: &str = "api.";

#[cfg(test)]
mod tests {
    use crate::auth::{Kind, Token};
    use crate::store::codec::assert_stored_shape;

    use super::*;

    #[test]
    fn the_stored_shapes_are_those_on_file() {
        let hash = Token::new(Kind::Api, [1; 32]).hash();
        let value = |until_us| TokenValue { sha256: hash, shown: "oct_api_0101".into(), until_us };
        let token = ApiToken {
            name: "ci".into(),
            person: "ada".into(),
            created_us: 1,
            expires_us: Some(9),
            last_used_us: Some(3),
            values: vec![value(None), value(Some(5))],
        };
        assert_stored_shape(&token, "api-token.v1");
        let token = RegistrationToken {
            sha256: hash,
            labels: vec!["pool=build".into()],
            uses_left: 1,
            created_us: 1,
            expires_us: 9,
            by: "ada".into(),
        };
        assert_stored_shape(&token, "registration-token.v1");
        assert_stored_shape(&FirstToken { sha256: hash }, "first-token.v1");
    }
}
