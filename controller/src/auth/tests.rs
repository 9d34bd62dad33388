use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ocelot_core::id::{ExecutorId, Incarnation, SessionId};
use ocelot_proto::kit::clock::{Clock, Sleep, UnixMicros};
use ocelot_proto::kit::shutdown::Shutdown;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::embedded::{EmbeddedStore, Settings};
use crate::store::keys::{Folder, Key};
use crate::store::{Expected, RangeRequest, Store, Txn};

use super::*;

/// A time of day that a test sets; waits end when the test says so.
#[derive(Debug, Default)]
struct TestClock {
    wall_us: AtomicU64,
    tick: Arc<tokio::sync::Notify>,
}

impl Clock for TestClock {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.wall_us.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, _duration: Duration) -> Sleep {
        let tick = Arc::clone(&self.tick);
        Box::pin(async move { tick.notified().await })
    }
}

impl TestClock {
    fn advance(&self, time: Duration) {
        self.wall_us.fetch_add(time.as_micros() as u64, Ordering::SeqCst);
    }
}

struct Bench {
    store: Arc<EmbeddedStore>,
    clock: Arc<TestClock>,
    api: Arc<ApiTokens>,
    registration: RegistrationTokens,
    _directory: TempDir,
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MINUTE: Duration = Duration::from_secs(60);

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(Settings::new(directory.path())).unwrap());
    let clock = Arc::new(TestClock::default());
    clock.advance(MINUTE);
    let api = controller(&store, &clock);
    let registration = RegistrationTokens::new(Arc::clone(&store) as _, Arc::clone(&clock) as _);
    Bench { store, clock, api, registration, _directory: directory }
}

fn controller(store: &Arc<EmbeddedStore>, clock: &Arc<TestClock>) -> Arc<ApiTokens> {
    Arc::new(ApiTokens::new(Arc::clone(store) as _, Arc::clone(clock) as _))
}

fn ci() -> NewApiToken {
    NewApiToken { name: "ci".into(), person: "ada".into(), expires_in: None }
}

#[tokio::test]
async fn a_new_token_works_at_once_on_every_controller_and_its_name_is_taken() {
    let bench = bench();
    let other = controller(&bench.store, &bench.clock);
    let (_, token) = bench.api.create(ci(), [1; 32]).await.unwrap();
    for controller in [&bench.api, &other] {
        let access = controller.authenticate(&token, HERE).await.unwrap();
        assert_eq!((access.token.as_str(), access.person.as_str()), ("ci", "ada"));
    }
    assert!(matches!(bench.api.create(ci(), [2; 32]).await, Err(Error::Exists(_))));
    for name in ["", "a b", "a/b", &"a".repeat(64)] {
        let new = NewApiToken { name: name.into(), ..ci() };
        assert!(matches!(bench.api.create(new, [2; 32]).await, Err(Error::InvalidName(_))));
    }
}

#[tokio::test]
async fn the_store_never_holds_a_token() {
    let bench = bench();
    let (_, api) = bench.api.create(ci(), [1; 32]).await.unwrap();
    let new = NewRegistrationToken::once(vec![], "ada");
    let (_, registration) = bench.registration.create(new, [2; 32]).await.unwrap();
    let all = bench.store.range(RangeRequest::prefix(Folder::All)).await.unwrap();
    assert_eq!(all.items.len(), 2);
    for item in all.items {
        let text = format!("{} {}", item.key, String::from_utf8(item.value.to_vec()).unwrap());
        for token in [&api, &registration] {
            assert!(!text.contains(&token.reveal()[12..40]), "{text}");
        }
    }
}

#[tokio::test]
async fn a_revoked_token_ends_on_the_open_streams_of_another_controller() {
    let bench = bench();
    let other = controller(&bench.store, &bench.clock);
    let shutdown = Shutdown::new(MINUTE);
    other.run(&shutdown.tasks());
    let (_, token) = bench.api.create(ci(), [1; 32]).await.unwrap();
    let access = other.authenticate(&token, HERE).await.unwrap();
    assert!(!access.ended.is_cancelled());
    bench.api.revoke("ci").await.unwrap();
    access.ended.cancelled().await;
    assert!(matches!(other.authenticate(&token, HERE).await, Err(Denied::Unknown)));
    assert!(matches!(bench.api.revoke("ci").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn an_expired_token_is_refused_and_ends_on_open_streams() {
    let bench = bench();
    let shutdown = Shutdown::new(MINUTE);
    let new = NewApiToken { expires_in: Some(MINUTE), ..ci() };
    let (_, token) = bench.api.create(new, [1; 32]).await.unwrap();
    let access = bench.api.authenticate(&token, HERE).await.unwrap();
    bench.api.run(&shutdown.tasks());
    bench.clock.advance(MINUTE);
    assert!(matches!(bench.api.authenticate(&token, HERE).await, Err(Denied::Unknown)));
    let ticking = async {
        loop {
            bench.clock.tick.notify_one();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = access.ended.cancelled() => {}
        () = ticking => {}
    }
}

#[tokio::test]
async fn a_rotated_token_works_beside_its_new_value_for_the_overlap() {
    let bench = bench();
    let (_, old) = bench.api.create(ci(), [1; 32]).await.unwrap();
    let (record, new) = bench.api.rotate("ci", MINUTE, [2; 32]).await.unwrap();
    assert_eq!(record.values.len(), 2);
    for token in [&old, &new] {
        bench.api.authenticate(token, HERE).await.unwrap();
    }
    bench.clock.advance(MINUTE);
    assert!(matches!(bench.api.authenticate(&old, HERE).await, Err(Denied::Unknown)));
    let (_, newest) = bench.api.rotate("ci", Duration::ZERO, [3; 32]).await.unwrap();
    bench.api.authenticate(&newest, HERE).await.unwrap();
    assert!(matches!(bench.api.authenticate(&new, HERE).await, Err(Denied::Unknown)));
}

#[tokio::test]
async fn use_is_written_once_a_minute_and_never_by_the_call() {
    let bench = bench();
    let (_, token) = bench.api.create(ci(), [1; 32]).await.unwrap();
    let last_used = async || bench.api.list(None, 10).await.unwrap()[0].last_used_us;
    assert_eq!(last_used().await, None);
    let revision = async || bench.store.health().await.unwrap().revision;
    for (wait, at_s) in [(0, 60), (59, 60), (1, 120), (30, 120), (31, 181)] {
        bench.clock.advance(Duration::from_secs(wait));
        let before = revision().await;
        bench.api.authenticate(&token, HERE).await.unwrap();
        assert_eq!(revision().await, before, "a call does not wait for the store");
        bench.api.write_uses().await;
        assert_eq!(last_used().await, Some(at_s * 1_000_000));
    }
    // The last use of a minute is written when the minute is over, though no other comes.
    bench.clock.advance(Duration::from_secs(20));
    bench.api.authenticate(&token, HERE).await.unwrap();
    bench.clock.advance(Duration::from_secs(40));
    bench.api.write_uses().await;
    assert_eq!(last_used().await, Some(201 * 1_000_000));
}

#[tokio::test]
async fn tokens_are_listed_by_name_a_page_at_a_time() {
    let bench = bench();
    for name in ["b", "a", "c"] {
        let new = NewApiToken { name: name.into(), ..ci() };
        bench.api.create(new, random_secret()).await.unwrap();
    }
    let names = async |after, limit| {
        let tokens = bench.api.list(after, limit).await.unwrap();
        tokens.into_iter().map(|token| token.name).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 2).await, ["a", "b"]);
    assert_eq!(names(Some("b"), 2).await, ["c"]);
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down_and_never_shut_out_a_right_one() {
    let bench = bench();
    let (_, right) = bench.api.create(ci(), [1; 32]).await.unwrap();
    bench.api.authenticate(&right, HERE).await.unwrap();
    for number in 0..10 {
        let wrong = Token::new(Kind::Api, [100 + number; 32]);
        assert!(matches!(bench.api.authenticate(&wrong, HERE).await, Err(Denied::Unknown)));
    }
    let wrong = Token::new(Kind::Api, [99; 32]);
    assert!(matches!(bench.api.authenticate(&wrong, HERE).await, Err(Denied::TooMany(_))));
    bench.api.authenticate(&right, HERE).await.unwrap();
}

fn register(name: &str) -> Txn {
    let key = Key::Executor(ExecutorId::from_bytes([name.as_bytes()[0]; 16]));
    Txn::new().when(key.clone(), Expected::Absent).put(key, Bytes::from(name.to_owned()))
}

#[tokio::test]
async fn of_many_that_race_for_a_registration_exactly_as_many_win_as_it_has_uses() {
    let bench = bench();
    for uses in [1, 3] {
        let new = NewRegistrationToken { uses, ..NewRegistrationToken::once(vec![], "ada") };
        let (_, token) = bench.registration.create(new, random_secret()).await.unwrap();
        let base = if uses == 1 { b'a' } else { b'A' };
        let mut racing = tokio::task::JoinSet::new();
        for number in 0..12 {
            let (registration, token) = (bench.registration.clone(), token.clone());
            racing.spawn(async move {
                registration.redeem(&token, &register(&char::from(base + number).to_string())).await
            });
        }
        let mut won = 0;
        while let Some(redeemed) = racing.join_next().await {
            match redeemed.unwrap() {
                Ok(Redeemed::Committed) => won += 1,
                Err(Error::NotValid) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(won, uses);
    }
    let executors = bench.store.range(RangeRequest::prefix(Folder::Executors)).await.unwrap();
    assert_eq!(executors.items.len(), 4);
}

#[tokio::test]
async fn a_registration_that_fails_spends_nothing() {
    let bench = bench();
    bench.store.commit(register("x")).await.unwrap();
    let (_, token) =
        bench.registration.create(NewRegistrationToken::once(vec![], "ada"), [1; 32]).await.unwrap();
    let refused = bench.registration.redeem(&token, &register("x")).await.unwrap();
    assert!(matches!(refused, Redeemed::Refused { found } if found.len() == 1 && found[0].is_some()));
    assert_eq!(bench.registration.check(&token).await.unwrap().uses_left, 1);
    let registered = bench.registration.redeem(&token, &register("y")).await.unwrap();
    assert_eq!(registered, Redeemed::Committed);
}

#[tokio::test]
async fn an_expired_or_foreign_registration_token_is_refused_alike() {
    let bench = bench();
    let (_, token) =
        bench.registration.create(NewRegistrationToken::once(vec![], "ada"), [1; 32]).await.unwrap();
    let foreign = Token::new(Kind::Registration, [2; 32]);
    assert!(matches!(bench.registration.redeem(&foreign, &Txn::new()).await, Err(Error::NotValid)));
    bench.clock.advance(15 * MINUTE);
    assert!(matches!(bench.registration.redeem(&token, &Txn::new()).await, Err(Error::NotValid)));
}

/// One open session.
#[derive(Debug)]
struct OneSession(Token, Admitted);

#[async_trait]
impl Sessions for OneSession {
    async fn session(&self, token: &Token) -> std::result::Result<Admitted, Denied> {
        let is_own = token.hash() == self.0.hash();
        if is_own { Ok(self.1.clone()) } else { Err(Denied::Unknown) }
    }
}

#[tokio::test]
async fn the_gate_knows_a_caller_by_the_credential_alone() {
    let bench = bench();
    let (_, api) = bench.api.create(ci(), [1; 32]).await.unwrap();
    let session = SessionId::from_bytes([5; 16]);
    let executor = ExecutorId::from_bytes([7; 16]);
    let own = Token::new(Kind::Session { executor, session }, [6; 32]);
    let admitted =
        Admitted { session, executor, incarnation: Incarnation(8), ended: CancellationToken::new() };
    let gate = Gate::new(Arc::clone(&bench.api), Arc::new(OneSession(own.clone(), admitted)));
    let admit = async |header: &str| {
        gate.admit(Some(header.as_bytes()), HERE).await.map(|caller| caller.identity).ok()
    };

    let person = Identity::Person { token: "ci".into(), person: "ada".into() };
    assert_eq!(admit(&format!("Bearer {}", api.reveal())).await, Some(person));
    let machine = Identity::Executor { executor, session, incarnation: Incarnation(8) };
    assert_eq!(admit(&format!("bearer {}", own.reveal())).await, Some(machine));
    let stolen = Token::new(Kind::Session { executor, session }, [9; 32]);
    let registration = Token::new(Kind::Registration, [9; 32]);
    for wrong in [
        format!("Bearer {}", stolen.reveal()),
        format!("Bearer {}", registration.reveal()),
        format!("Basic {}", api.reveal()),
        api.reveal().to_owned(),
        String::new(),
    ] {
        assert_eq!(admit(&wrong).await, None, "{wrong:?} was let in");
    }
    assert!(matches!(gate.admit(None, HERE).await, Err(Denied::Unknown)));
}
