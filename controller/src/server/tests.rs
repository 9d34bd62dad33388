use std::net::Ipv4Addr;

use async_trait::async_trait;
use axum::Json;
use axum::extract::Extension;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::shutdown::{Ended, Shutdown};
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsConnector;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::auth::{Admitted, ApiTokens, Caller, Denied, Gate, Identity, NewApiToken, Sessions, Token};
use crate::store::embedded::{EmbeddedStore, Settings};

use super::*;

#[derive(Debug)]
struct NoSessions;

#[async_trait]
impl Sessions for NoSessions {
    async fn session(&self, _token: &Token) -> Result<Admitted, Denied> {
        Err(Denied::Unknown)
    }
}

#[derive(Debug)]
struct StoreMissing(bool);

#[async_trait]
impl Health for StoreMissing {
    async fn missing(&self) -> Vec<NotReady> {
        let missing = NotReady { what: "store".into(), why: "it does not answer".into() };
        if self.0 { vec![missing] } else { vec![] }
    }
}

struct Bench {
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    api: Arc<ApiTokens>,
    token: Token,
    shutdown: Shutdown,
    /// Lets the handler of `/slow` answer.
    finish: Arc<Notify>,
    /// Says that the handler of `/slow` runs.
    begun: Arc<Notify>,
    _directory: TempDir,
}

const GRACE: Duration = Duration::from_secs(60);

async fn bench(encrypted: bool, limits: Limits) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(Settings::new(directory.path())).unwrap());
    let api = Arc::new(ApiTokens::new(store, Arc::new(SystemClock)));
    let new = NewApiToken { name: "ci".into(), person: "ada".into(), expires_in: None };
    let (_, token) = api.create(new, [1; 32]).await.unwrap();

    let (finish, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (let_go, tell) = (Arc::clone(&finish), Arc::clone(&begun));
    let slow = move || async move {
        tell.notify_one();
        let_go.notified().await;
        "done"
    };
    let drip = || async {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first"))]);
        axum::body::Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
    };
    let (_, health) = tonic_health::server::health_reporter();
    let app = tonic::service::Routes::new(health)
        .into_axum_router()
        .reset_fallback()
        .route("/who", get(who))
        .route("/slow", get(slow))
        .route("/drip", get(drip))
        .route("/broken", get(async || -> StatusCode { panic!("broken") }))
        .route("/ocelot.v1.ExecutorService/Register", post(async || "in"))
        .route("/echo", post(async |body: Bytes| body));
    let gate = Gate::new(Arc::clone(&api), Arc::new(NoSessions));
    let routes = Routes::new(app, gate, Arc::new(StoreMissing(false)), RequestIds::new(7));

    let certificate =
        encrypted.then(|| Arc::new(Certificate::ensure(directory.path(), &Names::default()).unwrap()));
    let transport = certificate.clone().map_or(Transport::Plain, Transport::Tls);
    let shutdown = Shutdown::new(GRACE);
    api.run(&shutdown.tasks());
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(here, transport, limits).await.unwrap();
    let address = listener.address();
    listener.serve(routes, Arc::new(SystemClock), &shutdown.tasks());
    Bench { address, certificate, api, token, shutdown, finish, begun, _directory: directory }
}

async fn who(Extension(caller): Extension<Caller>) -> Json<String> {
    Json(match caller.identity {
        Identity::Person { token, person } => format!("{person} through {token}"),
        Identity::Executor { executor, .. } => executor.to_string(),
        Identity::Controller { name } => name,
    })
}

/// Trusts a certificate by its fingerprint alone, as our clients do.
#[derive(Debug)]
struct Pinned(Fingerprint);

impl rustls::client::danger::ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        if Fingerprint(Sha256::digest(end_entity).into()) == self.0 {
            return Ok(rustls::client::danger::ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let known = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let known = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Bench {
    async fn connect(&self, alpn: &[u8]) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        let Some(certificate) = &self.certificate else { return Ok(Box::new(stream)) };
        connect_pinned(stream, certificate.fingerprint(), alpn).await
    }

    async fn http1(&self) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.connect(b"http/1.1").await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.shutdown.tasks().spawn("client", async move { drop(connection.await) });
        sender
    }

    async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.connect(b"h2").await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        self.shutdown.tasks().spawn("client", async move { drop(connection.await) });
        sender
    }

    fn get(&self, path: &str) -> Request<Full<Bytes>> {
        Request::get(format!("http://localhost{path}"))
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", self.token.reveal()))
            .body(Full::default())
            .unwrap()
    }
}

async fn connect_pinned(
    stream: TcpStream,
    fingerprint: Fingerprint,
    alpn: &[u8],
) -> std::io::Result<Box<dyn Stream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(fingerprint)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

async fn text<B: hyper::body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn one_port_speaks_http1_and_http2_to_those_who_know_its_fingerprint() {
    let bench = bench(true, Limits::default()).await;
    let one = bench.http1().await.send_request(bench.get("/who")).await.unwrap();
    assert_eq!((one.version(), text(one).await.as_str()), (Version::HTTP_11, "\"ada through ci\""));
    let two = bench.http2().await.send_request(bench.get("/who")).await.unwrap();
    assert_eq!((two.version(), text(two).await.as_str()), (Version::HTTP_2, "\"ada through ci\""));

    let stream = TcpStream::connect(bench.address).await.unwrap();
    assert!(connect_pinned(stream, Fingerprint([0; 32]), b"h2").await.is_err());
}

#[tokio::test]
async fn the_certificate_is_made_once_kept_private_and_changes_with_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let first = Certificate::ensure(directory.path(), &Names::default()).unwrap();
    let again = Certificate::ensure(directory.path(), &Names::default()).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert!(first.fingerprint().to_string().starts_with("sha256:"));
    let key = directory.path().join("tls-key.pem");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let other = tempfile::tempdir().unwrap();
    let new = Certificate::ensure(other.path(), &Names::default()).unwrap();
    assert!(!first.reload_once().unwrap());
    std::fs::copy(other.path().join("tls-certificate.pem"), directory.path().join("tls-certificate.pem"))
        .unwrap();
    assert!(first.reload_once().is_err(), "a certificate is not taken without its key");
    assert_eq!(first.fingerprint(), again.fingerprint());
    std::fs::copy(other.path().join("tls-key.pem"), &key).unwrap();
    assert!(first.reload_once().unwrap());
    assert_eq!(first.fingerprint(), new.fingerprint());
}

#[tokio::test]
async fn nothing_goes_beyond_loopback_in_plain_text() {
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let refused = Listener::bind(everywhere, Transport::Plain, Limits::default()).await;
    assert!(matches!(refused, Err(ListenError::PlainBeyondLoopback(_))));
}

#[tokio::test]
async fn every_route_but_the_public_ones_needs_a_credential() {
    let bench = bench(false, Limits::default()).await;
    let mut client = bench.http1().await;
    let everywhere = [
        "/",
        "/who",
        "/slow",
        "/drip",
        "/broken",
        "/echo",
        "/nothing",
        "/livez/",
        "//livez",
        "/livez;x",
        "/livez%2f",
        "/%6civez",
        "/readyz/..",
        "/LIVEZ",
        "/ocelot.v1.ExecutorService/Poll",
        "/ocelot.v1.ExecutorService/Register/",
        "/x/../livez",
    ];
    for path in everywhere {
        for method in ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let answer = client.send_request(request.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            answer.into_body().collect().await.unwrap();
        }
    }
    for path in ["/livez", "/readyz"] {
        let request = Request::get(path).header("host", "localhost").body(Full::default()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.into_body().collect().await.unwrap();
    }
    assert_eq!(PUBLIC.len(), 5, "a public route is a decision of its own");
}

#[tokio::test]
async fn errors_look_alike_and_carry_the_request_id() {
    let bench = bench(false, Limits::default()).await;
    let mut client = bench.http1().await;
    let mut shown = Vec::new();
    for (path, id) in [("/nothing", "mine-1"), ("/broken", "mine-2"), ("/nothing", "not plain")] {
        let mut request = bench.get(path);
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        let answer = client.send_request(request).await.unwrap();
        let (status, id) = (answer.status(), answer.headers()["x-request-id"].to_str().unwrap().to_owned());
        shown.push(format!("{} {id} {}", status.as_u16(), text(answer).await));
    }
    insta::assert_snapshot!(shown.join("\n"), @r#"
    404 mine-1 {"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing at this address","code":"not_found","request_id":"mine-1"}
    500 mine-2 {"type":"about:blank","title":"Internal Server Error","status":500,"detail":"a fault of the controller; its log knows more under this request's id","code":"internal","request_id":"mine-2"}
    404 0000000000000007-1 {"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing at this address","code":"not_found","request_id":"0000000000000007-1"}
    "#);
}

#[tokio::test]
async fn a_grpc_caller_is_refused_with_a_grpc_status() {
    let bench = bench(true, Limits::default()).await;
    let mut client = bench.http2().await;
    for (credential, path, code) in [(false, "/ocelot.v1.RunService/Execute", "16"), (true, "/nothing", "12")]
    {
        let mut request = bench.get(path);
        *request.method_mut() = hyper::Method::POST;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        if !credential {
            request.headers_mut().remove("authorization");
        }
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["grpc-status"]),
            (StatusCode::OK, &code.parse().unwrap())
        );
    }
}

#[tokio::test]
async fn grpc_runs_beside_http_and_a_revoked_token_ends_its_streams() {
    let bench = bench(true, Limits::default()).await;
    let (address, fingerprint) = (bench.address, bench.certificate.as_ref().unwrap().fingerprint());
    let connector = tower::service_fn(move |_: tonic::transport::Uri| async move {
        connect_pinned(TcpStream::connect(address).await?, fingerprint, b"h2").await.map(TokioIo::new)
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    let old = endpoint.clone().user_agent("ocelot/0.0.9").unwrap();
    let old = old.connect_with_connector(connector).await.unwrap();
    let old = HealthClient::new(old).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(old.code(), tonic::Code::FailedPrecondition);
    assert!(old.message().ends_with("install 0.1.0 or a newer one"), "{old}");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let bearer: tonic::metadata::AsciiMetadataValue =
        format!("Bearer {}", bench.token.reveal()).parse().unwrap();
    let with_token = move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    };
    let request = HealthCheckRequest { service: String::new() };

    let stranger = HealthClient::new(channel.clone()).check(request.clone()).await.unwrap_err();
    assert_eq!(stranger.code(), tonic::Code::Unauthenticated);
    let mut client = HealthClient::with_interceptor(channel, with_token);
    assert_eq!(client.check(request.clone()).await.unwrap().into_inner().status, 1);
    let mut stream = client.watch(request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    bench.api.revoke("ci").await.unwrap();
    let ended = stream.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (tonic::Code::Unauthenticated, "the token is not valid any more")
    );
}

#[tokio::test]
async fn a_revoked_token_ends_open_calls_and_open_streams() {
    let bench = bench(false, Limits::default()).await;
    let (mut one, mut other) = (bench.http1().await, bench.http1().await);
    let mut stream = one.send_request(bench.get("/drip")).await.unwrap().into_body();
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let call = other.send_request(bench.get("/slow"));
    let revoke = async {
        bench.begun.notified().await;
        bench.api.revoke("ci").await.unwrap();
    };
    let (answer, ()) = tokio::join!(call, revoke);
    assert_eq!(answer.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert!(stream.frame().await.unwrap().is_err(), "the stream breaks off");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_dropped() {
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let bench = bench(true, limits).await;
    for _ in 0..2 {
        let mut silent = TcpStream::connect(bench.address).await.unwrap();
        assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0, "the listener closes it");
    }
}

#[tokio::test]
async fn headers_that_do_not_come_are_not_waited_for() {
    let limits = Limits { headers: Duration::from_millis(50), ..Limits::default() };
    let bench = bench(false, limits).await;
    let mut slow = TcpStream::connect(bench.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_wants_is_closed() {
    let limits = Limits { headers: Duration::from_millis(50), ..Limits::default() };
    let bench = bench(false, limits).await;
    for said in [b"".as_slice(), b"PRI * HTTP/2.0"] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
    }
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused_and_others_go_on() {
    let bench = bench(false, Limits::default()).await;
    let mut good = bench.http2().await;
    let long = "x".repeat(20 * 1024);
    let mut request = bench.get("/who");
    request.headers_mut().insert("x-long", long.parse().unwrap());
    let answer = bench.http1().await.send_request(request.clone()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let refused = bench.http2().await.send_request(request).await;
    assert!(refused.map_or(true, |answer| answer.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    assert_eq!(good.send_request(bench.get("/who")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let bench = bench(false, Limits::default()).await;
    for (bytes, status) in
        [(MESSAGE_BYTES_MAX, StatusCode::OK), (MESSAGE_BYTES_MAX + 1, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        let mut request = bench.get("/echo");
        *request.method_mut() = hyper::Method::POST;
        *request.body_mut() = Full::from(vec![0; bytes]);
        let answer = bench.http2().await.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let bench = bench(false, Limits { connections: 1, ..Limits::default() }).await;
    let mut first = bench.http1().await;
    assert_eq!(first.send_request(bench.get("/who")).await.unwrap().status(), StatusCode::OK);
    let mut second = TcpStream::connect(bench.address).await.unwrap();
    assert_eq!(second.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_drain_lets_an_open_call_finish_and_takes_no_new_connection() {
    let bench = bench(true, Limits::default()).await;
    let mut client = bench.http2().await;
    let call = client.send_request(bench.get("/slow"));
    let Bench { address, shutdown, finish, begun, .. } = &bench;
    let tasks = shutdown.tasks();
    let drain = async {
        begun.notified().await;
        tasks.begin_drain();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        finish.notify_one();
    };
    let (answer, ()) = tokio::join!(call, drain);
    assert_eq!(text(answer.unwrap()).await, "done");
    drop(client);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let bench = bench(false, Limits::default()).await;
    let mut idle = TcpStream::connect(bench.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let (_request, requests) = mpsc::channel(2);
    bench.shutdown.tasks().begin_drain();
    assert_eq!(bench.shutdown.run(requests).await, Ended::Drained);
}
