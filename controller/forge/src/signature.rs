//! Whether a delivery was sent by one who knows the project's secret: decided over the raw bytes,
//! before anything is parsed, in a time that tells nothing of the secret.
//!
//! The strongest header that is there decides alone: when it is wrong, no weaker one is looked at,
//! and SHA-1 is never looked at. All headers are the sender's to choose, the delivery's id and the
//! name of the event too: only the body (at GitLab with a signing token: id and time too) is signed.
//! So nothing but the event's own key says whether a delivery was seen before.
//!
//! | forge | header | form |
//! |---|---|---|
//! | GitHub | `X-Hub-Signature-256` | `sha256=` and hex of the body's HMAC-SHA256 |
//! | Gitea, Forgejo | `X-Hub-Signature-256`, else `X-Forgejo-Signature`, else `X-Gitea-Signature` | the same, the latter two bare hex |
//! | GitLab | `webhook-signature` | `v1,` and base64 of the HMAC-SHA256 of `id.timestamp.body` (Standard Webhooks) |
//! | GitLab, classic | `X-Gitlab-Token` | the token itself |
//! | Bitbucket | `X-Hub-Signature` | as GitHub's `-256` |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};

use crate::secret::{Secret, sign};
use crate::text::{sha256, unhex};
use crate::{Forge, Headers};

/// A header may carry one signature for each key that is being rotated, not any number.
const SIGNATURES_MAX: usize = 8;
const HEADER_BYTES_MAX: usize = 4096;
const DELIVERY_ID_BYTES_MAX: usize = 128;

/// What vouched for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    pub scheme: Scheme,
    /// Which of the secrets it was: past the first, the forge still uses one that was rotated out.
    pub secret: usize,
    /// The signed moment of sending in Unix seconds, where there is one; its age is the caller's
    /// to judge.
    pub signed_at: Option<u64>,
}

/// The form in which a delivery was vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    BodySignature,
    StandardWebhooks,
    PlainToken,
}

/// Why a delivery is not taken for the forge's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the project has no secret to verify this delivery with")]
    NoSecret,
    #[error("the delivery carries no signature: set the webhook's secret at the forge")]
    Missing,
    #[error("the delivery carries only a SHA-1 signature, which proves nothing any more")]
    OnlySha1,
    #[error("the delivery's signature has not the form that this forge uses")]
    Malformed,
    #[error("the delivery's signature is not of this project's secret")]
    Wrong,
}

/// Decides whether one of the secrets (the current one first) vouches for the raw body.
pub fn verify(
    forge: Forge,
    headers: &Headers<'_>,
    body: &[u8],
    secrets: &[Secret],
) -> Result<Verified, SignatureError> {
    if secrets.is_empty() {
        return Err(SignatureError::NoSecret);
    }
    match forge {
        Forge::GitHub => match headers("x-hub-signature-256") {
            Some(header) => prefixed(header, body, secrets),
            None if headers("x-hub-signature").is_some() => Err(SignatureError::OnlySha1),
            None => Err(SignatureError::Missing),
        },
        Forge::Gitea => gitea(headers, body, secrets),
        Forge::Bitbucket => match headers("x-hub-signature") {
            Some(header) if header.starts_with(b"sha1=") => Err(SignatureError::OnlySha1),
            Some(header) => prefixed(header, body, secrets),
            None => Err(SignatureError::Missing),
        },
        Forge::GitLab => gitlab(headers, body, secrets),
    }
}

/// The id that the forge gave this delivery; not signed, so good only for finding it again.
pub fn delivery_id(forge: Forge, headers: &Headers<'_>) -> Option<String> {
    let names: &[&str] = match forge {
        Forge::GitHub => &["x-github-delivery"],
        Forge::GitLab => &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"],
        Forge::Gitea => &["x-forgejo-delivery", "x-gitea-delivery"],
        Forge::Bitbucket => &["x-request-uuid"],
    };
    let id = names.iter().find_map(|name| headers(name))?;
    let plain = (1..=DELIVERY_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    plain.then(|| String::from_utf8_lossy(id).into_owned())
}

fn gitea(headers: &Headers<'_>, body: &[u8], secrets: &[Secret]) -> Result<Verified, SignatureError> {
    if let Some(header) = headers("x-hub-signature-256") {
        return prefixed(header, body, secrets);
    }
    match headers("x-forgejo-signature").or_else(|| headers("x-gitea-signature")) {
        Some(header) => signed_body(header, body, secrets),
        None if headers("x-hub-signature").is_some() => Err(SignatureError::OnlySha1),
        None => Err(SignatureError::Missing),
    }
}

fn prefixed(header: &[u8], body: &[u8], secrets: &[Secret]) -> Result<Verified, SignatureError> {
    let hex = header.strip_prefix(b"sha256=").ok_or(SignatureError::Malformed)?;
    signed_body(hex, body, secrets)
}

fn signed_body(hex: &[u8], body: &[u8], secrets: &[Secret]) -> Result<Verified, SignatureError> {
    let given = unhex(hex).ok_or(SignatureError::Malformed)?;
    let secret = which(secrets, |secret| secret.sign(&[body]).ct_eq(&given))?;
    Ok(Verified { scheme: Scheme::BodySignature, secret, signed_at: None })
}

fn gitlab(headers: &Headers<'_>, body: &[u8], secrets: &[Secret]) -> Result<Verified, SignatureError> {
    if let Some(signatures) = headers("webhook-signature") {
        return standard_webhooks(headers, signatures, body, secrets);
    }
    let token = headers("x-gitlab-token").ok_or(SignatureError::Missing)?;
    // Hashed first, so that neither the length nor the common start shows in the time.
    let given = sha256(token);
    let secret = which(secrets, |secret| {
        let told = sha256(secret.gitlab_token().as_bytes());
        sha256(secret.reveal().as_bytes()).ct_eq(&given) | told.ct_eq(&given)
    })?;
    Ok(Verified { scheme: Scheme::PlainToken, secret, signed_at: None })
}

fn standard_webhooks(
    headers: &Headers<'_>,
    signatures: &[u8],
    body: &[u8],
    secrets: &[Secret],
) -> Result<Verified, SignatureError> {
    let (Some(id), Some(timestamp)) = (headers("webhook-id"), headers("webhook-timestamp")) else {
        return Err(SignatureError::Malformed);
    };
    let seconds = std::str::from_utf8(timestamp).ok().and_then(|text| text.parse().ok());
    let signed_at = seconds.ok_or(SignatureError::Malformed)?;
    // A dot inside the id could move bytes from one part into another.
    if signatures.len() > HEADER_BYTES_MAX || id.len() > DELIVERY_ID_BYTES_MAX || id.contains(&b'.') {
        return Err(SignatureError::Malformed);
    }
    let given: Vec<Vec<u8>> = signatures
        .split(|byte| *byte == b' ')
        .filter_map(|signature| signature.strip_prefix(b"v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok())
        .take(SIGNATURES_MAX)
        .collect();
    if given.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let secret = which(secrets, |secret| {
        let expected = sign(&secret.gitlab_signing_key(), &[id, b".", timestamp, b".", body]);
        given.iter().fold(Choice::from(0), |any, given| any | expected.as_slice().ct_eq(given))
    })?;
    Ok(Verified { scheme: Scheme::StandardWebhooks, secret, signed_at: Some(signed_at) })
}

/// The first secret that matches; all are tried, so that the time does not tell which it was.
fn which(secrets: &[Secret], matches: impl Fn(&Secret) -> Choice) -> Result<usize, SignatureError> {
    let results: Vec<Choice> = secrets.iter().map(matches).collect();
    results.into_iter().position(bool::from).ok_or(SignatureError::Wrong)
}

#[cfg(test)]
mod tests;
