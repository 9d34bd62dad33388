//! Logs over one stream: many attempts, gaps, repeats, other bytes, and who may send.

use ocelot_proto::wire::complete_response::Answer as Completed;
use ocelot_proto::wire::push_log_response::Answer;
use tonic::Code;

use super::bench::*;

#[tokio::test]
async fn many_attempts_share_a_stream_and_each_is_told_its_own_offsets() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (_, one) = executor.running(&bench).await;
    let (_, two) = executor.running(&bench).await;
    let (first, second) = (log(b"one\n"), log(b"the second\n"));
    let mut push = executor.push().await;
    push.send(&one, 0, &first, None).await;
    push.send(&two, 0, &second, Some(end(&second))).await;
    push.until_received(&one, first.len() as u64).await;
    push.send(&one, first.len() as u64, &second, None).await;
    let length = (first.len() + second.len()) as u64;
    let offsets = push.until_received(&one, length).await;
    assert_eq!((offsets.received, offsets.durable), (length, length));
}

#[tokio::test]
async fn a_gap_names_what_is_expected_and_a_repeat_is_taken() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (_, attempt) = executor.running(&bench).await;
    let bytes = [log(b"first\n"), log(b"second\n")].concat();
    let (head, tail) = bytes.split_at(9);
    let mut push = executor.push().await;
    push.send(&attempt, 9, tail, None).await;
    let Answer::Gap(gap) = push.answer().await.unwrap() else { panic!("a gap") };
    assert_eq!(gap.expected, 0);
    push.send(&attempt, 0, head, None).await;
    push.send(&attempt, 0, head, None).await;
    push.send(&attempt, 9, tail, None).await;
    push.until_received(&attempt, bytes.len() as u64).await;
}

#[tokio::test]
async fn other_bytes_than_before_end_the_log_with_a_loss_and_the_attempt_still_completes() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (run, attempt) = executor.running(&bench).await;
    let (bytes, others) = (log(b"first\n"), log(b"other\n"));
    let mut push = executor.push().await;
    push.send(&attempt, 0, &bytes, None).await;
    push.until_received(&attempt, bytes.len() as u64).await;
    push.send(&attempt, 0, &others, None).await;
    loop {
        match push.answer().await.unwrap() {
            Answer::Diverged(_) => break,
            Answer::Offsets(_) => {}
            other => panic!("{other:?}"),
        }
    }
    executor.complete(&attempt, [7; 16], &others).await.unwrap();
    bench.ended(run).await;
}

#[tokio::test]
async fn an_attempt_is_complete_only_with_its_whole_log() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (run, attempt) = executor.running(&bench).await;
    let bytes = log(b"all of it\n");
    let answer = executor.complete(&attempt, [7; 16], &bytes).await.unwrap().answer.unwrap();
    let Completed::LogIncomplete(incomplete) = answer else { panic!("{answer:?}") };
    assert_eq!(incomplete.expected, 0);
    let mut push = executor.push().await;
    push.send(&attempt, 0, &bytes, None).await;
    push.until_received(&attempt, bytes.len() as u64).await;
    let answer = executor.complete(&attempt, [7; 16], &bytes).await.unwrap().answer.unwrap();
    assert!(matches!(answer, Completed::Recorded(_)), "{answer:?}");
    bench.ended(run).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_the_next_one_goes_on_from_what_is_there() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (_, attempt) = executor.running(&bench).await;
    let bytes = [log(b"first\n"), log(b"second\n")].concat();
    let mut push = executor.push().await;
    push.send(&attempt, 0, &bytes[..20], None).await;
    push.answer().await.unwrap();
    let opened = executor.open_with(&bench, vec![attempt.clone()]).await;
    assert_eq!(opened.keep, std::slice::from_ref(&attempt));
    let ended = loop {
        match push.answer().await {
            Ok(Answer::Offsets(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated);
    let mut push = executor.push().await;
    push.send(&attempt, 20, &bytes[20..], Some(end(&bytes))).await;
    push.until_received(&attempt, bytes.len() as u64).await;
}

#[tokio::test]
async fn a_piece_that_changed_on_the_way_is_not_taken() {
    let bench = Bench::start().await;
    let mut executor = bench.executor("x1").await;
    let (_, attempt) = executor.running(&bench).await;
    let piece = ocelot_proto::wire::PushLogRequest {
        attempt: Some(attempt),
        offset: 0,
        bytes: log(b"x").into(),
        crc32c: 1,
        end: None,
    };
    let pieces = futures_util::stream::iter([piece]);
    let mut answers = executor.client.push_log(pieces).await.unwrap().into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}
