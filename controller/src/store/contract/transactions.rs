//! Atomic, judged one after the other, told as they are.

use tokio::task::JoinSet;

use super::super::{Expected, InvalidTxn};
use super::*;

async fn number(arena: &Arena, name: &str) -> (u64, Revision) {
    let item = arena.find(name).await.expect("the number is there");
    let text = std::str::from_utf8(&item.value).expect("the number is text");
    (text.parse().expect("the number is one"), item.mod_revision)
}

pub(super) async fn of_64_tasks_that_race_for_a_key_exactly_one_wins_each_round(arena: Arena) {
    const TASKS: u64 = 64;
    const ROUNDS: u64 = 8;
    arena.put("sum", "0").await;
    for round in 0..ROUNDS {
        let (sum, at) = number(&arena, "sum").await;
        assert_eq!(sum, round, "a round had not exactly one winner");
        let mut racers = JoinSet::new();
        for _ in 0..TASKS {
            let arena = arena.clone();
            racers.spawn(async move {
                let key = arena.key("sum");
                let txn = Txn::new().when(&key, Expected::At(at)).put(key, (sum + 1).to_string());
                matches!(arena.commit(txn).await, Verdict::Committed(_))
            });
        }
        let winners = racers.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(winners, 1, "in round {round}");
    }
    assert_eq!(number(&arena, "sum").await.0, ROUNDS);
}

pub(super) async fn no_reader_sees_half_a_transaction(arena: Arena) {
    const ROUNDS: u32 = 100;
    let write = |round: u32| {
        let txn = Txn::new().put(arena.key("a"), round.to_string()).put(arena.key("z"), round.to_string());
        if round.is_multiple_of(2) { txn.put(arena.key("m"), "even") } else { txn.delete(arena.key("m")) }
    };
    arena.accept(write(0)).await;
    let reader = arena.clone();
    let reading = async move {
        loop {
            let items = reader.list(RangeRequest::prefix(&reader.prefix)).await;
            let value = |name: &str| {
                let key = reader.key(name);
                items.iter().find(|item| item.key == key).map(|item| item.value.clone())
            };
            let (a, m, z) = (value("a"), value("m"), value("z"));
            assert_eq!(a, z, "half a transaction was read");
            let text = String::from_utf8(a.expect("a is always there").to_vec()).expect("a is text");
            let round: u32 = text.parse().expect("a is a number");
            assert_eq!(m.is_some(), round.is_multiple_of(2), "half a transaction was read in round {round}");
            if round == ROUNDS {
                return;
            }
        }
    };
    let writing = async {
        for round in 1..=ROUNDS {
            arena.accept(write(round)).await;
        }
    };
    tokio::join!(reading, writing);
}

pub(super) async fn each_compare_holds_exactly_when_it_should(arena: Arena) {
    let here = arena.put("here", "1").await;
    let wrong = Revision(here.0 - 1);
    let table = [
        ("here", Expected::Present, true),
        ("here", Expected::Absent, false),
        ("here", Expected::At(here), true),
        ("here", Expected::At(wrong), false),
        ("gone", Expected::Absent, true),
        ("gone", Expected::Present, false),
        ("gone", Expected::At(here), false),
    ];
    for (name, expected, holds) in table {
        let verdict = arena.commit(Txn::new().when(arena.key(name), expected)).await;
        assert_eq!(matches!(verdict, Verdict::Committed(_)), holds, "{name} {expected:?}: {verdict:?}");
    }
}

pub(super) async fn a_refused_transaction_tells_what_it_found_and_changes_nothing(arena: Arena) {
    arena.put("b", "old").await;
    let before = arena.put("b", "new").await;
    let txn = Txn::new()
        .when(arena.key("missing"), Expected::Absent)
        .when(arena.key("b"), Expected::Absent)
        .put(arena.key("b"), "never")
        .put(arena.key("c"), "never");
    let Verdict::Refused { found } = arena.commit(txn).await else { panic!("it was committed") };
    assert_eq!(found, [None, arena.find("b").await]);
    let found = found[1].clone().expect("b was found");
    assert_eq!((found.value, found.mod_revision), (Bytes::from("new"), before));
    assert_eq!(arena.find("c").await, None);
    assert_eq!(arena.revision().await, before);
}

pub(super) async fn every_compare_must_hold(arena: Arena) {
    let at = arena.put("a", "1").await;
    let txn = |second| {
        Txn::new()
            .when(arena.key("a"), Expected::At(at))
            .when(arena.key("b"), second)
            .put(arena.key("c"), "written")
    };
    assert!(matches!(arena.commit(txn(Expected::Present)).await, Verdict::Refused { .. }));
    assert!(matches!(arena.commit(txn(Expected::Absent)).await, Verdict::Committed(_)));
}

pub(super) async fn every_write_raises_the_revision(arena: Arena) {
    let mut last = arena.revision().await;
    for round in 0..10 {
        // The same value twice is a change like any other.
        let revision =
            if round % 3 == 2 { arena.delete("k").await } else { arena.put("k", "the same").await };
        assert_eq!(revision, last.next());
        assert_eq!(arena.revision().await, revision);
        last = revision;
    }
}

pub(super) async fn what_changes_nothing_leaves_the_revision(arena: Arena) {
    let before = arena.put("a", "1").await;
    assert_eq!(arena.accept(Txn::new()).await, before);
    assert_eq!(arena.delete("never there").await, before);
    assert_eq!(arena.accept(Txn::new().when(arena.key("a"), Expected::Present)).await, before);
    let mixed = Txn::new().delete(arena.key("never there")).put(arena.key("b"), "2");
    assert_eq!(arena.accept(mixed).await, before.next());
}

pub(super) async fn all_changes_of_a_transaction_share_a_revision(arena: Arena) {
    arena.put("c", "goes").await;
    let txn = Txn::new().put(arena.key("a"), "1").delete(arena.key("c")).put(arena.key("b"), "2");
    let revision = arena.accept(txn).await;
    let items = arena.list(RangeRequest::prefix(&arena.prefix)).await;
    assert_eq!(items.len(), 2);
    for item in items {
        assert_eq!((item.create_revision, item.mod_revision), (revision, revision), "{}", item.key);
    }
}

pub(super) async fn a_key_that_was_deleted_is_created_anew(arena: Arena) {
    let first = arena.put("k", "1").await;
    let second = arena.put("k", "2").await;
    let item = arena.find("k").await.expect("k is there");
    assert_eq!((item.create_revision, item.mod_revision), (first, second));
    arena.delete("k").await;
    assert_eq!(arena.find("k").await, None);
    let third = arena.put("k", "3").await;
    let item = arena.find("k").await.expect("k is there");
    assert_eq!((item.create_revision, item.mod_revision), (third, third));
}

pub(super) async fn limits_are_checked_before_anything_is_sent(arena: Arena) {
    let many = (0..=Txn::OPS_MAX).fold(Txn::new(), |txn, n| txn.put(arena.key(&n.to_string()), "x"));
    let large = Txn::new().put(arena.key("k"), vec![0; Txn::BYTES_MAX]);
    let twice = Txn::new().put(arena.key("k"), "1").delete(arena.key("k"));
    let before = arena.revision().await;
    let invalid = async |txn: Txn| match arena.store.commit(txn).await {
        Err(Error::Invalid(invalid)) => invalid,
        other => panic!("{other:?} instead of a refusal"),
    };
    assert!(matches!(invalid(many).await, InvalidTxn::TooManyOps { count: 129 }));
    assert!(matches!(invalid(large).await, InvalidTxn::TooLarge { .. }));
    assert!(matches!(invalid(twice).await, InvalidTxn::WrittenTwice { .. }));
    for key in ["", "ümlaut", "new\nline", "nul\0", &"k".repeat(1025)] {
        assert!(matches!(invalid(Txn::new().put(key, "x")).await, InvalidTxn::InvalidKey { .. }), "{key:?}");
        let compared = Txn::new().when(key, Expected::Absent);
        assert!(matches!(invalid(compared).await, InvalidTxn::InvalidKey { .. }), "{key:?}");
    }
    assert_eq!(arena.revision().await, before);
}

pub(super) async fn the_largest_transaction_is_taken(arena: Arena) {
    let names: Vec<String> = (0..Txn::OPS_MAX).map(|n| format!("{n:03}")).collect();
    let mut txn = names.iter().fold(Txn::new(), |txn, name| {
        txn.when(arena.key(name), Expected::Absent).put(arena.key(name), vec![7; 10_000])
    });
    let rest = Txn::BYTES_MAX - txn.size_bytes();
    txn = names[1..].iter().fold(Txn::new(), |txn, name| txn.put(arena.key(name), vec![7; 10_000]));
    txn = txn.put(arena.key("000"), vec![7; 10_000 + rest]);
    arena.accept(txn).await;
    assert_eq!(arena.list(RangeRequest::prefix(&arena.prefix)).await.len(), Txn::OPS_MAX);
}

pub(super) async fn values_come_back_byte_for_byte(arena: Arena) {
    let every: Vec<u8> = (0..=255).collect();
    for (name, value) in [("empty", Vec::new()), ("bytes", every.clone()), ("big", every.repeat(4096))] {
        arena.put(name, value.clone()).await;
        assert_eq!(arena.find(name).await.expect("it was put").value, value, "{name}");
    }
}

pub(super) async fn the_store_says_that_it_is_well(arena: Arena) {
    let revision = arena.put("k", "1").await;
    let health = arena.store.health().await.expect("the store is well");
    assert_eq!(health.revision, revision);
    assert!((0.0..1.0).contains(&health.fullness), "{health:?}");
    assert!(!health.description.is_empty());
}

pub(super) async fn what_was_committed_is_there_after_a_restart(mut arena: Arena) {
    arena.put("a", "1").await;
    arena.put("b", "2").await;
    arena.delete("a").await;
    let (before, revision) = (arena.list(RangeRequest::prefix(&arena.prefix)).await, arena.revision().await);
    arena.store = arena.home.restart().await;
    assert_eq!(arena.list(RangeRequest::prefix(&arena.prefix)).await, before);
    assert_eq!(arena.revision().await, revision);
    assert_eq!(arena.put("c", "3").await, revision.next());
}
