//! Signatures as executors make them.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::parts::Verify;

/// Checks Ed25519 signatures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519;

impl Verify for Ed25519 {
    fn is_signed(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    #[test]
    fn only_the_holder_of_the_key_signs_and_only_what_was_signed() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let signature = pair.sign(b"hello");
        assert!(Ed25519.is_signed(&key, b"hello", signature.as_ref()));
        assert!(!Ed25519.is_signed(&key, b"hallo", signature.as_ref()));
        assert!(!Ed25519.is_signed(&[9; 32], b"hello", signature.as_ref()));
        assert!(!Ed25519.is_signed(&key, b"hello", b"short"));
    }
}
