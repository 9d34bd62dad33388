//! A registry with one image, as small as an engine accepts: it cannot be pushed to, and it counts.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};
use ocelot_e2e::engine::docker;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(super) const USER: &str = "user";
pub(super) const PASSWORD: &str = "pass";
/// `user:pass`.
const AUTHORIZATION: &str = "authorization: basic dxnlcjpwyxnz";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Podman must be told beforehand which ones speak without TLS, as `tests/run` does; Docker asks every
/// address of this machine so.
const PORTS: RangeInclusive<u16> = 5500..=5563;

/// One image, `there:1`, for everybody or for those who log in.
pub(super) struct Registry {
    pub address: String,
    pub layers_sent: Arc<AtomicU32>,
    _serving: JoinSet<()>,
}

struct Content {
    private: bool,
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers_sent: Arc<AtomicU32>,
}

impl Registry {
    pub(super) async fn start(private: bool) -> Result<Self> {
        let listener = listen().await?;
        let address = listener.local_addr()?.to_string();
        // What a test that failed has left of an earlier registry here.
        let _absent = docker(&["rmi", "-f", &format!("{address}/there:1")]);
        let layers_sent = Arc::new(AtomicU32::new(0));
        let content = Arc::new(content(private, &address, Arc::clone(&layers_sent)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let content = Arc::clone(&content);
                connections.spawn(async move {
                    let _gone = answer(socket, &content).await;
                });
            }
        });
        Ok(Self { address, layers_sent, _serving: serving })
    }
}

/// Takes the first port that is free.
async fn listen() -> Result<TcpListener> {
    for port in PORTS {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener);
        }
    }
    bail!("none of the ports {PORTS:?} is free")
}

fn content(private: bool, address: &str, layers_sent: Arc<AtomicU32>) -> Content {
    // An empty archive; the comment makes each registry's image another one.
    let layer = vec![0; 1024];
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","author":"{address}","config":{{"User":"7"}},
            "rootfs":{{"type":"layers","diff_ids":["{}"]}},"history":[{{"created_by":"test"}}]}}"#,
        digest(&layer)
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}",
            "config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{}"}},
            "layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":{},"digest":"{}"}}]}}"#,
        config.len(),
        digest(config.as_bytes()),
        layer.len(),
        digest(&layer)
    );
    Content { private, layer, config: config.into(), manifest: manifest.into(), layers_sent }
}

fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

async fn answer(mut socket: TcpStream, content: &Content) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await?);
    }
    let request = String::from_utf8(request)?;
    let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let allowed = !content.private || request.to_lowercase().contains(AUTHORIZATION);
    let (status, kind, body): (&str, &str, &[u8]) = if !allowed {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        ("401 Unauthorized", "application/json", body)
    } else if path == "/v2/" {
        ("200 OK", "application/json", b"{}")
    } else if path.starts_with("/v2/there/manifests/") {
        ("200 OK", MANIFEST, &content.manifest)
    } else if path.ends_with(&digest(&content.config)) {
        ("200 OK", "application/octet-stream", &content.config)
    } else if path.ends_with(&digest(&content.layer)) {
        content.layers_sent.fetch_add(1, Ordering::SeqCst);
        ("200 OK", "application/octet-stream", &content.layer)
    } else {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        ("404 Not Found", "application/json", body)
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\nDocker-Content-Digest: {}\r\n\
         WWW-Authenticate: Basic realm=\"test\"\r\n\r\n",
        body.len(),
        digest(body)
    );
    socket.write_all(head.as_bytes()).await?;
    if !request.starts_with("HEAD") {
        socket.write_all(body).await?;
    }
    Ok(socket.shutdown().await?)
}
