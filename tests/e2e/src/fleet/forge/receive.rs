//! The `post-receive` hook: it reads what git pushed, and tells the controller as the forge would.
//!
//! It runs as a process of its own, so that no shell has to sign; its secret stands in a file and
//! never in its arguments.

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use ocelot_controller::auth::random_secret;
use ocelot_forge::Forge;
use serde_json::{Value, json};

use super::payload;

/// Forges wait for an answer so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A ref that a push moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move<'a> {
    pub(super) old: &'a str,
    pub(super) new: &'a str,
    pub(super) reference: &'a str,
    /// Of the new head.
    pub(super) message: &'a str,
}

/// What a delivery was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub(super) fn read(line: &str) -> Result<Self> {
        let told: Value = serde_json::from_str(line)?;
        let status = told["status"].as_u64().context("no status")?;
        Ok(Self { status: status.try_into()?, body: told["body"].clone() })
    }
}

/// Tells of every ref that standard input names, and notes the answers.
pub fn post_receive(settings: &str) -> Result<()> {
    let settings: Value = serde_json::from_str(&std::fs::read_to_string(settings)?)?;
    let answers = settings["answers"].as_str().context("answers are noted nowhere")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [old, new, reference] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("git says {line:?}")
        };
        let message = message(new)?;
        let answer = send(&settings, &Move { old, new, reference, message: &message })?;
        let noted = json!({ "status": answer.status, "body": answer.body });
        let mut file = File::options().append(true).create(true).open(Path::new(answers))?;
        file.write_all(format!("{noted}\n").as_bytes())?;
    }
    Ok(())
}

/// Returns the message of a commit of the repository that the hook runs in.
fn message(commit: &str) -> Result<String> {
    if commit.bytes().all(|byte| byte == b'0') {
        return Ok(String::new());
    }
    let output = Command::new("git").args(["log", "-1", "--format=%B", commit]).output()?;
    ensure!(output.status.success(), "git log {commit}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Posts one delivery, signed as its forge signs.
pub(super) fn send(settings: &Value, moved: &Move<'_>) -> Result<Answer> {
    let text = |name: &str| settings[name].as_str().with_context(|| format!("no {name} is told"));
    let kind: Forge = text("kind")?.parse()?;
    let secret = text("secret")?;
    let (event, body) = payload::of(kind, settings, moved)?;
    let body = body.to_string();
    let signature = mac(secret, body.as_bytes());
    let headers = match kind {
        Forge::GitHub => vec![
            ("X-GitHub-Event", event.to_owned()),
            ("X-GitHub-Delivery", hex(&random_secret()[..16])),
            ("X-Hub-Signature-256", format!("sha256={signature}")),
        ],
        Forge::GitLab => vec![("X-Gitlab-Event", event.to_owned()), ("X-Gitlab-Token", secret.to_owned())],
        Forge::Gitea => vec![("X-Gitea-Event", event.to_owned()), ("X-Gitea-Signature", signature)],
        Forge::Bitbucket => {
            vec![("X-Event-Key", event.to_owned()), ("X-Hub-Signature", format!("sha256={signature}"))]
        }
    };
    post(text("url")?, &headers, &body)
}

pub(super) fn mac(secret: &str, bytes: &[u8]) -> String {
    hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Posts over a connection of its own.
fn post(url: &str, headers: &[(&str, String)], body: &str) -> Result<Answer> {
    let mut more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        more.push_str(&format!("{name}: {value}\r\n"));
    }
    let (status, body) = call("POST", url, &more, body)?;
    Ok(Answer { status, body: serde_json::from_str(&body).unwrap_or_else(|_| body.into()) })
}

/// Reads what lies at an address.
pub fn get(url: &str) -> Result<String> {
    let (status, body) = call("GET", url, "", "")?;
    ensure!(status == 200, "{url} answers {status}: {body}");
    Ok(body)
}

fn call(method: &str, url: &str, headers: &str, body: &str) -> Result<(u16, String)> {
    let rest = url.strip_prefix("http://").context("the controller listens on loopback")?;
    let (host, path) = rest.split_once('/').context("an address has a path")?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Without pieces (HTTP/1.0) the body ends with the connection.
    let request = format!("{method} /{path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer broke off")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status in {head:?}"))?, body.to_owned()))
}
