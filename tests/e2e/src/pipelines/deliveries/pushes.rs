//! Pushes that were made, and the deliveries by which a forge tells of them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use ocelot_e2e::fleet::{Ground, Repository};
use ocelot_proto::wire;
use serde_json::{Value, json};

/// As GitHub documents it.
const PUSH: &str = include_str!("../../../../../controller/forge/tests/payloads/github/push.json");
/// Nobody executes it here.
const FILES: &[(&str, &str)] =
    &[("ocelot.yml", "runtime: process\nstages: [{name: work, script: echo built}]\n")];
/// Every so many branches are pushed to twice.
const TWICE_EVERY: usize = 4;
const NOTHING: &str = "0000000000000000000000000000000000000000";

/// A project that a forge tells of.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) secret: String,
}

/// One step of one branch: what makes two deliveries the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Push {
    /// The place of its project.
    pub(super) project: usize,
    pub(super) branch: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// What a forge sends.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// The place of its push.
    pub(super) push: usize,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Project {
    /// Makes a repository and its project, with a webhook.
    pub(super) async fn add(ground: &Ground, place: usize, forge: &str) -> Result<(Self, Repository)> {
        let name = format!("acme/{forge}-{place}");
        let repository = ground.repository(&name, FILES)?;
        let settings = wire::ProjectSettings {
            url: Some(ground.url(&name)),
            forge: Some(forge.to_owned()),
            ..wire::ProjectSettings::default()
        };
        let request = wire::PutProjectRequest {
            name: name.clone(),
            settings: Some(settings),
            hook: true,
            ..wire::PutProjectRequest::default()
        };
        let put = ground.fleet.caller(0)?.projects().put_project(request).await?.into_inner();
        ensure!(!put.hook_secret.is_empty(), "no secret was made: {put:?}");
        Ok((Self { name, id: 1_000 + place as u64, secret: put.hook_secret }, repository))
    }

    pub(super) fn path(&self) -> String {
        format!("/hooks/github/{}", self.name)
    }

    /// What GitHub sends of a push, under an id of its choice.
    pub(super) fn delivery(&self, place: usize, push: &Push, id: String) -> Result<Delivery> {
        let body = self.body(push)?;
        let headers = vec![
            ("x-github-event", "push".to_owned()),
            ("x-github-delivery", id),
            ("x-hub-signature-256", format!("sha256={}", sign(self.secret.as_bytes(), &[&body]))),
        ];
        Ok(Delivery { push: place, path: self.path(), headers, body })
    }

    pub(super) fn body(&self, push: &Push) -> Result<Vec<u8>> {
        let mut body: Value = serde_json::from_str(PUSH)?;
        body["ref"] = json!(format!("refs/heads/{}", push.branch));
        body["before"] = json!(push.before);
        body["after"] = json!(push.after);
        body["created"] = json!(push.before == NOTHING);
        for commit in ["/head_commit", "/commits/0"] {
            let commit = body.pointer_mut(commit).context("the payload has commits")?;
            commit["id"] = json!(push.after);
        }
        body["repository"]["id"] = json!(self.id);
        body["repository"]["full_name"] = json!(self.name);
        Ok(serde_json::to_vec(&body)?)
    }
}

/// Signs as GitHub does.
pub(super) fn sign(secret: &[u8], parts: &[&[u8]]) -> String {
    let mac = mac(secret, parts);
    mac.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a text takes all that is written");
        hex
    })
}

pub(super) fn mac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

/// Pushes so many commits to a repository: each branch is new, and every fourth goes on once.
pub(super) fn push(repository: &Repository, project: usize, count: usize) -> Result<Vec<Push>> {
    let mut stream = String::new();
    let mut steps: Vec<(String, Option<usize>)> = Vec::new();
    let mut branches = 0;
    while steps.len() < count {
        let branch = format!("topic-{branches}");
        branches += 1;
        commit(&mut stream, &branch, steps.len() + 1, "refs/heads/main^0");
        steps.push((branch.clone(), None));
        if branches % TWICE_EVERY == 0 && steps.len() < count {
            let before = steps.len();
            commit(&mut stream, &branch, before + 1, &format!(":{before}"));
            steps.push((branch, Some(before)));
        }
    }
    let marks = import(repository, &stream)?;
    let commit = |mark: usize| marks.get(mark - 1).cloned().context("each commit has a mark");
    let pushes = steps.into_iter().enumerate().map(|(place, (branch, before))| {
        let before = before.map_or_else(|| Ok(NOTHING.to_owned()), commit)?;
        Ok(Push { project, branch, before, after: commit(place + 1)? })
    });
    pushes.collect()
}

fn commit(stream: &mut String, branch: &str, mark: usize, from: &str) {
    let text = format!("change {mark}\n");
    write!(
        stream,
        "commit refs/heads/{branch}\nmark :{mark}\ncommitter Ada <ada@example.com> 1700000000 +0000\n\
         data {}\n{text}from {from}\nM 644 inline change\ndata {}\n{text}\n",
        text.len(),
        text.len()
    )
    .expect("a text takes all that is written");
}

/// Feeds git a stream of commits; returns their ids in the order of their marks.
fn import(repository: &Repository, stream: &str) -> Result<Vec<String>> {
    let marks = repository.bare.join("marks");
    let mut child = Command::new("git")
        .args(["fast-import", "--quiet", "--export-marks=marks"])
        .current_dir(&repository.bare)
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("a pipe")?.write_all(stream.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "git fast-import ended with {status}");
    let text = std::fs::read_to_string(&marks)?;
    std::fs::remove_file(&marks)?;
    let mut marks: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let (mark, commit) = line.trim_start_matches(':').split_once(' ').context("a mark has a commit")?;
        marks.push((mark.parse()?, commit.to_owned()));
    }
    marks.sort_unstable();
    Ok(marks.into_iter().map(|(_, commit)| commit).collect())
}
