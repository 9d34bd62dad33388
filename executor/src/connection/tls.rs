//! Whom the executor believes to be its controller.
//!
//! A fingerprint pins the one certificate of the controller's own making, whatever it says of itself.
//! Otherwise a certificate must come from an authority: of a given file, or one that the machine trusts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate: how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let digits: String = digits.chars().filter(|letter| *letter != ':').collect();
        let invalid = || TrustError::Fingerprint { text: text.to_owned() };
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

/// What proves that a controller is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    Fingerprint(Fingerprint),
    /// Authorities in PEM form.
    File(PathBuf),
    /// What the machine trusts.
    System,
}

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{text:?} is no fingerprint of a certificate; it has 64 hexadecimal digits")]
    Fingerprint { text: String },
    #[error("the authorities in {path} cannot be read", path = path.display())]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path} holds no certificate", path = path.display())]
    Empty { path: PathBuf },
    #[error("an authority in {path} cannot be used", path = path.display())]
    Unusable { path: PathBuf, source: Error },
}

impl Trust {
    /// Makes the settings of connections. Blocks.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions that are on by default");
        let mut config = match self {
            Self::Fingerprint(fingerprint) => {
                let pinned = Pinned { fingerprint: *fingerprint, provider };
                let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned));
                builder.with_no_client_auth()
            }
            Self::File(_) | Self::System => {
                builder.with_root_certificates(self.authorities()?).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn authorities(&self) -> Result<RootCertStore, TrustError> {
        let mut store = RootCertStore::empty();
        match self {
            Self::File(path) => {
                let pem = |source| TrustError::Pem { path: path.clone(), source };
                for certificate in CertificateDer::pem_file_iter(path).map_err(pem)? {
                    store
                        .add(certificate.map_err(pem)?)
                        .map_err(|source| TrustError::Unusable { path: path.clone(), source })?;
                }
                if store.is_empty() {
                    return Err(TrustError::Empty { path: path.clone() });
                }
            }
            Self::System | Self::Fingerprint(_) => {
                let found = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(found.certs);
                // A machine without any can still reach a controller that is pinned or not encrypted.
                if store.is_empty() {
                    tracing::debug!(problems = found.errors.len(), "this machine trusts no authority");
                }
            }
        }
        Ok(store)
    }
}

/// Accepts one certificate and no other. The handshake proves that the other side has its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint(Sha256::digest(end_entity).into());
        if shown == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!(
            "the controller shows the certificate {shown}, and {} is expected: register again if it was changed on purpose",
            self.fingerprint
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
