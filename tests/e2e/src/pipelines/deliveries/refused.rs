//! What is not the forge's, and what was taken before: none of it changes the store.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use ocelot_e2e::fleet::Ground;
use ocelot_e2e::http::Answer;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::pushes::{Delivery, Project, Push, mac, sign};
use super::sending::{accepted, deliver};
use super::{looked, sight};
use crate::long::Chance;

/// As GitLab documents it: the one forge that signs a moment.
const GITLAB_PUSH: &str = include_str!("../../../../../controller/forge/tests/payloads/gitlab/push.json");
/// The most that a signed moment may be away from now is 15 minutes.
const TOO_OLD: u64 = 16 * 60;
const AT_ONCE: usize = 8;

/// Sends so much of what is refused, then everything that was taken once more.
pub(super) async fn all(
    ground: &Ground,
    projects: &[Project],
    taken: &[Delivery],
    count: usize,
    chance: &mut Chance,
) -> Result<String> {
    let (lab, repository) = Project::add(ground, projects.len(), "gitlab").await?;
    let commit = repository.git(&["rev-parse", "HEAD"])?;
    let fleet = &ground.fleet;
    // A fresh one is let in, so what follows is refused for its age alone.
    let now = SystemClock.wall().0 / 1_000_000;
    let fresh = deliver(fleet.port(0), &of_gitlab(&lab, &commit, now)?).await?;
    accepted(&fresh).context("a fresh delivery of GitLab's")?;
    looked(fleet, projects).await?;
    looked(fleet, std::slice::from_ref(&lab)).await?;
    let before = sight(fleet).await?;
    let mut refusals: BTreeMap<&str, BTreeMap<u16, usize>> = BTreeMap::new();
    for number in 0..count {
        let (why, delivery) = hostile(projects, &lab, number, now)?;
        let answer = deliver(fleet.port(chance.below(fleet.controllers.len())), &delivery).await?;
        *refusals.entry(why).or_default().entry(answer.status).or_default() += 1;
    }
    ensure!(sight(fleet).await? == before, "what was refused has changed the store: {refusals:?}");
    let again = taken.iter().enumerate().map(|(number, delivery)| {
        (fleet.port(chance.below(fleet.controllers.len())), replayed(delivery, number))
    });
    let again: Vec<(u16, Delivery)> = again.collect();
    let replayed: Vec<bool> = stream::iter(&again)
        .map(async |(port, delivery)| was_known(&deliver(*port, delivery).await?))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let news = replayed.iter().filter(|known| !**known).count();
    let after = sight(fleet).await?;
    let changed = after.iter().filter(|(key, at)| before.get(*key) != Some(*at)).count();
    let accepted: usize =
        refusals.values().flatten().filter(|(status, _)| **status < 400).map(|(_, count)| count).sum();
    let figures = format!(
        "{count} deliveries that were not the forge's: {accepted} accepted, by what was wrong and how it \
         was answered {refusals:?}\n{} replayed: {news} made a run; {changed} of {} keys have changed",
        replayed.len(),
        before.len()
    );
    let answered = |status: &u16| matches!(status, 401 | 429);
    ensure!(refusals.values().flatten().all(|(status, _)| answered(status)), "{figures}");
    ensure!(news == 0 && after == before, "{figures}");
    Ok(figures)
}

/// Whether it had been told before; or a look had found its push before it was told.
fn was_known(answer: &Answer) -> Result<bool> {
    let says_so = String::from_utf8_lossy(&answer.body).contains("was decided already");
    if answer.status == 200 && says_so { Ok(true) } else { Ok(accepted(answer)?.1) }
}

/// What was taken before; every second one under an id of the sender's choice, which nobody signs.
fn replayed(delivery: &Delivery, number: usize) -> Delivery {
    let mut delivery = delivery.clone();
    let id = delivery.headers.iter_mut().find(|(name, _)| *name == "x-github-delivery");
    if let Some((_, id)) = id.filter(|_| number % 2 == 1) {
        *id = format!("replay-{number}");
    }
    delivery
}

/// A delivery that nobody's forge sent, of a commit that nobody was told of, and what is wrong with it.
fn hostile(projects: &[Project], lab: &Project, number: usize, now: u64) -> Result<(&'static str, Delivery)> {
    let (own, other) = (&projects[number % projects.len()], &projects[(number + 1) % projects.len()]);
    let push = Push {
        project: 0,
        branch: format!("stranger-{number}"),
        before: "0".repeat(40),
        after: format!("{:040x}", number + 1),
    };
    let right = own.delivery(0, &push, format!("stranger-{number}"))?;
    let signed = |header: &'static str, value: String| {
        let mut delivery = right.clone();
        delivery.headers.pop();
        delivery.headers.push((header, value));
        delivery
    };
    let with = |secret: &str| {
        signed("x-hub-signature-256", format!("sha256={}", sign(secret.as_bytes(), &[&right.body])))
    };
    let at = |path: String| Delivery { path, ..right.clone() };
    Ok(match number % 10 {
        0 => ("unsigned", signed("x-other", "1".to_owned())),
        1 => ("SHA-1 only", signed("x-hub-signature", format!("sha1={}", "1a".repeat(20)))),
        2 => ("wrong key", with(&"0123456789abcdef".repeat(4))),
        3 => ("empty signature", signed("x-hub-signature-256", "sha256=".to_owned())),
        4 => {
            let body = [right.body.as_slice(), b" "].concat();
            ("changed body", Delivery { body, ..right.clone() })
        }
        5 => ("other project's secret", with(&other.secret)),
        6 => ("other project's address", at(other.path())),
        7 => ("nobody's address", at("/hooks/github/acme/nobody".to_owned())),
        8 => ("other forge's address", at(format!("/hooks/gitea/{}", own.name))),
        _ => ("replayed after the window", of_gitlab(lab, &push.after, now - TOO_OLD)?),
    })
}

/// What GitLab sends of a push, signed at a moment.
fn of_gitlab(lab: &Project, commit: &str, at: u64) -> Result<Delivery> {
    let mut body: Value = serde_json::from_str(GITLAB_PUSH)?;
    body["ref"] = json!("refs/heads/main");
    body["before"] = json!("0".repeat(40));
    body["after"] = json!(commit);
    body["checkout_sha"] = json!(commit);
    body["project"]["id"] = json!(lab.id);
    body["project"]["path_with_namespace"] = json!(lab.name);
    let body = serde_json::to_vec(&body)?;
    let (id, at) = (format!("lab-{commit}"), at.to_string());
    let key = mac(lab.secret.as_bytes(), &[b"ocelot: gitlab signing key"]);
    let signature = mac(&key, &[id.as_bytes(), b".", at.as_bytes(), b".", &body]);
    let headers = vec![
        ("x-gitlab-event", "Push Hook".to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", at),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(signature))),
    ];
    Ok(Delivery { push: 0, path: format!("/hooks/gitlab/{}", lab.name), headers, body })
}
