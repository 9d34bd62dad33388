use ocelot_core::frame::{Body, Frame, encode};
use tonic::Streaming;

use super::*;
use crate::service::logs::{Claim, Digest, LogId, Sent};

fn frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&Frame { unix_us: 1, stage: None, body: Body::Stdout(text.as_bytes()) }, &mut bytes);
    bytes
}

async fn append(logs: &Logs, session: Session, attempt: AttemptRef, offset: u64, bytes: Vec<u8>) {
    let crc32c = crc32c::crc32c(&bytes);
    let sent = Sent { offset, bytes: bytes.into(), crc32c };
    logs.append(session, LogId::from(attempt), sent).await.unwrap();
}

async fn next(stream: &mut Streaming<wire::ReadLogResponse>) -> wire::ReadLogResponse {
    tokio::time::timeout(NEVER, stream.message()).await.unwrap().unwrap().unwrap()
}

async fn seal(logs: &Logs, attempt: AttemptRef, whole: &[u8]) {
    use sha2::Digest as _;
    let sha256 = Digest(sha2::Sha256::digest(whole).into());
    logs.seal(LogId::from(attempt), Claim { length: whole.len() as u64, sha256 }).await.unwrap();
}

#[tokio::test]
async fn a_follower_of_a_run_that_waits_gets_its_first_byte_and_all_others_once() {
    let bench = bench().await;
    bench.execute(1).await;
    let request = wire::ReadLogRequest { run: text("build"), follow: true, ..Default::default() };
    let mut follower = bench.runs().read_log(request.clone()).await.unwrap().into_inner();
    let Started { service, logs, .. } = &bench.started;
    let session = executor(service, "x86-1").await;
    let attempt = take(service, session).await;
    let (one, two) = (frame("one\n"), frame("two\n"));
    append(logs, session, attempt, 0, one.clone()).await;
    let first = next(&mut follower).await;
    assert_eq!((first.offset, &first.frames[..], first.attempt), (0, &one[..], attempt.attempt.number()));
    let mut late = bench.runs().read_log(request).await.unwrap().into_inner();
    assert_eq!(next(&mut late).await.frames, one);
    append(logs, session, attempt, one.len() as u64, two.clone()).await;
    seal(logs, attempt, &[one.clone(), two.clone()].concat()).await;
    for reader in [&mut follower, &mut late] {
        let mut rest = Vec::new();
        loop {
            let answer = next(reader).await;
            assert_eq!(answer.offset, (one.len() + rest.len()) as u64);
            rest.extend_from_slice(&answer.frames);
            if answer.complete {
                assert_eq!(answer.loss, None);
                break;
            }
        }
        assert_eq!(rest, two);
        assert!(reader.message().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_reader_who_does_not_follow_gets_what_is_there_and_an_end() {
    let bench = bench().await;
    bench.execute(1).await;
    let request = wire::ReadLogRequest { run: text("build"), ..Default::default() };
    let mut reader = bench.runs().read_log(request.clone()).await.unwrap().into_inner();
    let nothing = next(&mut reader).await;
    assert_eq!((nothing.frames.len(), nothing.complete), (0, false));
    assert!(reader.message().await.unwrap().is_none());
    let cancel = wire::CancelRunRequest { run: text("build"), ..Default::default() };
    bench.runs().cancel_run(cancel).await.unwrap();
    let follow = wire::ReadLogRequest { follow: true, ..request };
    let mut reader = bench.runs().read_log(follow).await.unwrap().into_inner();
    assert!(next(&mut reader).await.complete);
}

#[tokio::test]
async fn a_log_is_read_at_one_controller_while_another_holds_its_live_end() {
    let shutdown = Shutdown::new(NEVER);
    let (one, other, _directory) = pair(&shutdown.tasks()).await;
    // Exactly one of them made the first token.
    assert!(one.first_token.is_some() && other.first_token.is_none());
    let token = one.first_token.as_ref().unwrap().reveal().to_owned();
    let mut jobs = JobServiceClient::with_interceptor(channel(one.address), Bearer(token.clone()));
    jobs.put_job(wire::PutJobRequest { definition: JOB.into(), ..Default::default() }).await.unwrap();
    runs_at(&one, &token).execute(execution(1)).await.unwrap();
    let session = executor(&one.service, "x86-1").await;
    let attempt = take(&one.service, session).await;
    let (first, second) = (frame("first\n"), frame("second\n"));
    append(&one.logs, session, attempt, 0, first.clone()).await;
    let request = wire::ReadLogRequest { run: text("build"), follow: true, ..Default::default() };
    let mut reader = runs_at(&other, &token).read_log(request).await.unwrap().into_inner();
    assert_eq!(next(&mut reader).await.frames, first);
    append(&one.logs, session, attempt, first.len() as u64, second.clone()).await;
    let answer = next(&mut reader).await;
    assert_eq!((answer.offset, &answer.frames[..]), (first.len() as u64, &second[..]));
    seal(&one.logs, attempt, &[first, second].concat()).await;
    assert!(next(&mut reader).await.complete);
}

#[tokio::test]
async fn the_token_of_a_controller_opens_nothing_but_logs() {
    let shutdown = Shutdown::new(NEVER);
    let (one, _other, _directory) = pair(&shutdown.tasks()).await;
    let stranger = crate::auth::Token::new(crate::auth::Kind::Controller, [1; 32]);
    let request = wire::GetRunRequest { run: text("build") };
    let refused = runs_at(&one, stranger.reveal()).get_run(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}
