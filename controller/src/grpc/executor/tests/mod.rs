//! The executors' calls over a real connection, with the door in front and a store behind.

mod bench;
mod denied;
mod logs;
mod objects;

use ocelot_proto::wire;
use tonic::Code;

use crate::records::StageExit;
use crate::store::Store;

use super::served;
use bench::*;

#[tokio::test]
async fn an_attempt_goes_from_its_offer_to_its_end_and_every_phase_is_kept() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    bench.service.set_url("https://ci.example/");
    let run = bench.execute().await;
    let offer = executor.offer().await;
    assert_eq!(crate::records::Digest::of(&offer.plan).as_bytes()[..], offer.plan_digest[..]);
    let env = |name: &str| offer.env.get(name).map(String::as_str);
    assert_eq!(env("OCELOT_RUN_ID"), Some(run.to_string().as_str()));
    assert_eq!(env("OCELOT_RUN_NUMBER"), Some("1"));
    assert_eq!(env("OCELOT_JOB"), Some("build"));
    assert_eq!(env("OCELOT_ATTEMPT"), Some("1"));
    assert_eq!(env("OCELOT_TRIGGER"), Some("command_line"));
    assert_eq!(env("OCELOT_TRIGGERED_BY"), Some("ana"));
    assert_eq!(env("OCELOT_RUN_URL"), Some(format!("https://ci.example/runs/{run}").as_str()));

    let attempt = offer.attempt.clone().unwrap();
    executor.acknowledge(&attempt).await.unwrap();
    executor.report(&attempt, progress(2, true)).await.unwrap();
    executor.report(&attempt, progress(1, false)).await.unwrap();
    let bytes = log(b"hello\n");
    let mut push = executor.push().await;
    push.send(&attempt, 0, &bytes, Some(end(&bytes))).await;
    push.until_received(&attempt, bytes.len() as u64).await;
    let completed = executor.complete(&attempt, [7; 16], &bytes).await.unwrap();
    assert!(matches!(completed.answer, Some(wire::complete_response::Answer::Recorded(_))));
    let again = executor.complete(&attempt, [7; 16], &bytes).await.unwrap();
    assert_eq!(again, completed, "a repeat has the same answer");

    bench.settle().await;
    let kept = bench.service.progress(run);
    let [(_, number, kept)] = &kept[..] else { panic!("one attempt: {kept:?}") };
    assert_eq!(number.number(), 1);
    assert_eq!(kept.log_at.as_deref(), Some("a"));
    assert!(kept.offered_us > 0 && kept.acknowledged_us >= kept.offered_us);
    assert!(kept.ended_us >= Some(kept.acknowledged_us));
    assert_eq!((kept.told.sequence, kept.told.first_byte_us), (3, Some(12)), "an older word changed it");
    assert_eq!(kept.told.stages[0].exit, Some(StageExit::Code(0)));
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_by_its_field() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let good = foreign();
    let mut cases = Vec::new();
    let mut wrong = |attempt: Option<wire::AttemptId>, names: &str| cases.push((attempt, names.to_owned()));
    wrong(None, "attempt: is missing");
    wrong(Some(wire::AttemptId { task: None, ..good.clone() }), "attempt.task: is missing");
    wrong(Some(wire::AttemptId { number: 0, ..good.clone() }), "attempt.number: begins with 1");
    let task = Some(wire::TaskId { run: vec![1; 15].into(), index: 0 });
    wrong(Some(wire::AttemptId { task, ..good.clone() }), "attempt.task.run: has 15 bytes, not 16");
    for (attempt, message) in cases {
        let request = wire::AcknowledgeRequest { attempt, ..Default::default() };
        let status = executor.client.acknowledge(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message.as_str()));
    }
    let request = wire::CompleteRequest {
        attempt: Some(good.clone()),
        completion: vec![1; 16].into(),
        outcome: Some(wire::Outcome { outcome: None }),
        ..Default::default()
    };
    let status = executor.client.complete(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "outcome.outcome: is missing"));
    let held = vec![wire::Held { attempt: Some(good), phase: 0, log_end: 0 }];
    let status =
        executor.client.poll(wire::PollRequest { poll: 1, journal_sequence: 0, held, wait_ms: 0 }).await;
    let status = status.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "held.phase: is not said"));
    assert!(served("0.0.1").is_err());
}

#[tokio::test]
async fn a_registration_is_repeated_without_harm_and_a_wrong_label_names_those_of_the_token() {
    let bench = Bench::start().await;
    let token = bench.registration_token(1).await;
    let request = bench.registration("x1", &token);
    let mut client = bench.client(None).await;
    let wants = wire::RegisterRequest { labels: vec!["tpu".into()], ..request.clone() };
    let refused = client.register(wants).await.unwrap_err();
    assert_eq!(refused.message(), "the token does not grant tpu; it grants gpu");
    let first = client.register(request.clone()).await.unwrap().into_inner();
    let again = client.register(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    let other = client.register(bench.registration("x2", &token)).await.unwrap_err();
    assert_eq!(other.code(), Code::Unauthenticated, "the token is used up");
    let status = client.register(bench.registration("x2", "oct_reg_nonsense")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_newer_session_ends_what_hangs_on_the_older_one() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let mut older = executor.client.clone();
    let hanging =
        older.poll(wire::PollRequest { poll: 1, journal_sequence: 0, held: Vec::new(), wait_ms: 0 });
    let session = executor.session;
    let replaced = async {
        bench.polls(session).await;
        executor.open(&bench).await;
    };
    let (ended, ()) = tokio::join!(hanging, replaced);
    let ended = ended.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
}

#[tokio::test]
async fn a_secret_argument_is_given_to_the_holder_alone_and_nothing_shows_it() {
    const JOB: &str =
        "name: deploy\nimage: alpine\ncommand: [make]\nargs:\n  - name: password\n    secret: true\n";
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let arguments = [("password".to_owned(), "hunter2-hunter2".to_owned())].into();
    let refused = bench.execute_job(JOB, "deploy", arguments).await.unwrap_err();
    assert!(refused.to_string().contains("has no key for secrets"), "{refused}");
    bench.service.set_seal(crate::seal::SealKey::new([7; 32]));
    let arguments = [("password".to_owned(), "hunter2-hunter2".to_owned())].into();
    bench.execute_job(JOB, "deploy", arguments).await.unwrap();
    let offer = executor.offer().await;
    assert!(!offer.plan.windows(7).any(|bytes| bytes == b"hunter2"));
    let page = bench.store.range(crate::store::RangeRequest::prefix("/ocelot/")).await.unwrap();
    for item in page.items {
        assert!(!item.value.windows(7).any(|bytes| bytes == b"hunter2"), "{} shows it", item.key);
    }
    let attempt = offer.attempt;
    let request = wire::FetchSecretsRequest {
        attempt: attempt.clone(),
        names: vec!["password".into()],
        checkout: false,
    };
    let early = executor.client.fetch_secrets(request.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "before it is acknowledged");
    executor.acknowledge(&attempt.clone().unwrap()).await.unwrap();
    let values = executor.client.fetch_secrets(request).await.unwrap().into_inner().values;
    assert_eq!(values["password"][..], b"hunter2-hunter2"[..]);
    let request = wire::FetchSecretsRequest { attempt, names: vec!["other".into()], checkout: false };
    assert_eq!(executor.client.fetch_secrets(request).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_named_secret_is_given_from_the_nearest_scope_to_the_holder_alone_and_its_use_is_noted() {
    const JOB: &str =
        "name: deploy\nimage: alpine\norganization: acme\nsecrets: [near, far]\ncommand: [make]\n";
    let bench = Bench::start().await;
    bench.service.set_seal(crate::seal::SealKey::new([7; 32]));
    let set = async |scope: crate::store::keys::SecretScope, name: &str, value: &'static str| {
        let new =
            crate::service::NewSecret { scope, name: name.into(), value: value.into(), allow_short: false };
        bench.service.set_secret(new, &ocelot_domain::outcome::Actor("ana".into())).await.unwrap();
    };
    let job = || crate::store::keys::SecretScope::Job("deploy".into());
    let acme = || crate::store::keys::SecretScope::Organization("acme".into());
    set(job(), "near", "near-of-the-job").await;
    set(acme(), "near", "near-of-the-organization").await;
    let mut executor = bench.executor("x1").await;
    bench.execute_job(JOB, "deploy", Default::default()).await.unwrap();
    let attempt = executor.offer().await.attempt.unwrap();
    let request = |names: &[&str]| wire::FetchSecretsRequest {
        attempt: Some(attempt.clone()),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        checkout: false,
    };
    let early = executor.client.fetch_secrets(request(&["near"])).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "before it is acknowledged");
    executor.acknowledge(&attempt).await.unwrap();
    let missing = executor.client.fetch_secrets(request(&["near", "far"])).await.unwrap_err();
    insta::assert_snapshot!(
        missing.message(),
        @r#"there is no secret "far" in job deploy or organization acme; set it with `ocelot secret set far --job deploy`"#
    );
    set(acme(), "far", "far-of-the-organization").await;
    let given = executor.client.fetch_secrets(request(&["near", "far"])).await.unwrap().into_inner();
    assert_eq!((&given.values["near"][..], given.withheld.as_str()), (&b"near-of-the-job"[..], ""));
    assert_eq!(given.values["far"][..], b"far-of-the-organization"[..]);
    assert!(!format!("{given:?}").contains("of-the"), "{given:?}");
    let unnamed = executor.client.fetch_secrets(request(&["other"])).await.unwrap_err();
    assert_eq!(unnamed.message(), r#"the task names no secret "other""#);
    bench.settle().await;
    let uses = |page: crate::service::SecretPage| {
        let uses = page.secrets.into_iter().map(|one| (one.scope, one.name, one.used.map(|used| used.by)));
        uses.collect::<Vec<_>>()
    };
    let by = Some("deploy#1".to_owned());
    assert_eq!(
        uses(bench.service.secrets(None, None, 10).unwrap()),
        [(job(), "near".into(), by.clone()), (acme(), "far".into(), by), (acme(), "near".into(), None)]
    );
}

#[tokio::test]
async fn a_forks_task_is_given_nothing_and_told_why() {
    let bench = Bench::start().await;
    bench.service.set_seal(crate::seal::SealKey::new([7; 32]));
    let scope = crate::store::keys::SecretScope::Project { owner: "acme".into(), name: "api".into() };
    let new = crate::service::NewSecret {
        scope,
        name: "token".into(),
        value: "a-token-of-acme".into(),
        allow_short: false,
    };
    bench.service.set_secret(new, &ocelot_domain::outcome::Actor("ana".into())).await.unwrap();
    for (number, trust) in [(1, crate::records::Trust::Fork), (2, crate::records::Trust::Own)] {
        let mut executor = bench.executor(&format!("x{number}")).await;
        bench.build("acme/api", number, trust).await;
        let attempt = executor.offer().await.attempt.unwrap();
        executor.acknowledge(&attempt).await.unwrap();
        let request = wire::FetchSecretsRequest {
            attempt: Some(attempt),
            names: vec!["token".into()],
            checkout: false,
        };
        let given = executor.client.fetch_secrets(request).await.unwrap().into_inner();
        let is_fork = trust == crate::records::Trust::Fork;
        assert_eq!(given.values.is_empty(), is_fork);
        assert_eq!(given.withheld, if is_fork { "runs of forks are given no secrets" } else { "" });
    }
}
