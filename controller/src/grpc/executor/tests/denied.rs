//! Each call for an attempt that is not the caller's, or by nobody: denied, and nothing is written.

use ocelot_proto::wire;
use ocelot_proto::wire::directive::Directive;
use ocelot_proto::wire::push_log_response::Answer;
use tonic::{Code, Status};

use super::bench::*;

/// The contract itself: a call that is added there needs a row here.
const CONTRACT: &str = include_str!("../../../../../proto/proto/ocelot/v1/executor.proto");

/// What a call made of it.
#[derive(Debug, PartialEq)]
enum Made {
    /// It was told to kill the attempt, and not that it is its own.
    ToldToKill,
    /// It says nothing about the attempt, whoever's it is.
    NoWord,
    Refused(Code),
}

fn calls() -> Vec<&'static str> {
    let names = CONTRACT.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next());
    let calls: Vec<_> = names.collect();
    assert!(calls.len() >= 12, "the contract was not read: {calls:?}");
    calls
}

/// Those that come before a session; whom they let in is told by other tests.
fn is_public(call: &str) -> bool {
    matches!(call, "Register" | "Challenge" | "OpenSession")
}

async fn make(client: &mut Client, call: &str, attempt: &wire::AttemptId) -> Made {
    let own = Some(attempt.clone());
    let held = vec![wire::Held { attempt: own.clone(), phase: 3, log_end: 0 }];
    let told = |directives: Vec<wire::Directive>, vouched: Vec<wire::AttemptId>| {
        let kill = wire::Directive { directive: Some(Directive::Kill(attempt.clone())) };
        let is_denied = directives.contains(&kill) && vouched.is_empty();
        assert!(is_denied, "{directives:?} {vouched:?}");
        Made::ToldToKill
    };
    let done: Result<Made, Status> = match call {
        "Poll" => {
            let request = wire::PollRequest { poll: u64::MAX, journal_sequence: 9, held, wait_ms: u64::MAX };
            client.poll(request).await.map(|answer| told(answer.into_inner().directives, Vec::new()))
        }
        "Heartbeat" => {
            let request = wire::HeartbeatRequest { held, ..Default::default() };
            let answer = client.heartbeat(request).await.map(tonic::Response::into_inner);
            answer.map(|answer| told(answer.directives, answer.vouched))
        }
        "Acknowledge" => {
            let request = wire::AcknowledgeRequest { attempt: own, ..Default::default() };
            client.acknowledge(request).await.map(|answer| panic!("{answer:?}"))
        }
        "Decline" => {
            let request = wire::DeclineRequest { attempt: own, reason: 1, detail: String::new() };
            client.decline(request).await.map(|answer| panic!("{answer:?}"))
        }
        "Report" => {
            let request = wire::ReportRequest { attempt: own, progress: Some(progress(9, true)) };
            client.report(request).await.map(|answer| panic!("{answer:?}"))
        }
        "FetchSecrets" => {
            let request =
                wire::FetchSecretsRequest { attempt: own, names: vec!["password".into()], checkout: false };
            client.fetch_secrets(request).await.map(|answer| panic!("{answer:?}"))
        }
        "Complete" => {
            let succeeded = wire::outcome::Outcome::Succeeded(wire::outcome::Succeeded {});
            let request = wire::CompleteRequest {
                attempt: own,
                completion: vec![99; 16].into(),
                outcome: Some(wire::Outcome { outcome: Some(succeeded) }),
                log: Some(end(b"")),
                ..Default::default()
            };
            client.complete(request).await.map(|answer| panic!("{answer:?}"))
        }
        "PushLog" => {
            let bytes = log(b"intruder\n");
            let crc32c = crc32c::crc32c(&bytes);
            let piece =
                wire::PushLogRequest { attempt: own, offset: 0, bytes: bytes.into(), crc32c, end: None };
            match client.push_log(futures_util::stream::iter([piece])).await {
                Ok(answers) => match answers.into_inner().message().await.unwrap().unwrap().answer {
                    Some(Answer::Fenced(fenced)) if fenced == *attempt => Ok(Made::ToldToKill),
                    other => panic!("{other:?}"),
                },
                Err(status) => Err(status),
            }
        }
        // It only takes a worry from this controller's memory.
        "ConfirmFenced" => {
            let request = wire::ConfirmFencedRequest { attempt: own };
            client.confirm_fenced(request).await.map(|_| Made::NoWord)
        }
        new => panic!("{new} has no row: what is it told about an attempt that is not its own?"),
    };
    done.unwrap_or_else(|status| Made::Refused(status.code()))
}

#[tokio::test]
async fn no_call_is_heard_for_an_attempt_that_is_not_the_callers_and_nothing_is_written() {
    let bench = Bench::start().await;
    let (mut own, mut other) = (bench.executor("x1").await, bench.executor("x2").await);
    let (run, finished) = other.running(&bench).await;
    other.complete(&finished, [7; 16], b"").await.unwrap();
    bench.ended(run).await;
    let (_, others) = other.running(&bench).await;
    let older = wire::AttemptId { epoch: others.epoch + 1, ..others.clone() };
    let (_, live) = own.running(&bench).await;
    let newer = wire::AttemptId { number: live.number + 1, ..live.clone() };
    bench.settle().await;
    let before = bench.revision().await;
    let attempts = [
        ("another's", &others),
        ("finished", &finished),
        ("unknown", &foreign()),
        ("another life of the store's", &older),
        ("one that is not the newest", &newer),
    ];
    for call in calls().into_iter().filter(|call| !is_public(call)) {
        for (which, attempt) in &attempts {
            let made = make(&mut own.client, call, attempt).await;
            let expected = match call {
                "Poll" | "Heartbeat" | "PushLog" => Made::ToldToKill,
                "ConfirmFenced" => Made::NoWord,
                _ => Made::Refused(Code::Aborted),
            };
            assert_eq!(made, expected, "{call} for an attempt that is {which}");
            assert_eq!(bench.revision().await, before, "{call} for one that is {which} wrote something");
        }
    }
}

#[tokio::test]
async fn no_call_is_heard_without_a_session_or_with_one_that_has_ended() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (_, attempt) = executor.running(&bench).await;
    let mut ended = executor.client.clone();
    executor.open_with(&bench, vec![attempt.clone()]).await;
    let mut nobody = bench.client(None).await;
    let before = bench.revision().await;
    for call in calls().into_iter().filter(|call| !is_public(call)) {
        let made = make(&mut nobody, call, &attempt).await;
        assert_eq!(made, Made::Refused(Code::Unauthenticated), "{call} by nobody");
        let made = make(&mut ended, call, &attempt).await;
        assert_eq!(made, Made::Refused(Code::Aborted), "{call} by a session that has ended");
        assert_eq!(bench.revision().await, before, "{call} wrote something");
    }
}
