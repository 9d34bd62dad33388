//! Tokens as text: `oct_api_`, `oct_reg_`, `oct_ses_` or `oct_ctl_`, random digits, and a checksum.
//!
//! The beginning lets scanners find a leaked one; the checksum refuses typing errors and noise before
//! the store is asked. A token is never printed by accident: only [`Token::reveal`] gives its text.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ocelot_core::id::{ExecutorId, SessionId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person or a script.
    Api,
    /// A machine that becomes an executor.
    Registration,
    /// An executor's session. The token names both: a session that the store has dropped is known by
    /// its executor.
    Session { executor: ExecutorId, session: SessionId },
    /// A controller that reads a log from another one.
    Controller,
}

/// 256 random bits.
pub type Secret = [u8; 32];

/// A token as its owner has it.
#[derive(Clone)]
pub struct Token {
    kind: Kind,
    text: String,
}

/// The text is no token of ours. What it was is not kept: it may be one of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no token, or one that was cut or mistyped")]
pub struct InvalidToken;

/// SHA-256 of a token: all that is kept of it. A random token needs no slow hash.
#[derive(Clone, Copy, Eq)]
pub struct TokenHash([u8; 32]);

const API: &str = "oct_api_";
const REGISTRATION: &str = "oct_reg_";
const SESSION: &str = "oct_ses_";
const CONTROLLER: &str = "oct_ctl_";
const CHECKSUM_DIGITS: usize = 8;
const SECRET_DIGITS: usize = 64;
/// Of one id.
const ID_DIGITS: usize = 32;

impl Token {
    pub fn new(kind: Kind, secret: Secret) -> Self {
        let digits = match kind {
            Kind::Api => format!("{API}{}", hex(&secret)),
            Kind::Registration => format!("{REGISTRATION}{}", hex(&secret)),
            Kind::Session { executor, session } => {
                format!("{SESSION}{}{}{}", hex(executor.as_bytes()), hex(session.as_bytes()), hex(&secret))
            }
            Kind::Controller => format!("{CONTROLLER}{}", hex(&secret)),
        };
        let checksum = crc32c::crc32c(digits.as_bytes());
        Self { kind, text: format!("{digits}{checksum:08x}") }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.text.as_bytes()).into())
    }

    /// Returns the text itself, to hand it to its owner.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Returns the first characters, by which its owner recognises it.
    pub fn shown(&self) -> &str {
        &self.text[..API.len() + 4]
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (digits, checksum) = text
            .len()
            .checked_sub(CHECKSUM_DIGITS)
            .and_then(|at| text.split_at_checked(at))
            .ok_or(InvalidToken)?;
        if format!("{:08x}", crc32c::crc32c(digits.as_bytes())) != checksum {
            return Err(InvalidToken);
        }
        let (prefix, digits) = digits.split_at_checked(API.len()).ok_or(InvalidToken)?;
        if !digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)) {
            return Err(InvalidToken);
        }
        let kind = match (prefix, digits.len()) {
            (API, SECRET_DIGITS) => Kind::Api,
            (REGISTRATION, SECRET_DIGITS) => Kind::Registration,
            (CONTROLLER, SECRET_DIGITS) => Kind::Controller,
            (SESSION, length) if length == 2 * ID_DIGITS + SECRET_DIGITS => Kind::Session {
                executor: ExecutorId::from_bytes(id(&digits[..ID_DIGITS])?),
                session: SessionId::from_bytes(id(&digits[ID_DIGITS..2 * ID_DIGITS])?),
            },
            _ => return Err(InvalidToken),
        };
        Ok(Self { kind, text: text.to_owned() })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}...", &self.text[..API.len()])
    }
}

impl TokenHash {
    /// Returns the hash as 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl PartialEq for TokenHash {
    /// Takes as long for a hash that is nearly right as for any other.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}...)", hex(&self.0[..4]))
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let text = String::deserialize(deserializer)?;
        let halves = text.split_at_checked(32).filter(|_| text.len() == 64);
        let (high, low) = halves.ok_or_else(|| D::Error::custom("a hash is 64 digits"))?;
        let mut hash = [0; 32];
        for (half, into) in [high, low].into_iter().zip(hash.chunks_exact_mut(16)) {
            let number = u128::from_str_radix(half, 16).map_err(D::Error::custom)?;
            into.copy_from_slice(&number.to_be_bytes());
        }
        Ok(Self(hash))
    }
}

fn id(digits: &str) -> Result<[u8; 16], InvalidToken> {
    u128::from_str_radix(digits, 16).map(u128::to_be_bytes).map_err(|_| InvalidToken)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Api),
            Just(Kind::Registration),
            Just(Kind::Controller),
            any::<([u8; 16], [u8; 16])>().prop_map(|(executor, session)| Kind::Session {
                executor: ExecutorId::from_bytes(executor),
                session: SessionId::from_bytes(session),
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_token_survives_text(kind in kind(), secret in any::<Secret>()) {
            let token = Token::new(kind, secret);
            let read: Token = token.reveal().parse().unwrap();
            prop_assert_eq!(read.kind(), kind);
            prop_assert_eq!(read.hash(), token.hash());
        }

        #[test]
        fn one_wrong_character_is_noticed(kind in kind(), secret in any::<Secret>(), at in 0usize..80, to in "[0-9a-z]") {
            let text = Token::new(kind, secret).reveal().to_owned();
            let mut wrong = text.clone();
            wrong.replace_range(at..at + 1, &to);
            prop_assert_eq!(wrong.parse::<Token>().is_ok(), wrong == text);
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC*|oct_api_\\PC{0,90}") {
            prop_assert!(text.parse::<Token>().is_err());
        }
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let token = Token::new(Kind::Api, [0xab; 32]);
        assert_eq!(format!("{token:?}"), "oct_api_...");
        assert_eq!(token.shown(), "oct_api_abab");
        assert_eq!(token.reveal().len(), 80);
        assert!(!format!("{:?}", token.hash()).contains(&token.hash().to_hex()));
    }
}
