use crate::bytes::{Identity, LocalHome, Name};

use super::super::ship::Ship;
use super::*;

/// Controllers that share a home of bytes.
struct Fleet {
    home: Arc<LocalHome>,
    _directory: TempDir,
}

fn fleet() -> Fleet {
    let directory = tempfile::tempdir().unwrap();
    let home = LocalHome::open(directory.path(), Identity([1; 16])).unwrap();
    Fleet { home: Arc::new(home), _directory: directory }
}

impl Fleet {
    fn controller(&self, retention: Retention) -> Bench {
        bench_of(tempfile::tempdir().unwrap(), EAGER, retention, Some(Arc::clone(&self.home) as _))
    }
}

impl Bench {
    async fn durable(&self) -> u64 {
        self.logs.progress(id(0)).await.unwrap().durable
    }
}

fn forever() -> Retention {
    Retention::default()
}

fn log_of(lines: usize) -> Vec<u8> {
    source((0..lines).map(|_| b"0123456789".as_slice()))
}

#[tokio::test]
async fn bytes_are_durable_once_the_home_of_bytes_has_them_and_not_before() {
    let fleet = fleet();
    let one = fleet.controller(forever());
    let source = log_of(4);
    one.push(&source, 0, 65).await.unwrap();
    assert_eq!((one.synced().await, one.durable().await), (60, 0));
    one.logs.ship_once(Ship::All).await;
    assert_eq!(one.durable().await, 60);
}

#[tokio::test(start_paused = true)]
async fn few_bytes_wait_ten_seconds_and_the_end_does_not_wait() {
    let fleet = fleet();
    let one = fleet.controller(forever());
    let source = log_of(4);
    one.push(&source, 0, 60).await.unwrap();
    one.synced().await;
    for (wait_s, durable) in [(0, 0), (9, 0), (1, 60)] {
        tokio::time::advance(Duration::from_secs(wait_s)).await;
        one.logs.ship_once(Ship::Due).await;
        assert_eq!(one.durable().await, durable);
    }
    one.push(&source, 60, source.len()).await.unwrap();
    one.logs.seal(id(0), claim(&source)).await.unwrap();
    one.logs.ship_once(Ship::Due).await;
    assert_eq!(one.durable().await, source.len() as u64);
}

#[tokio::test]
async fn another_controller_goes_on_where_the_durable_bytes_end() {
    let fleet = fleet();
    let (one, other) = (fleet.controller(forever()), fleet.controller(forever()));
    let source = log_of(8);
    one.push(&source, 0, 90).await.unwrap();
    one.synced().await;
    one.logs.ship_once(Ship::All).await;
    one.push(&source, 90, 150).await.unwrap();
    one.synced().await;

    let gap = other.push(&source, 150, source.len()).await.unwrap();
    assert_eq!(gap, Answer::Gap { expected: 90 });
    assert_eq!(other.durable().await, 90);
    other.push(&source, 90, source.len()).await.unwrap();
    other.logs.seal(id(0), claim(&source)).await.unwrap();
    other.logs.ship_once(Ship::All).await;
    assert_eq!(other.all(0).await.unwrap(), source);

    // The first one put nothing of its rest, and may do so now: it is the same bytes.
    one.logs.ship_once(Ship::All).await;
    assert_eq!(one.durable().await, 150);
    let third = fleet.controller(forever());
    assert_eq!(third.all(0).await.unwrap(), source);
    assert!(third.logs.ended(id(0)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_controller_that_fell_behind_catches_up_when_it_is_asked_again() {
    let fleet = fleet();
    let (one, other) = (fleet.controller(forever()), fleet.controller(forever()));
    let source = log_of(8);
    one.push(&source, 0, 60).await.unwrap();
    other.push(&source, 0, 210).await.unwrap();
    other.synced().await;
    other.logs.ship_once(Ship::All).await;
    // The executor has freed what is durable and can only send from there.
    let answer = one.push(&source, 210, source.len()).await.unwrap();
    assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");
    assert_eq!(one.all(0).await.unwrap(), source);
}

#[tokio::test]
async fn a_log_can_end_at_a_controller_that_was_sent_only_its_beginning() {
    let fleet = fleet();
    let (one, other) = (fleet.controller(forever()), fleet.controller(forever()));
    let source = log_of(8);
    one.push(&source, 0, 60).await.unwrap();
    other.push(&source, 0, source.len()).await.unwrap();
    other.synced().await;
    other.logs.ship_once(Ship::All).await;
    let sealing = one.logs.seal(id(0), claim(&source)).await.unwrap();
    assert!(matches!(sealing, Sealing::Ended(End { loss: None, .. })), "{sealing:?}");
    assert_eq!(one.all(0).await.unwrap(), source);
}

#[tokio::test]
async fn a_home_that_contradicts_a_log_never_makes_it_durable() {
    let fleet = fleet();
    let (one, other) = (fleet.controller(forever()), fleet.controller(forever()));
    let (first, second) = (log_of(2), source([b"9876543210".as_slice()]));
    one.push(&first, 0, first.len()).await.unwrap();
    other.push(&second, 0, second.len()).await.unwrap();
    one.synced().await;
    other.synced().await;
    one.logs.ship_once(Ship::All).await;
    other.logs.ship_once(Ship::All).await;
    assert_eq!((one.durable().await, other.durable().await), (first.len() as u64, 0));
}

#[tokio::test]
async fn what_the_home_of_bytes_does_not_have_is_not_deleted_here() {
    let fleet = fleet();
    let one = fleet.controller(Retention { bytes: 0, ..forever() });
    let source = log_of(2);
    one.push(&source, 0, source.len()).await.unwrap();
    one.logs.seal(id(0), claim(&source)).await.unwrap();
    assert_eq!(one.logs.expire_once().await.unwrap().logs, []);
    one.logs.ship_once(Ship::All).await;
    assert_eq!(one.logs.expire_once().await.unwrap().logs, [id(0)]);
    assert_eq!(one.all(0).await.unwrap(), source, "it is fetched again");
}

#[tokio::test]
async fn a_restarted_controller_puts_what_the_last_one_could_not() {
    let fleet = fleet();
    let one = fleet.controller(forever());
    let source = log_of(2);
    one.push(&source, 0, source.len()).await.unwrap();
    one.logs.seal(id(0), claim(&source)).await.unwrap();
    one.logs.seal(id(1), claim(b"")).await.unwrap();
    let Bench { logs, directory, .. } = one;
    drop(logs);
    let again = bench_of(directory, EAGER, forever(), Some(Arc::clone(&fleet.home) as _));
    again.logs.resume_shipping().await;
    again.logs.ship_once(Ship::All).await;
    assert!(again.logs.is_shipped(id(0)).await.unwrap());
    assert!(again.logs.is_shipped(id(1)).await.unwrap(), "one without a byte has an end, too");
    let prefix = Name::new("logs").unwrap();
    assert_eq!(fleet.home.list(&prefix).await.unwrap().len(), 3, "one chunk and two ends");
}

#[tokio::test]
async fn the_home_of_bytes_forgets_a_log_that_is_over_and_none_before() {
    let fleet = fleet();
    let one = fleet.controller(Retention { bytes: 0, ..forever() });
    let source = log_of(4);
    one.push(&source, 0, source.len()).await.unwrap();
    one.synced().await;
    one.logs.ship_once(Ship::All).await;
    assert_eq!(one.logs.expire_home_once().await.unwrap().logs, []);
    one.logs.seal(id(0), claim(&source)).await.unwrap();
    one.logs.ship_once(Ship::All).await;
    assert_eq!(one.logs.expire_home_once().await.unwrap().logs, [id(0)]);
    assert_eq!(fleet.home.list(&Name::new("logs").unwrap()).await.unwrap(), []);
}
