//! Objects over a real connection: in pieces, whole or refused, and gone on with from an offset.

use std::collections::BTreeMap;

use ocelot_proto::wire;
use ocelot_proto::wire::fetch_object_response::Piece as Sent;
use ocelot_proto::wire::push_object_request::{Begin, End, Piece, begin};
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use super::bench::*;

const JOB: &str = "
name: build
image: alpine
command: [make]
artifacts: [{name: site, paths: [out]}]
cache: [{name: npm, paths: [.npm], key: node}]
";

async fn running(bench: &Bench, executor: &mut Executor) -> wire::AttemptId {
    bench.execute_job(JOB, "build", BTreeMap::new()).await.unwrap();
    let attempt = executor.offer().await.attempt.unwrap();
    executor.acknowledge(&attempt).await.unwrap();
    attempt
}

fn begin(attempt: &wire::AttemptId, object: begin::Object) -> Piece {
    Piece::Begin(Begin { attempt: Some(attempt.clone()), object: Some(object), files: 1 })
}

fn site() -> begin::Object {
    begin::Object::Artifact("site".into())
}

fn state() -> begin::Object {
    begin::Object::Cache(wire::CacheKey { name: "npm".into(), key: "node".into() })
}

fn end(bytes: &[u8]) -> Piece {
    Piece::End(End { length: bytes.len() as u64, sha256: Sha256::digest(bytes).to_vec().into() })
}

async fn push(objects: &mut ObjectClient, pieces: Vec<Piece>) -> Result<bool, Status> {
    let pieces = pieces.into_iter().map(|piece| wire::PushObjectRequest { piece: Some(piece) });
    Ok(objects.push_object(futures_util::stream::iter(pieces)).await?.into_inner().existed)
}

/// Three pieces and a bit.
fn large() -> Vec<u8> {
    (0..3 * 1024 * 1024 + 5_u32).map(|number| (number >> 7) as u8).collect()
}

fn whole(attempt: &wire::AttemptId, object: begin::Object, bytes: &[u8]) -> Vec<Piece> {
    let pieces = bytes.chunks(1024 * 1024).map(|piece| Piece::Bytes(piece.to_vec().into()));
    [begin(attempt, object)].into_iter().chain(pieces).chain([end(bytes)]).collect()
}

#[tokio::test]
async fn a_state_of_a_cache_comes_back_as_it_was_pushed_and_from_any_offset() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let attempt = running(&bench, &mut executor).await;
    let mut objects = bench.objects(&executor).await;
    let bytes = large();
    assert!(!push(&mut objects, whole(&attempt, state(), &bytes)).await.unwrap());
    assert!(push(&mut objects, whole(&attempt, state(), &bytes)).await.unwrap());
    let fetch = async |objects: &mut ObjectClient, offset: u64, sha256: Vec<u8>| {
        let wanted = wire::WantedCache {
            cache: Some(wire::CacheKey { name: "npm".into(), key: "node".into() }),
            fallback: true,
            prefix: "node-".into(),
        };
        let request = wire::FetchObjectRequest {
            attempt: Some(attempt.clone()),
            object: Some(wire::fetch_object_request::Object::Cache(wanted)),
            offset,
            sha256: sha256.into(),
        };
        let mut answers = objects.fetch_object(request).await?.into_inner();
        let Some(Sent::Head(head)) = answers.message().await?.unwrap().piece else { panic!("no head") };
        let mut found = Vec::new();
        while let Some(answer) = answers.message().await? {
            let Some(Sent::Bytes(bytes)) = answer.piece else { panic!("no bytes") };
            assert!(bytes.len() <= 1024 * 1024);
            found.extend_from_slice(&bytes);
        }
        Ok::<_, Status>((head, found))
    };
    let (head, found) = fetch(&mut objects, 0, Vec::new()).await.unwrap();
    assert_eq!((head.length, head.key.as_str(), found == bytes), (bytes.len() as u64, "node", true));
    let (head, found) = fetch(&mut objects, 1_500_000, head.sha256.to_vec()).await.unwrap();
    assert_eq!((head.offset, found == bytes[1_500_000..]), (1_500_000, true));
    let another = fetch(&mut objects, 1, vec![7; 32]).await.unwrap_err();
    assert_eq!(another.code(), Code::FailedPrecondition);
    let beyond = fetch(&mut objects, bytes.len() as u64 + 1, head.sha256.to_vec()).await.unwrap_err();
    assert_eq!(beyond.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_not_whole_or_not_its_own_is_refused() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let attempt = running(&bench, &mut executor).await;
    let mut objects = bench.objects(&executor).await;
    let mut refused = async |pieces: Vec<Piece>| {
        let status = push(&mut objects, pieces).await.unwrap_err();
        format!("{:?}: {}", status.code(), status.message())
    };
    let bytes = || Piece::Bytes(vec![1; 4].into());
    insta::assert_snapshot!(refused(vec![begin(&attempt, site()), bytes()]).await, @"InvalidArgument: end: the stream ended before it");
    insta::assert_snapshot!(refused(vec![bytes()]).await, @"InvalidArgument: piece: the first one begins");
    insta::assert_snapshot!(refused(vec![begin(&attempt, site()), begin(&attempt, site())]).await, @"InvalidArgument: piece: it has begun already");
    let large = Piece::Bytes(vec![0; 1024 * 1024 + 1].into());
    insta::assert_snapshot!(refused(vec![begin(&attempt, site()), large]).await, @"InvalidArgument: a piece has at most 1048576 bytes");
    insta::assert_snapshot!(refused(vec![begin(&attempt, begin::Object::Artifact("x".into()))]).await, @r#"FailedPrecondition: the task's plan has no artifact "x""#);
    let status = refused(vec![begin(&attempt, site()), bytes(), end(b"other")]).await;
    assert!(status.starts_with("InvalidArgument: 4 bytes with the digest "), "{status}");
    let foreign = refused(whole(&foreign(), site(), b"x")).await;
    assert!(foreign.starts_with("Aborted"), "{foreign}");

    let mut stranger = bench.executor("x2").await;
    let mut other = bench.objects(&stranger).await;
    let status = push(&mut other, whole(&attempt, site(), b"x")).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "another executor's attempt: {status:?}");
    let needed = wire::ListNeededRequest { attempt: Some(attempt.clone()) };
    assert_eq!(other.list_needed(needed.clone()).await.unwrap_err().code(), Code::Aborted);
    assert!(objects.list_needed(needed).await.unwrap().into_inner().needed.is_empty());
    stranger.open(&bench).await;
}

#[tokio::test]
async fn a_completion_names_what_was_pushed_or_is_told_what_is_missing() {
    use wire::complete_response::Answer;
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let attempt = running(&bench, &mut executor).await;
    let mut objects = bench.objects(&executor).await;
    let run = ocelot_core::id::RunId::from_bytes(attempt.task.as_ref().unwrap().run[..].try_into().unwrap());
    let succeeded = wire::outcome::Outcome::Succeeded(wire::outcome::Succeeded {});
    let lost = wire::LogLoss { at: 0, reason: "none".into() };
    let request = wire::CompleteRequest {
        attempt: Some(attempt.clone()),
        completion: vec![7; 16].into(),
        outcome: Some(wire::Outcome { outcome: Some(succeeded) }),
        loss: Some(lost),
        artifacts: vec![wire::ArtifactDigest {
            name: "site".into(),
            sha256: Sha256::digest(b"x").to_vec().into(),
            size_bytes: 1,
            files: 1,
        }],
        ..Default::default()
    };
    let answer = executor.client.complete(request.clone()).await.unwrap().into_inner().answer;
    let missing = wire::complete_response::ArtifactMissing { name: "site".into() };
    assert_eq!(answer, Some(Answer::ArtifactMissing(missing)));
    push(&mut objects, whole(&attempt, site(), b"x")).await.unwrap();
    assert!(bench.service.artifacts(run).await.unwrap().is_empty());
    for _ in 0..2 {
        let answer = executor.client.complete(request.clone()).await.unwrap().into_inner().answer;
        assert!(matches!(answer, Some(Answer::Recorded(_))), "{answer:?}");
    }
    assert_eq!(bench.service.artifacts(run).await.unwrap().len(), 1);
}
