//! Payloads of each forge and kind, with the field names and types of the forge's documentation,
//! and what each of them comes to.

use std::fmt::Write;

use ocelot_forge::Forge;
use ocelot_forge::event::{Event, EventKind, Trust};
use ocelot_forge::payload::{Delivery, EVENTS_MAX, Malformed, parse};
use serde_json::{Value, json};

use crate::shelf::{event, headers_of, kinds, one, payload};

/// A line or more for people, with all that the delivery says.
fn told(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Ignored { why } => format!("ignored: {why}\n"),
        Delivery::Events { events, left_out } => {
            let mut text = String::new();
            for it in events {
                writeln!(text, "{}", told_event(it)).unwrap();
            }
            if *left_out > 0 {
                writeln!(text, "and {left_out} left out").unwrap();
            }
            text
        }
    }
}

fn told_event(event: &Event) -> String {
    let short = |commit: Option<&str>| commit.map_or("-".to_owned(), |commit| commit[..7].to_owned());
    let trust = match event.trust() {
        Trust::Trusted => "trusted".to_owned(),
        Trust::Untrusted(why) => format!("untrusted: {why}"),
    };
    let who = format!("by {:?} ({})", event.actor.login, event.actor.id.as_deref().unwrap_or("-"));
    let what = match &event.kind {
        EventKind::Push(push) => {
            let before = push.before.as_ref().map(|commit| commit.as_str());
            let commits: Vec<_> = push.commits.iter().map(|it| (&it.message, &it.author)).collect();
            format!(
                "push {:?} {} -> {} forced {:?}, {} commits {commits:?}, head {:?}",
                push.branch,
                short(before),
                short(Some(push.after.as_str())),
                push.forced,
                push.commits_total,
                push.head_message
            )
        }
        EventKind::BranchDeleted { branch, before } => {
            format!("branch {branch:?} deleted, was {}", short(before.as_ref().map(|it| it.as_str())))
        }
        EventKind::Tag(tag) => format!(
            "tag {:?} object {} commit {}",
            tag.tag,
            short(Some(tag.object.as_str())),
            short(Some(tag.commit.as_str()))
        ),
        EventKind::TagDeleted { tag, before } => {
            format!("tag {tag:?} deleted, was {}", short(before.as_ref().map(|it| it.as_str())))
        }
        EventKind::PullRequest(pull) => format!(
            "pull request {} {:?} {:?} of {:?}, {:?} at {} in {} ({}) -> {:?} at {}",
            pull.number,
            pull.title,
            pull.action,
            pull.author.id,
            pull.head_ref,
            short(Some(pull.head_commit.as_str())),
            pull.head_repository_id.as_ref().map_or("-", |id| id.as_str()),
            pull.head_clone_url.as_deref().unwrap_or("-"),
            pull.base_ref,
            short(pull.base_commit.as_ref().map(|it| it.as_str())),
        ),
    };
    format!("{what}, {who}, {trust}")
}

fn table(forge: Forge) -> String {
    let mut text = String::new();
    let mut repository = None;
    for kind in kinds(forge) {
        let delivery = parse(forge, &headers_of(forge, &kind), &payload(forge, &kind)).unwrap();
        if let Delivery::Events { events, .. } = &delivery {
            let seen = repository.get_or_insert_with(|| events[0].repository.clone());
            assert!(events.iter().all(|event| event.repository == *seen && event.forge == Some(forge)));
        }
        write!(text, "{kind}\n  {}\n", told(&delivery).trim_end().replace('\n', "\n  ")).unwrap();
    }
    format!("{}\n\n{text}", serde_json::to_string_pretty(&repository).unwrap())
}

#[test]
fn every_kind_of_github_comes_to_what_it_says() {
    insta::assert_snapshot!(table(Forge::GitHub));
}

#[test]
fn every_kind_of_gitlab_comes_to_what_it_says() {
    insta::assert_snapshot!(table(Forge::GitLab));
}

#[test]
fn every_kind_of_gitea_comes_to_what_it_says() {
    insta::assert_snapshot!(table(Forge::Gitea));
}

#[test]
fn every_kind_of_bitbucket_comes_to_what_it_says() {
    insta::assert_snapshot!(table(Forge::Bitbucket));
}

#[test]
fn an_event_is_the_same_after_it_was_stored() {
    for forge in Forge::ALL {
        for kind in kinds(forge) {
            let delivery = parse(forge, &headers_of(forge, &kind), &payload(forge, &kind)).unwrap();
            let Delivery::Events { events, .. } = delivery else { continue };
            for event in events {
                let stored = serde_json::to_string(&event).unwrap();
                let read: Event = serde_json::from_str(&stored).unwrap();
                assert_eq!((&read, read.key()), (&event, event.key()));
            }
        }
    }
}

#[test]
fn every_single_missing_field_is_refused_or_changes_nothing_that_is_named() {
    for forge in Forge::ALL {
        for kind in kinds(forge) {
            let whole: Value = serde_json::from_slice(&payload(forge, &kind)).unwrap();
            let Ok(Delivery::Events { events, .. }) =
                parse(forge, &headers_of(forge, &kind), &payload(forge, &kind))
            else {
                continue;
            };
            for key in whole.as_object().unwrap().keys() {
                let mut body = whole.clone();
                body.as_object_mut().unwrap().remove(key);
                let body = serde_json::to_vec(&body).unwrap();
                if let Ok(Delivery::Events { events: left, .. }) =
                    parse(forge, &headers_of(forge, &kind), &body)
                {
                    let keys = |events: &[Event]| events.iter().map(Event::key).collect::<Vec<_>>();
                    assert_eq!(keys(&left), keys(&events), "{forge} {kind} without {key}");
                }
            }
        }
    }
}

#[test]
fn a_million_commits_are_counted_and_not_kept() {
    let mut body: Value = serde_json::from_slice(&payload(Forge::GitHub, "push")).unwrap();
    body["commits"] = json!([]);
    let text = serde_json::to_string(&body).unwrap();
    let commit = r#"{"id":"6113728f27ae82c7b1a177c8d03f9e96e0adf246"}"#;
    let list = format!("{},", commit).repeat(999_999) + commit;
    let text = text.replace(r#""commits":[]"#, &format!(r#""commits":[{list}]"#));
    let Event { kind: EventKind::Push(push), .. } = one(Forge::GitHub, "push", text.as_bytes()) else {
        panic!("a push");
    };
    assert_eq!((push.commits.len(), push.commits_total), (100, 1_000_000));
}

#[test]
fn a_push_of_more_refs_than_the_bound_tells_how_many_it_leaves_out() {
    let mut body: Value = serde_json::from_slice(&payload(Forge::Bitbucket, "push")).unwrap();
    let change = body["push"]["changes"][0].clone();
    body["push"]["changes"] = Value::Array(vec![change; EVENTS_MAX + 7]);
    let body = serde_json::to_vec(&body).unwrap();
    let delivery = parse(Forge::Bitbucket, &headers_of(Forge::Bitbucket, "push"), &body).unwrap();
    let Delivery::Events { events, left_out } = delivery else { panic!("events") };
    assert_eq!((events.len(), left_out), (EVENTS_MAX, 7));
}

#[test]
fn hostile_bodies_are_refused_quickly() {
    let deep = format!("{{\"ref\":{}", "[".repeat(100_000));
    let twice = String::from_utf8(payload(Forge::GitHub, "push")).unwrap().replacen(
        "\"before\"",
        "\"after\": \"1111111111111111111111111111111111111111\", \"before\"",
        1,
    );
    let long = serde_json::to_string(&json!({ "ref": "refs/heads/x".repeat(1000) })).unwrap();
    for (name, body) in [
        ("nothing", ""),
        ("null", "null"),
        ("list", "[]"),
        ("deep", &deep),
        ("twice", &twice),
        ("long", &long),
    ] {
        for forge in Forge::ALL {
            let answer = parse(forge, &headers_of(forge, "push"), body.as_bytes());
            let error = answer.expect_err(name).to_string();
            assert!(error.len() < 500, "{name}: {error}");
        }
    }
    let broken = parse(Forge::GitHub, &headers_of(Forge::GitHub, "push"), b"\xff{");
    assert!(matches!(broken, Err(Malformed::Body { .. })));
}

#[test]
fn a_form_and_a_nameless_event_say_what_is_wrong() {
    let form = parse(Forge::GitHub, &headers_of(Forge::GitHub, "push"), b"payload=%7B%7D").unwrap_err();
    insta::assert_snapshot!(form, @"the body is a form: set the webhook's content type to application/json");
    let nameless = parse(Forge::Bitbucket, &|_| None, b"{}").unwrap_err();
    insta::assert_snapshot!(nameless, @"the delivery does not name its event in the header X-Event-Key");
    let body = parse(Forge::GitHub, &headers_of(Forge::GitHub, "push"), b"{}").unwrap_err();
    insta::assert_snapshot!(body, @"the body is not a push of GitHub: missing field `ref` at line 1 column 2");
}

#[test]
fn an_event_with_a_hostile_name_is_ignored_without_its_name() {
    let delivery = parse(Forge::GitHub, &event("x-github-event", "<script>\u{1b}[2J"), b"{}").unwrap();
    assert_eq!(delivery, Delivery::Ignored { why: "an event that is not known".into() });
}

#[test]
fn texts_of_a_payload_are_kept_as_they_are_and_cut_at_a_character() {
    let mut body: Value = serde_json::from_slice(&payload(Forge::GitHub, "push")).unwrap();
    body["head_commit"]["message"] = json!(format!("\u{1b}[31m\u{202e}{}", "ä".repeat(10_000)));
    let event = one(Forge::GitHub, "push", &serde_json::to_vec(&body).unwrap());
    let EventKind::Push(push) = event.kind else { panic!("a push") };
    let message = push.head_message.unwrap();
    assert!(message.starts_with("\u{1b}[31m\u{202e}ä") && message.len() <= 8192);
}
