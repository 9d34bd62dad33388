//! The other controllers: who they are, and how a log is read from one of them.
//!
//! A controller shows the others a token that it makes anew with each start; the store holds only its
//! digest, under the controller's lease. It opens one call, that of reading a log. The other's
//! certificate is the one that its record names, or the connection is not used.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use ocelot_proto::kit::doctor::ask::{Answer, ask};
use ocelot_proto::wire;
use ocelot_proto::wire::run_service_client::RunServiceClient;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};

use crate::auth::{Controllers, Kind, Token, random_secret};
use crate::records::{ControllerRecord, Digest};
use crate::service::Service;

const CONNECT: Duration = Duration::from_secs(2);
/// How often a silent connection is asked whether it is still there, and for how long.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// What this controller shows the others.
#[derive(Debug, Clone)]
pub struct OwnToken(Token);

impl OwnToken {
    pub fn make() -> Self {
        Self(Token::new(Kind::Controller, random_secret()))
    }

    /// Returns what the others know it by.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.reveal().as_bytes())
    }
}

/// The other controllers.
#[derive(Debug)]
pub struct Peers {
    service: Arc<Service>,
    own: OwnToken,
    /// By name, with the life of the controller that it leads to.
    channels: Mutex<BTreeMap<String, (ControllerRecord, Channel)>>,
}

impl Peers {
    pub fn new(service: Arc<Service>, own: OwnToken) -> Self {
        Self { service, own, channels: Mutex::default() }
    }

    /// Returns the controllers that run beside this one, as the view has them.
    pub(super) fn others(&self) -> Vec<ControllerRecord> {
        let all = self.service.controllers();
        all.into_iter().filter(|one| one.name != self.service.name()).collect()
    }

    /// Reads what another controller itself has of a log.
    pub(super) async fn read_log(
        &self,
        other: &ControllerRecord,
        request: wire::ReadLogRequest,
    ) -> Result<Streaming<wire::ReadLogResponse>, Status> {
        let channel = self.channel(other).map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(request);
        let bearer: AsciiMetadataValue = format!("Bearer {}", self.own.0.reveal())
            .parse()
            .expect("a token has only letters, digits and underscores");
        request.metadata_mut().insert("authorization", bearer);
        Ok(RunServiceClient::new(channel).read_log(request).await?.into_inner())
    }

    fn channel(&self, other: &ControllerRecord) -> io::Result<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, channel)) = channels.get(&other.name).filter(|(known, _)| known == other) {
            return Ok(channel.clone());
        }
        let alive: Vec<String> = self.others().into_iter().map(|one| one.name).collect();
        channels.retain(|name, _| alive.contains(name));
        let channel = connect(other)?;
        channels.insert(other.name.clone(), (other.clone(), channel.clone()));
        Ok(channel)
    }
}

#[async_trait::async_trait]
impl Controllers for Peers {
    async fn controller(&self, token: &Token) -> crate::store::Result<Option<String>> {
        let digest = Digest::of(token.reveal().as_bytes());
        Ok(self.service.controller_with(&digest).await?.map(|record| record.name))
    }
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Makes a channel that connects when it is first used.
fn connect(other: &ControllerRecord) -> io::Result<Channel> {
    let unusable = |_| io::Error::new(io::ErrorKind::InvalidInput, "the controller's address is no URL");
    let uri: Uri = other.address.parse().map_err(unusable)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let pinned = other.certificate;
    if pinned.is_none() && uri.scheme_str() != Some("http") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the controller names no certificate"));
    }
    let connector = tower::service_fn(move |_: Uri| {
        let host = host.clone();
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let Some(fingerprint) = pinned else {
                return Ok(TokioIo::new(Box::new(stream) as Box<dyn Connection>));
            };
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            let tls = tokio_rustls::TlsConnector::from(Arc::new(config(fingerprint)));
            Ok::<_, io::Error>(TokioIo::new(Box::new(tls.connect(name, stream).await?)))
        }
    });
    // The scheme is the inside's: encryption is the connector's matter.
    let endpoint = Endpoint::from_static("http://controller")
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(false);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// Asks the controller that listens at `address` of this machine whether it is ready. It shows the
/// certificate with this fingerprint, or speaks plain text.
pub async fn look(address: SocketAddr, fingerprint: Option<[u8; 32]>) -> io::Result<Answer> {
    let looked = async {
        let stream = TcpStream::connect(address).await?;
        let Some(fingerprint) = fingerprint else { return ask(stream, &address.to_string()).await };
        let mut config = config(fingerprint);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::from(address.ip());
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        ask(tls, &address.to_string()).await
    };
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(CONNECT + KEEPALIVE, looked).await.map_err(timed_out)?
}

fn config(fingerprint: [u8; 32]) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { fingerprint, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are on by default")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Trusts one certificate, by its fingerprint alone.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
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
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: [u8; 32] = Sha256::digest(end_entity).into();
        if found == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
