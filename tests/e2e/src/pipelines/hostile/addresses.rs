//! Addresses and names of projects that lead elsewhere: each is refused before anything is asked.

use anyhow::{Result, bail, ensure};
use ocelot_git::testing::Server;
use ocelot_proto::wire;

use super::Scene;

/// An address, and a word of the refusal.
const ADDRESSES: &[(&str, &str)] = &[
    ("", "missing"),
    ("ext::sh -c 'touch evil'", "remote helper"),
    ("fd::17", "remote helper"),
    ("evil+x::anything", "remote helper"),
    ("--upload-pack=touch evil", "`-`"),
    ("-oProxyCommand=evil", "`-`"),
    ("ssh://-oProxyCommand=evil/x", "`-`"),
    ("git@-oProxyCommand=evil:x", "`-`"),
    ("ssh://-l@h.example/x", "`-`"),
    ("https://h.example/-x", "`-`"),
    ("https://h.example/%2dx", "`-`"),
    ("file:///etc", "a folder of the host"),
    ("/etc", "a folder of the host"),
    ("../../repositories/x.git", "not a repository URL"),
    ("https://ada:word@h.example/x", "user or password"),
    ("https://token@h.example/x", "user or password"),
    ("ssh://git:word@h.example/x", "user or password"),
    ("https://h.example/a\nhost = evil", "must not hold"),
    ("https://h.example/a%0ahost=evil", "may not be a part"),
    ("https://h.example/a\u{202e}b", "must not hold"),
    ("https://h\u{430}.example/x", "must not hold"),
    ("https://h.example/a\\..\\b", "must not hold"),
    ("https://h.example/../../etc", "may not be a part"),
    ("https://h.example/%2e%2e/etc", "may not be a part"),
    ("https://h.example/a%2fb", "may not be a part"),
    ("https://h.example/x?upload-pack=evil", "no `?`"),
    ("https://h.example/x#evil", "no `?`"),
    ("https://h.example", "path of a repository"),
    ("https://[::1/x", "not a host name"),
    ("https://127.0.0.1:99999/x", "not a port"),
    ("https://h.example:22 /x", "must not hold"),
    ("https://300.1.2.3/x", "not a host name"),
    ("git://h.example/x", "not supported"),
    ("ftp://h.example/x", "not supported"),
    ("gopher://h.example/x", "not supported"),
    ("javascript:alert(1)", "not a repository URL"),
];

/// Names that are no project's.
const NAMES: &[&str] =
    &["", "x", "../etc", "a/..", "a/../../b", "-a/b", "a/b\nc", "a/$(id)", "a/b\u{202e}c", "/a/b", "a//b"];

/// Returns how many were refused.
pub(super) async fn refused_at_the_door(scene: &Scene) -> Result<usize> {
    let before = scene.ground.git.seen().len();
    for (number, (url, word)) in ADDRESSES.iter().enumerate() {
        let settings = wire::ProjectSettings { url: Some((*url).to_owned()), ..Default::default() };
        let said = refused(scene, &format!("hostile/url-{number}"), settings).await?;
        ensure!(said.contains(word), "{url:?} is refused as {said:?}");
    }
    for name in NAMES {
        let settings = wire::ProjectSettings {
            url: Some("https://h.example/x".to_owned()),
            ..wire::ProjectSettings::default()
        };
        refused(scene, name, settings).await?;
    }
    ensure!(scene.ground.git.seen().len() == before, "the server was asked");
    led_on(scene).await?;
    Ok(ADDRESSES.len() + NAMES.len() + 1)
}

async fn refused(scene: &Scene, name: &str, settings: wire::ProjectSettings) -> Result<String> {
    let request = wire::PutProjectRequest {
        name: name.to_owned(),
        settings: Some(settings.clone()),
        ..wire::PutProjectRequest::default()
    };
    match scene.ground.fleet.caller(0)?.projects().put_project(request).await {
        Err(status) if status.code() == tonic::Code::InvalidArgument => Ok(status.message().to_owned()),
        Err(status) => bail!("{name:?} with {settings:?}: {status}"),
        Ok(_) => bail!("{name:?} with {:?} was taken", settings.url),
    }
}

/// A server that sends its clients on is not followed.
async fn led_on(scene: &Scene) -> Result<()> {
    let there = Server::start(&scene.ground.fleet.path("repositories"), None, None)?;
    let place = there.url("x").as_str().trim_end_matches("/x").to_owned();
    let here = Server::start(&scene.ground.fleet.path("repositories"), None, Some(place))?;
    let url = here.url("hostile/refs.git").to_string();
    let settings = wire::ProjectSettings { url: Some(url), ..wire::ProjectSettings::default() };
    let request = wire::PutProjectRequest {
        name: "hostile/led-on".to_owned(),
        settings: Some(settings),
        ..wire::PutProjectRequest::default()
    };
    let caller = scene.ground.fleet.caller(0)?;
    let put = caller.projects().put_project(request).await?.into_inner();
    ensure!(put.left_to_do.join(" ").contains("points elsewhere"), "{:?}", put.left_to_do);
    let request = wire::PollProjectRequest { name: "hostile/led-on".to_owned() };
    let polled = caller.projects().poll_project(request).await;
    ensure!(polled.is_err(), "{polled:?}");
    ensure!(!here.seen().is_empty() && there.seen().is_empty(), "it was followed: {:?}", there.seen());
    Ok(())
}
