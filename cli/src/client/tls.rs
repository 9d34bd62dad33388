//! Encryption, and who is trusted: one certificate by its fingerprint, or authorities.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::Why;
use crate::config::Trust;

/// What all calls speak.
const HTTP2: &[u8] = b"h2";

/// Takes exactly one certificate, and notes which one came.
#[derive(Debug)]
struct Pinned {
    /// None: whichever it is, to look at it.
    wanted: Option<[u8; 32]>,
    seen: Mutex<Option<[u8; 32]>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen: [u8; 32] = Sha256::digest(own).into();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        if self.wanted.is_none_or(|wanted| wanted == seen) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes a connection private, if the other side is trusted.
pub(super) async fn handshake(
    tcp: TcpStream,
    host: &str,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, Why> {
    handshake_for(HTTP2, tcp, host, trust).await
}

/// The same, for what is then spoken.
pub(super) async fn handshake_for(
    tongue: &[u8],
    tcp: TcpStream,
    host: &str,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, Why> {
    match trust {
        Trust::Fingerprint(wanted) => {
            let pinned = Arc::new(pinned(Some(*wanted)));
            let ended = with(tongue, tcp, host, pinned_config(&pinned)).await;
            let seen = *pinned.seen.lock().unwrap_or_else(PoisonError::into_inner);
            ended.map_err(|error| match seen {
                Some(seen) if seen != *wanted => Why::Stranger { seen },
                Some(_) | None => Why::Tls(error),
            })
        }
        Trust::System | Trust::Authorities(_) => {
            let roots = roots(trust).map_err(Why::Authorities)?;
            with(tongue, tcp, host, rooted_config(roots)).await.map_err(Why::Tls)
        }
    }
}

/// Returns the fingerprint of the certificate that is shown.
pub(super) async fn look(tcp: TcpStream, host: &str) -> Result<[u8; 32], Why> {
    let pinned = Arc::new(pinned(None));
    with(HTTP2, tcp, host, pinned_config(&pinned)).await.map_err(Why::Tls)?;
    let seen = *pinned.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.ok_or_else(|| Why::Tls(io::Error::other("it showed no certificate")))
}

async fn with(
    tongue: &[u8],
    tcp: TcpStream,
    host: &str,
    mut config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![tongue.to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

fn pinned(wanted: Option<[u8; 32]>) -> Pinned {
    Pinned { wanted, seen: Mutex::default(), provider: Arc::new(aws_lc_rs::default_provider()) }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are on by default")
}

fn pinned_config(pinned: &Arc<Pinned>) -> ClientConfig {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(pinned) as _;
    builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

fn rooted_config(roots: RootCertStore) -> ClientConfig {
    builder().with_root_certificates(roots).with_no_client_auth()
}

fn roots(trust: &Trust) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Authorities(file) => {
            for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
                let certificate = certificate.map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
            }
        }
        Trust::System | Trust::Fingerprint(_) => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other("there are none"));
    }
    Ok(roots)
}
