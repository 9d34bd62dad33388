//! What a cold container costs without us: the engine's own create and start, asked over its socket as
//! an executor asks, in a network like an executor's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

const SOCKET: &str = "/var/run/docker.sock";

/// The engine, with a network of ours in it.
#[derive(Debug)]
pub(super) struct Engine {
    network: String,
}

impl Engine {
    /// Makes a bridge in which containers do not reach each other.
    pub(super) async fn isolated() -> Result<Self> {
        let name = format!("ocelot-bench-{}", std::process::id());
        let options = json!({"com.docker.network.bridge.enable_icc": "false"});
        let made = ask("POST", "/networks/create", json!({"Name": name, "Options": options})).await?;
        Ok(Self { network: text(&made, "Id")? })
    }

    /// Returns how long it takes to create a container of this image and to start it; then it is removed.
    pub(super) async fn create_and_start(&self, image: &str) -> Result<Duration> {
        let log = json!({"Type": "json-file", "Config": {"max-size": "64k", "max-file": "1"}});
        let host = json!({
            "NetworkMode": self.network, "PidsLimit": 4096, "CapDrop": ["ALL"], "IpcMode": "private",
            "CgroupnsMode": "private", "SecurityOpt": ["no-new-privileges"], "LogConfig": log,
        });
        let body = json!({"Image": image, "Entrypoint": ["sleep", "60"], "Cmd": [], "HostConfig": host});
        let began = Instant::now();
        let id = text(&ask("POST", "/containers/create", body).await?, "Id")?;
        let started = ask("POST", &format!("/containers/{id}/start"), Value::Null).await;
        let took = began.elapsed();
        ask("DELETE", &format!("/containers/{id}?force=1&v=1"), Value::Null).await?;
        started.map(|_| took)
    }

    pub(super) async fn remove(self) -> Result<()> {
        ask("DELETE", &format!("/networks/{}", self.network), Value::Null).await.map(drop)
    }
}

fn text(answer: &Value, field: &str) -> Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("no {field} in {answer}"))?.to_owned())
}

/// Asks once. The oldest HTTP ends an answer with its connection.
async fn ask(method: &str, path: &str, body: Value) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut socket = UnixStream::connect(SOCKET).await.context("the engine cannot be reached")?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the engine's answer is cut off")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{method} {path}: {status} {body}");
    Ok(serde_json::from_str(body).unwrap_or_default())
}
