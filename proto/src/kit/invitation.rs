//! An invitation: all that a second machine needs to join, in one word to paste.
//!
//! `TOKEN@ADDRESS,ADDRESS#sha256:FINGERPRINT`: a registration token, where the controllers are, and
//! the certificate that they show if it is of their own making. It is as secret as its token.

use std::fmt;
use std::str::FromStr;

/// How a certificate is written: this, and SHA-256 in hexadecimal digits.
const FINGERPRINT: &str = "sha256:";

/// What a registration token is handed over with.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    pub token: String,
    /// URLs of controllers, at least one.
    pub addresses: Vec<String>,
    /// SHA-256 of the certificate; none where it is known otherwise, or on loopback.
    pub fingerprint: Option<[u8; 32]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInvitation {
    #[error("an invitation is TOKEN@ADDRESS, as `ocelot executor token` prints it; this has no `@`")]
    NoAddress,
    #[error("the addresses of an invitation begin with https:// or http://")]
    Address,
    #[error("the fingerprint of an invitation is sha256: and 64 hexadecimal digits")]
    Fingerprint,
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.token, self.addresses.join(","))?;
        let Some(fingerprint) = &self.fingerprint else { return Ok(()) };
        write!(f, "#{FINGERPRINT}")?;
        fingerprint.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Hides the token.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl FromStr for Invitation {
    type Err = InvalidInvitation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (token, rest) = text.trim().split_once('@').ok_or(InvalidInvitation::NoAddress)?;
        let (addresses, fingerprint) = match rest.split_once('#') {
            Some((addresses, fingerprint)) => (addresses, Some(parse_fingerprint(fingerprint)?)),
            None => (rest, None),
        };
        let addresses: Vec<_> = addresses.split(',').map(str::to_owned).collect();
        let is_url = |address: &String| address.starts_with("https://") || address.starts_with("http://");
        if !addresses.iter().all(is_url) {
            return Err(InvalidInvitation::Address);
        }
        Ok(Self { token: token.to_owned(), addresses, fingerprint })
    }
}

/// Reads a fingerprint as people are shown it.
pub fn parse_fingerprint(text: &str) -> Result<[u8; 32], InvalidInvitation> {
    let digits = text.strip_prefix(FINGERPRINT).ok_or(InvalidInvitation::Fingerprint)?;
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(InvalidInvitation::Fingerprint);
    }
    let mut fingerprint = [0; 32];
    for (byte, pair) in fingerprint.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| InvalidInvitation::Fingerprint)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidInvitation::Fingerprint)?;
    }
    Ok(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_read_as_it_was_written() {
        for fingerprint in [None, Some([0xab; 32])] {
            let addresses = vec!["https://a:7070".to_owned(), "https://[::1]:7070".to_owned()];
            let invitation = Invitation { token: "oct_reg_1".into(), addresses, fingerprint };
            assert_eq!(invitation.to_string().parse(), Ok(invitation));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let parse = |text: &str| text.parse::<Invitation>().unwrap_err();
        assert_eq!(parse("oct_reg_1"), InvalidInvitation::NoAddress);
        assert_eq!(parse("oct_reg_1@a:7070"), InvalidInvitation::Address);
        assert_eq!(parse("oct_reg_1@https://a#sha256:12"), InvalidInvitation::Fingerprint);
        let text = format!("oct_reg_1@https://a#sha256:{}", "é".repeat(32));
        assert_eq!(parse(&text), InvalidInvitation::Fingerprint);
    }
}
