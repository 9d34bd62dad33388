//! What must never be printed: secrets of webhooks and tokens of forges.
//!
//! Their `Debug` says nothing of them; only the modules that sign, compare or authorize read them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Shorter secrets can be guessed from one delivery.
const SECRET_BYTES_MIN: usize = 16;
const SECRET_BYTES_MAX: usize = 1024;
/// The prefix of a key in the Standard Webhooks form.
const STANDARD_PREFIX: &str = "whsec_";

/// The secret that a project shares with its forge.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret that would protect nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
pub struct WeakSecret;

impl Secret {
    pub fn new(text: impl Into<String>) -> Result<Self, WeakSecret> {
        let text = text.into();
        match (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len()) {
            true => Ok(Self(text)),
            false => Err(WeakSecret),
        }
    }

    /// The secret itself, for the one who shows it once or stores it sealed.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The HMAC-SHA256 of the parts, one after the other, under this secret.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        sign(self.0.as_bytes(), parts)
    }

    /// The key of GitLab's signing token: the one inside a `whsec_` secret, or one made from it.
    pub(crate) fn gitlab_signing_key(&self) -> Vec<u8> {
        let standard = self.0.strip_prefix(STANDARD_PREFIX).and_then(|key| STANDARD.decode(key).ok());
        standard.unwrap_or_else(|| self.sign(&[b"ocelot: gitlab signing key"]).to_vec())
    }

    /// The signing token as GitLab wants it told.
    pub(crate) fn gitlab_signing_token(&self) -> String {
        format!("{STANDARD_PREFIX}{}", STANDARD.encode(self.gitlab_signing_key()))
    }

    /// The classic token that we tell GitLab. It travels in the open with each delivery, so it is
    /// made from the secret in a way that does not give the signing key away.
    pub(crate) fn gitlab_token(&self) -> String {
        crate::text::hex(&self.sign(&[b"ocelot: gitlab token"]))
    }
}

pub(crate) fn sign(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What authorizes our requests at a forge.
#[derive(Clone, PartialEq, Eq)]
pub enum ForgeToken {
    /// An access token of any kind.
    Token(String),
    /// Bitbucket's API tokens and app passwords go with a user's name.
    Password { user: String, password: String },
}

impl ForgeToken {
    pub(crate) fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }
}

impl fmt::Debug for ForgeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForgeToken(..)")
    }
}
