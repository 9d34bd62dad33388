pub(crate) mod bench;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::stream::{self, StreamExt};
use ocelot_domain::outcome::Actor;
use ocelot_forge::Forge;
use ocelot_forge::event::EventKind;
use serde_json::json;

use crate::forge::testing::{Double, Fault, repository};
use crate::service::ProjectChange;
use bench::{Bench, Delivery, payload, plain, signed};

const PROJECT: &str = "acme/widget";

#[tokio::test]
async fn a_signed_push_of_each_forge_is_stored_before_it_is_answered() {
    for kind in Forge::ALL {
        let bench = Bench::new();
        let controller = bench.controller("one", None).await;
        let secret = controller.project(PROJECT, kind).await;
        let delivery = signed(kind, PROJECT, "push", payload(kind, "push"), &secret);
        let (status, _, body) = controller.post(&delivery).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{kind}: {body}");
        assert_eq!(body["existed"], json!(false));
        controller.settle().await;
        let events = controller.events(PROJECT);
        let id = events[0].id.to_string();
        assert_eq!((events.len(), &body["run"]), (1, &json!(id)));
        assert_eq!(body["url"], json!(format!("https://ci.example.org/runs/{id}")));
        let project = controller.service.project(&PROJECT.parse().unwrap()).await.unwrap();
        let learnt = project.forge.unwrap().repository.unwrap();
        assert!(repository(kind).2.to_string().contains(&learnt), "{learnt}");
    }
}

#[tokio::test]
async fn what_is_not_proved_changes_nothing_and_is_answered_as_if_nobody_were_there() {
    let bench = Bench::new();
    let controller = bench.controller("one", None).await;
    let secret = controller.project(PROJECT, Forge::GitHub).await;
    let other = controller.project("acme/other", Forge::GitHub).await;
    let right = || signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &secret);
    let without = |name: &str| {
        let mut delivery = right();
        delivery.headers.retain(|(header, _)| *header != name);
        delivery
    };
    let mut sha1 = without("x-hub-signature-256");
    sha1.headers.push(("x-hub-signature", "sha1=1234".into()));
    let mut longer = right();
    longer.body.push(b' ');
    let at = |path: &str| Delivery { path: path.into(), ..right() };
    let forged = [
        without("x-hub-signature-256"),
        sha1,
        longer,
        signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &other),
        signed(Forge::GitHub, PROJECT, "push", b"{".to_vec(), "no secret of anybody's"),
        at("/hooks/github/acme/nobody"),
        at("/hooks/github/acme/widget/more"),
        at("/hooks/gitea/acme/widget"),
        at("/hooks/git/acme/widget"),
        at("/hooks/svn/acme/widget"),
        at("/hooks/github/..%2F..%2Fetc"),
    ];
    let before = controller.settle().await;
    let mut answers = Vec::new();
    for (number, delivery) in forged.into_iter().enumerate() {
        // Each from an address of its own, so that none is refused for the others.
        let delivery = Delivery { from: format!("203.0.113.{number}:1"), ..delivery };
        let (status, headers, body) = controller.post(&delivery).await;
        answers.push((status, headers, body));
    }
    assert_eq!(controller.settle().await, before, "the store has not changed");
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_proved_delivery_that_is_of_no_use_changes_nothing_either() {
    let bench = Bench::new();
    let controller = bench.controller("one", None).await;
    let secret = controller.project(PROJECT, Forge::GitHub).await;
    let before = controller.settle().await;
    let malformed = signed(Forge::GitHub, PROJECT, "push", b"{\"ref\": 1}".to_vec(), &secret);
    assert_eq!(controller.post(&malformed).await.0, StatusCode::BAD_REQUEST);
    let text = String::from_utf8(payload(Forge::GitHub, "push")).unwrap();
    let elsewhere = text.replace("Codertocat/Hello-World", "stranger/Hello-World").into_bytes();
    let elsewhere = signed(Forge::GitHub, PROJECT, "push", elsewhere, &secret);
    assert_eq!(controller.post(&elsewhere).await.0, StatusCode::CONFLICT);
    let mut ping = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "ping"), &secret);
    ping.headers[1].1 = "ping".into();
    let (status, _, body) = controller.post(&ping).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body["ignored"].is_string());
    assert_eq!(controller.settle().await, before, "the store has not changed");

    // The id is learnt once: after that no name helps another repository.
    let right = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &secret);
    assert_eq!(controller.post(&right).await.0, StatusCode::ACCEPTED);
    let before = controller.settle().await;
    let renamed = text.replace("186853002", "186853003").into_bytes();
    let renamed = signed(Forge::GitHub, PROJECT, "push", renamed, &secret);
    assert_eq!(controller.post(&renamed).await.0, StatusCode::CONFLICT);
    assert_eq!(controller.settle().await, before, "the store has not changed");
}

#[tokio::test]
async fn each_delivery_is_counted_by_what_was_decided_and_by_a_word_of_ours() {
    let bench = Bench::new();
    let controller = bench.controller("one", None).await;
    let secret = controller.project(PROJECT, Forge::GitHub).await;
    let right = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &secret);
    let mut ping = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "ping"), &secret);
    ping.headers[1].1 = "ping".into();
    let malformed = signed(Forge::GitHub, PROJECT, "push", b"{}".to_vec(), &secret);
    let large = signed(Forge::GitHub, PROJECT, "push", vec![b' '; 8 * 1024 * 1024 + 1], &secret);
    let at = |path: &str| Delivery { path: path.into(), ..right.clone() };
    let stranger = at("/hooks/a-word-of-anybody/acme/widget");
    for delivery in
        [right.clone(), right.clone(), ping, malformed, large, at("/hooks/git/acme/widget"), stranger]
    {
        controller.post(&delivery).await;
    }
    let metrics = controller.service.metrics();
    for (forge, decision, count) in [
        ("github", "accepted", 2),
        ("github", "ignored", 1),
        ("github", "unusable", 1),
        ("github", "too_large", 1),
        ("git", "not_proved", 1),
        ("unknown", "not_proved", 1),
    ] {
        assert_eq!(metrics.hooks_decided(forge, decision), count, "{forge} {decision}");
    }
}

#[tokio::test]
async fn a_hundred_replays_at_two_controllers_are_one_event_and_change_nothing() {
    let bench = Bench::new();
    let (one, two) = (bench.controller("one", None).await, bench.controller("two", None).await);
    let secret = one.project(PROJECT, Forge::GitHub).await;
    two.settle().await;
    let delivery = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &secret);
    let (first, second) = tokio::join!(one.post(&delivery), two.post(&delivery));
    assert_eq!((first.0, second.0), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(first.2["run"], second.2["run"]);
    // One of the two found the other's, and may have noted the first delivery's time after it.
    one.settle().await;
    let before = two.settle().await;
    for _ in 0..100 {
        let (status, _, body) = one.post(&delivery).await;
        assert_eq!((status, &body["existed"]), (StatusCode::ACCEPTED, &json!(true)));
    }
    assert_eq!(one.settle().await, before, "a replay changes nothing");
    assert_eq!(one.events(PROJECT).len(), 1);
}

fn push_of(number: usize) -> Vec<u8> {
    let text = String::from_utf8(payload(Forge::GitHub, "push")).unwrap();
    text.replace("0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c", &format!("{number:040x}")).into_bytes()
}

#[tokio::test]
async fn two_thousand_shuffled_deliveries_are_each_one_event() {
    let bench = Bench::new();
    let controllers = [bench.controller("one", None).await, bench.controller("two", None).await];
    let secret = controllers[0].project(PROJECT, Forge::GitHub).await;
    controllers[1].settle().await;
    let distinct = 1_900;
    let numbers = (1..=distinct).chain((1..=100).map(|number| number * 19));
    let mut order: Vec<usize> = numbers.collect();
    order.sort_by_key(|number| (*number * 7_919) % 2_003);
    let posts = order.iter().enumerate().map(|(place, number)| {
        let delivery = signed(Forge::GitHub, PROJECT, "push", push_of(*number), &secret);
        let controller = &controllers[place % 2];
        async move { (*number, controller.post(&delivery).await) }
    });
    let answers: Vec<_> = stream::iter(posts).buffer_unordered(16).collect().await;
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for (number, (status, _, body)) in answers {
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        let known = *runs.entry(body["run"].to_string()).or_insert(number);
        assert_eq!(known, number, "one event, one run");
    }
    controllers[0].settle().await;
    assert_eq!((runs.len(), controllers[0].events_count(PROJECT)), (distinct, distinct));
}

#[tokio::test]
async fn a_pull_request_is_trusted_only_when_the_forge_says_the_same() {
    let ids = |head: u64, base: u64| {
        json!({
            "number": 2, "state": "open",
            "head": { "ref": "changes", "sha": "a1".repeat(20), "repo": { "id": head } },
            "base": { "ref": "main", "sha": "b2".repeat(20), "repo": { "id": base } },
        })
    };
    let ours = 186_853_002;
    for (has_token, facts, fault, is_trusted) in [
        (false, ids(ours, ours), None, false),
        (true, ids(ours, ours), None, true),
        (true, ids(7, ours), None, false),
        (true, ids(ours, 7), None, false),
        (true, json!({ "number": 2, "head": { "repo": null }, "base": {} }), None, false),
        (true, json!("nonsense"), None, false),
        (true, ids(ours, ours), Some(Fault::Status(500)), false),
    ] {
        let bench = Bench::new();
        let double = Double::start(Forge::GitHub).await;
        let controller = bench.controller("one", Some(double.line(bench.clock.clone()))).await;
        let secret = controller.project(PROJECT, Forge::GitHub).await;
        if has_token {
            controller.give_token(PROJECT).await;
        }
        let push = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &secret);
        assert_eq!(controller.post(&push).await.0, StatusCode::ACCEPTED);
        controller.settle().await;
        let shown = format!("{has_token} {facts} {fault:?}");
        double.seen().pull = facts;
        double.seen().faults.extend(fault);
        let body = payload(Forge::GitHub, "pull_request_opened");
        let opened = signed(Forge::GitHub, PROJECT, "pull_request_opened", body, &secret);
        let (status, _, body) = controller.post(&opened).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        controller.settle().await;
        let events = controller.events(PROJECT);
        let pull = events.iter().find(|event| matches!(event.event.kind, EventKind::PullRequest(_)));
        assert_eq!(pull.unwrap().event.is_trusted(), is_trusted, "{shown}");
    }
}

#[tokio::test]
async fn a_plain_git_server_tells_of_branches_and_tags() {
    let bench = Bench::new();
    let controller = bench.controller("one", None).await;
    let change = ProjectChange {
        url: Some("https://git.example.org/widget.git".into()),
        default_branch: Some("main".into()),
        ..ProjectChange::default()
    };
    let name = PROJECT.parse().unwrap();
    let put =
        controller.service.put_project(&name, change, (true, true), &Actor("ana".into())).await.unwrap();
    controller.settle().await;
    let secret = put.hook_secret.unwrap();
    let zero = "0".repeat(40);
    let body = |reference: &str, before: &str, after: &str| {
        json!({ "ref": reference, "before": before, "after": after, "by": "ana" }).to_string()
    };
    let (a, b) = ("a1".repeat(20), "b2".repeat(20));
    for (body, expected) in [
        (body("refs/heads/main", &a, &b), StatusCode::ACCEPTED),
        (body("refs/tags/v1", &zero, &b), StatusCode::ACCEPTED),
        (body("refs/heads/main", &a, &zero), StatusCode::ACCEPTED),
        (body("refs/notes/x", &a, &b), StatusCode::OK),
        (body("refs/heads/main", "short", &b), StatusCode::BAD_REQUEST),
        ("{}".into(), StatusCode::BAD_REQUEST),
    ] {
        let (status, _, answer) = controller.post(&plain(PROJECT, body.clone(), &secret)).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    controller.settle().await;
    assert_eq!(controller.events(PROJECT).len(), 3);
}

#[tokio::test]
async fn a_large_delivery_is_refused_unread_and_one_that_guesses_is_slowed_down() {
    let bench = Bench::new();
    let controller = bench.controller("one", None).await;
    let secret = controller.project(PROJECT, Forge::GitHub).await;
    let before = controller.settle().await;
    let large = signed(Forge::GitHub, PROJECT, "push", vec![b' '; 8 * 1024 * 1024 + 1], &secret);
    assert_eq!(controller.post(&large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let told = Delivery { headers: vec![("content-length", "26214400".into())], body: Vec::new(), ..large };
    assert_eq!(controller.post(&told).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let guess = signed(
        Forge::GitHub,
        PROJECT,
        "push",
        payload(Forge::GitHub, "push"),
        "a guess of thirty bytes at least",
    );
    for _ in 0..10 {
        assert_eq!(controller.post(&guess).await.0, StatusCode::UNAUTHORIZED);
    }
    let (status, headers, _) = controller.post(&guess).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key("retry-after"));
    assert_eq!(controller.settle().await, before, "the store has not changed");
    // Who shares the address of a guesser is let in all the same.
    let right = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), &secret);
    assert_eq!(controller.post(&right).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn without_its_store_a_controller_asks_the_forge_to_come_again() {
    let bench = Bench::new();
    let controller = bench.unread("one", None);
    let delivery = signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), "s");
    let (status, headers, _) = controller.post(&delivery).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_rotated_secret_works_for_the_overlap_and_no_longer() {
    let bench = Bench::new();
    let controller = bench.controller("one", None).await;
    let old = controller.project(PROJECT, Forge::GitHub).await;
    let name = PROJECT.parse().unwrap();
    let hour = Duration::from_secs(3600);
    let put = controller.service.rotate_hook(&name, hour, &Actor("ana".into())).await.unwrap();
    controller.settle().await;
    let by = |secret: &str| signed(Forge::GitHub, PROJECT, "push", payload(Forge::GitHub, "push"), secret);
    assert_eq!(controller.post(&by(&old)).await.0, StatusCode::ACCEPTED);
    assert_eq!(controller.post(&by(&put.secret)).await.0, StatusCode::ACCEPTED);
    bench.clock.advance(hour);
    assert_eq!(controller.post(&by(&old)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(controller.post(&by(&put.secret)).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_hook_is_registered_where_a_token_is_known_and_taken_away_with_its_project() {
    for kind in Forge::ALL {
        let bench = Bench::new();
        let double = Double::start(kind).await;
        let controller = bench.controller("one", Some(double.line(bench.clock.clone()))).await;
        controller.project(PROJECT, kind).await;
        controller.give_token(PROJECT).await;
        let name = PROJECT.parse().unwrap();
        let ana = Actor("ana".into());
        let put = controller
            .service
            .put_project(&name, ProjectChange::default(), (false, true), &ana)
            .await
            .unwrap();
        assert_eq!((put.hook_secret, put.left_to_do), (None, Vec::new()), "{kind}");
        let url = format!("https://ci.example.org/hooks/{kind}/{PROJECT}");
        assert_eq!(double.seen().hooks[0].1, url);
        assert!(put.project.forge.unwrap().repository.is_some(), "the id is learnt");
        let tried = controller.service.test_hook(&name).await.unwrap();
        let pings = double.seen().pings;
        assert!(pings == 1 || kind == Forge::Bitbucket, "{tried:?}");

        double.seen().faults.push_back(Fault::Status(403));
        let put = controller.service.rotate_hook(&name, Duration::from_secs(60), &ana).await.unwrap();
        assert!(put.left_to_do[0].contains("lacks a right"), "{:?}", put.left_to_do);
        let put = controller.service.rotate_hook(&name, Duration::from_secs(60), &ana).await.unwrap();
        assert_eq!(put.left_to_do, Vec::<String>::new());
        controller.settle().await;
        let delivery = signed(kind, PROJECT, "push", payload(kind, "push"), &put.secret);
        assert_eq!(controller.post(&delivery).await.0, StatusCode::ACCEPTED);

        let left = controller.service.remove_project(&name).await.unwrap();
        assert_eq!((left, double.seen().hooks.len()), (Some(Vec::new()), 0), "{kind}");
    }
}
