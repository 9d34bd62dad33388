//! Ways to a controller: pinned, through a proxy, and what its answers mean.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server that says `hello` over TLS to each that trusts it, and its fingerprint.
async fn tls_server() -> (TcpListener, TlsAcceptor, Fingerprint) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["elsewhere".to_owned()]).unwrap().self_signed(&key).unwrap();
    let fingerprint = Fingerprint(Sha256::digest(certificate.der()).into());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener, TlsAcceptor::from(Arc::new(config)), fingerprint)
}

async fn greet(listener: &TcpListener, acceptor: &TlsAcceptor) {
    let (stream, _) = listener.accept().await.unwrap();
    if let Ok(mut stream) = acceptor.accept(stream).await {
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

fn route(address: &str, trust: &Trust, proxy: Option<Proxy>) -> Route {
    Route::new(address, &trust.config().unwrap(), proxy).unwrap()
}

async fn read(route: &Route) -> std::io::Result<String> {
    let mut stream = route.dial().await?.into_inner();
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_pinned_certificate_is_trusted_whatever_its_name() {
    let (listener, acceptor, fingerprint) = tls_server().await;
    let address = format!("https://{}", listener.local_addr().unwrap());
    let route = route(&address, &Trust::Fingerprint(fingerprint), None);
    let (said, ()) = tokio::join!(read(&route), greet(&listener, &acceptor));
    assert_eq!(said.unwrap(), "hello");
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused_with_both_named() {
    let (listener, acceptor, shown) = tls_server().await;
    let address = format!("https://{}", listener.local_addr().unwrap());
    let route = route(&address, &Trust::Fingerprint(Fingerprint([7; 32])), None);
    let (said, ()) = tokio::join!(read(&route), greet(&listener, &acceptor));
    let error = said.unwrap_err().to_string();
    assert!(error.contains(&shown.to_string()) && error.contains(&"07".repeat(32)), "{error}");
}

#[tokio::test]
async fn what_no_authority_signed_is_refused() {
    let (listener, acceptor, _) = tls_server().await;
    let address = format!("https://{}", listener.local_addr().unwrap());
    let route = route(&address, &Trust::System, None);
    let (said, ()) = tokio::join!(read(&route), greet(&listener, &acceptor));
    assert!(said.is_err());
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_with_its_password() {
    let (listener, acceptor, fingerprint) = tls_server().await;
    let target = listener.local_addr().unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named = format!("http://ann:p%40ss@{}", proxy.local_addr().unwrap());
    let route = route(
        &format!("https://{target}"),
        &Trust::Fingerprint(fingerprint),
        Some(Proxy::parse(&named).unwrap()),
    );
    let tunnel = async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nvia: us\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        tokio::io::copy_bidirectional(&mut stream, &mut server).await.ok();
        String::from_utf8(request).unwrap()
    };
    let (said, (), request) = tokio::join!(read(&route), greet(&listener, &acceptor), tunnel);
    assert_eq!(said.unwrap(), "hello");
    assert!(request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{request}");
    assert!(request.contains("proxy-authorization: Basic YW5uOnBAc3M=\r\n"), "{request}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_words() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named = Proxy::parse(&proxy.local_addr().unwrap().to_string()).unwrap();
    let route = route("http://ci.example.com:7070", &Trust::System, Some(named));
    let refusal = async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 407 Who are you\r\n\r\n").await.unwrap();
        stream
    };
    let (said, _stream) = tokio::join!(read(&route), refusal);
    let error = said.unwrap_err().to_string();
    assert!(error.contains("407 Who are you"), "{error}");
}

#[test]
fn hosts_that_are_excepted_and_loopback_need_no_proxy() {
    let proxy = Proxy::parse("http://proxy:3128");
    let except = vec![".example.com".to_owned()];
    let proxies = Proxies { https: proxy.clone(), http: None, except };
    assert_eq!(proxies.for_address("https://ci.example.com:1"), None);
    assert_eq!(proxies.for_address("https://127.0.0.1:1"), None);
    assert_eq!(proxies.for_address("https://notexample.com"), proxy.as_ref());
    assert_eq!(proxies.for_address("http://notexample.com"), None);
}

#[test]
fn only_the_word_fenced_is_a_fence() {
    let with = |word: &'static str| {
        let mut status = Status::aborted("why");
        status.metadata_mut().insert(WORD_HEADER, MetadataValue::from_static(word));
        judged(&status)
    };
    assert!(matches!(with("fenced"), CallError::Fenced));
    assert!(matches!(with("conflict"), CallError::Unknown(_)));
    assert!(matches!(judged(&Status::aborted("a proxy's word")), CallError::Unknown(_)));
    assert!(matches!(judged(&Status::not_found("x")), CallError::Refused(_)));
    assert!(matches!(judged(&Status::unauthenticated("x")), CallError::Unauthenticated(_)));
}

#[test]
fn an_address_has_a_scheme_and_no_path() {
    let tls = Trust::System.config().unwrap();
    for wrong in ["ci:7070", "https://", "ftp://ci", "https://ci/path", ""] {
        assert!(Route::new(wrong, &tls, None).is_err(), "{wrong:?} was taken");
    }
    let route = Route::new("https://[::1]:7070", &tls, None).unwrap();
    assert_eq!(route.to_string(), "https://[::1]:7070/");
}

#[tokio::test]
async fn signs_of_life_become_as_rare_as_heartbeats_and_never_more_frequent_again() {
    let line = Line::new(vec![route("http://ci.example.com", &Trust::System, None)], Credential::default());
    let stands = |told: u64| {
        line.client();
        line.ease(Duration::from_secs(told));
        let current = line.current.lock().unwrap();
        (current.apart.as_secs(), current.client.is_some())
    };
    assert_eq!(
        [2, 3, 10, 12, 2, 36].map(stands),
        [(2, true), (2, true), (10, false), (10, true), (10, true), (36, false)]
    );
}
