//! The controller's certificate: of its own making, or given and then watched for a new one.
//!
//! One of its own making is known by its fingerprint, so it needs no authority and never expires.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::doctor::moment::{self, Validity};
use ocelot_proto::kit::shutdown::Tasks;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::bytes::files::{self, Access};

/// SHA-256 of a certificate: how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a certificate of our own making is for, beside loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub hosts: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path} cannot be read or written")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} holds no certificate or key in PEM form")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("the certificate {path} cannot be used with its key")]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("a certificate could not be made")]
    Make(#[from] rcgen::Error),
}

/// The certificate that the listener shows.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    /// SHA-256 of the files that it was read from.
    files: [u8; 32],
    fingerprint: Fingerprint,
    signing: Arc<CertifiedKey>,
}

impl Certificate {
    /// How often the files are looked at.
    const RELOAD_EVERY: Duration = Duration::from_secs(30);

    /// Opens the certificate in `directory`, or makes one that the owner alone can use. Blocks.
    pub fn ensure(directory: &Path, names: &Names) -> Result<Self, CertificateError> {
        let (chain, key) = (directory.join("tls-certificate.pem"), directory.join("tls-key.pem"));
        if !chain.exists() {
            let made = make(names)?;
            // The key goes first: where there is a certificate, there is its key.
            for (path, text, access) in
                [(&key, made.key, Access::Owner), (&chain, made.certificate, Access::Usual)]
            {
                files::replace(path, text.as_bytes(), access)
                    .map_err(|source| CertificateError::File { path: path.clone(), source })?;
            }
        }
        Self::open(chain, key)
    }

    /// Opens given files: a chain that begins with the server's own certificate, and its key. Blocks.
    pub fn open(chain: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let current = read(&chain, &key)?;
        Ok(Self { chain, key, current: RwLock::new(current) })
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.current().fingerprint
    }

    /// Returns from when to when it counts, if it says so.
    pub fn validity(&self) -> Option<Validity> {
        self.current().signing.cert.first().and_then(|certificate| moment::validity(certificate))
    }

    /// Takes a changed file over, for connections that begin from now on. Blocks. What cannot be
    /// used is not taken.
    pub fn reload_once(&self) -> Result<bool, CertificateError> {
        let new = read(&self.chain, &self.key)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = current.files != new.files;
        if changed {
            tracing::info!(fingerprint = %new.fingerprint, "the certificate has changed to {}", new.fingerprint);
            *current = new;
        }
        Ok(changed)
    }

    /// Watches the files for as long as the program runs.
    pub fn watch(self: &Arc<Self>, clock: Arc<dyn Clock>, tasks: &Tasks) {
        let (own, draining) = (Arc::clone(self), tasks.clone());
        tasks.spawn("certificate", async move {
            while !draining.is_draining() {
                tokio::select! {
                    () = clock.sleep(Self::RELOAD_EVERY) => {}
                    () = draining.draining() => return,
                }
                let own = Arc::clone(&own);
                match tokio::task::spawn_blocking(move || own.reload_once()).await {
                    Ok(Ok(_changed)) => {}
                    Ok(Err(error)) => tracing::error!(%error, "the old certificate is kept"),
                    Err(error) => tracing::error!(%error, "the certificate could not be looked at"),
                }
            }
        });
    }

    pub(super) fn server_config(self: Arc<Self>) -> Arc<rustls::ServerConfig> {
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions that are on by default");
        let mut config = builder.with_no_client_auth().with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().signing)
    }
}

struct Made {
    certificate: String,
    key: String,
}

fn make(names: &Names) -> Result<Made, CertificateError> {
    let mut subjects = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    subjects.extend(names.hosts.iter().cloned());
    subjects.extend(names.addresses.iter().map(IpAddr::to_string));
    let mut params = CertificateParams::new(subjects)?;
    params.distinguished_name.push(DnType::CommonName, "ocelot-controller");
    let key = KeyPair::generate()?;
    Ok(Made { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn read(chain: &Path, key: &Path) -> Result<Current, CertificateError> {
    let file = |path: &Path| {
        std::fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
    };
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Pem { path, source }
    };
    let (chain_pem, key_pem) = (file(chain)?, file(key)?);
    let certificates =
        CertificateDer::pem_slice_iter(&chain_pem).collect::<Result<Vec<_>, _>>().map_err(pem(chain))?;
    let own = certificates.first().ok_or_else(|| CertificateError::Empty(chain.to_owned()))?;
    let fingerprint = Fingerprint(Sha256::digest(own).into());
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(pem(key))?;
    let signing = CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider())
        .map_err(|source| CertificateError::Unusable { path: chain.to_owned(), source })?;
    let files = Sha256::new().chain_update(&chain_pem).chain_update(&key_pem).finalize().into();
    Ok(Current { files, fingerprint, signing: Arc::new(signing) })
}
