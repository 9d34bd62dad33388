//! Changes, told whole, in order, from any revision that is kept.

use super::*;

/// Makes a history of `rounds` transactions of one to three changes, and returns its events.
async fn scribble(arena: &Arena, rounds: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for round in 0..rounds {
        let (put, other, deleted) = (
            arena.key(&format!("{:02}", round % 7)),
            arena.key("twin"),
            arena.key(&format!("{:02}", (round + 3) % 7)),
        );
        let gone = arena.store.range(RangeRequest::key(&deleted)).await.expect("a key").items.is_empty();
        let txn = Txn::new().put(&put, round.to_string()).put(&other, round.to_string()).delete(&deleted);
        let mod_revision = arena.accept(txn).await;
        for key in [put, other] {
            let item = arena.store.range(RangeRequest::key(&key)).await.expect("a key").items.remove(0);
            events.push(Event { change: Change::Put(item), mod_revision });
        }
        if !gone {
            events.push(Event { change: Change::Delete { key: deleted }, mod_revision });
        }
    }
    events
}

pub(super) async fn a_watch_sees_every_change_in_order(arena: Arena) {
    let mut watch = arena.watch(arena.revision().await.next()).await;
    let events = scribble(&arena, 20).await;
    let last = events[events.len() - 1].mod_revision;
    assert_eq!(follow(&mut watch, last).await, events);
}

pub(super) async fn a_watch_resumes_from_each_past_revision(arena: Arena) {
    let first = arena.revision().await;
    let events = scribble(&arena, 12).await;
    let last = events[events.len() - 1].mod_revision;
    for from in first.0 + 1..=last.0 {
        let mut watch = arena.watch(Revision(from)).await;
        let rest: Vec<Event> = events.iter().filter(|event| event.mod_revision.0 >= from).cloned().collect();
        assert_eq!(follow(&mut watch, last).await, rest, "from {from}");
    }
}

pub(super) async fn a_watch_sees_its_prefix_and_nothing_beside_it(arena: Arena) {
    let from = arena.revision().await.next();
    for name in ["tasks", "tasks.", "tasks/", "tasks/1", "tasks/\x7e", "tasks0", "task/1"] {
        arena.put(name, "x").await;
    }
    let last = arena.put("tasks/9", "x").await;
    let mut watch = arena.store.watch(&arena.key("tasks/"), from).await.expect("a watch");
    let seen: Vec<String> =
        follow(&mut watch, last).await.iter().map(|event| event.key().to_owned()).collect();
    assert_eq!(seen, ["tasks/", "tasks/1", "tasks/\x7e", "tasks/9"].map(|name| arena.key(name)));
}

pub(super) async fn a_watch_never_sees_half_a_transaction(arena: Arena) {
    const KEYS: usize = 100;
    let from = arena.revision().await.next();
    let mut watch = arena.watch(from).await;
    let mut last = from;
    for round in 0..30 {
        let txn = (0..KEYS).fold(Txn::new(), |txn, n| txn.put(arena.key(&n.to_string()), round.to_string()));
        last = arena.accept(txn).await;
    }
    let events = follow(&mut watch, last).await;
    for revision in events.chunk_by(|a, b| a.mod_revision == b.mod_revision) {
        assert_eq!(revision.len(), KEYS, "at {}", revision[0].mod_revision);
    }
    assert_eq!(events.len(), 30 * KEYS);
}

pub(super) async fn watchers_that_start_at_any_time_see_the_same(arena: Arena) {
    let from = arena.revision().await.next();
    let mut watches = Vec::new();
    let mut last = from;
    for round in 0..200 {
        if round % 10 == 0 {
            watches.push(arena.watch(from).await);
        }
        last = arena.put("k", round.to_string()).await;
    }
    for watch in &mut watches {
        let values: Vec<Bytes> = follow(watch, last).await.into_iter().map(|event| value(&event)).collect();
        assert!(values.iter().enumerate().all(|(n, value)| *value == n.to_string()));
        assert_eq!(values.len(), 200);
    }
}

fn value(event: &Event) -> Bytes {
    match &event.change {
        Change::Put(item) => item.value.clone(),
        Change::Delete { key } => panic!("{key} was deleted"),
    }
}

pub(super) async fn a_slow_watcher_holds_nobody_up_and_misses_nothing(arena: Arena) {
    const ROUNDS: usize = 600;
    let from = arena.revision().await.next();
    // More than the watch's queue holds, before the first is taken from it.
    let mut slow = arena.watch(from).await;
    let mut last = from;
    for round in 0..ROUNDS {
        last = arena.put("k", vec![b'x'; 1000 + round]).await;
    }
    let events = follow(&mut slow, last).await;
    assert_eq!(events.len(), ROUNDS);
    assert!(events.iter().enumerate().all(|(n, event)| value(event).len() == 1000 + n));
}

pub(super) async fn a_watch_below_the_compacted_revision_ends_with_the_oldest(arena: Arena) {
    let first = arena.put("k", "1").await;
    arena.put("k", "2").await;
    let at = arena.put("k", "3").await;
    arena.store.compact(at).await.expect("the past can be compacted");
    match arena.watch_error(first).await {
        Error::Compacted { oldest } => assert_eq!(oldest, at),
        other => panic!("{other:?} instead of an end"),
    }
}

pub(super) async fn a_watch_that_is_ahead_survives_compaction(arena: Arena) {
    let mut watch = arena.watch(arena.revision().await.next()).await;
    arena.put("k", "1").await;
    let at = arena.put("k", "2").await;
    assert_eq!(follow(&mut watch, at).await.len(), 2);
    arena.store.compact(at).await.expect("the past can be compacted");
    let mut late = arena.watch(at.next()).await;
    let last = arena.delete("k").await;
    assert_eq!(follow(&mut watch, last).await.len(), 1);
    assert_eq!(follow(&mut late, last).await.len(), 1);
}

pub(super) async fn a_watch_from_the_future_waits_for_it(arena: Arena) {
    let start = arena.revision().await;
    let mut watch = arena.watch(Revision(start.0 + 3)).await;
    for n in 1..=4 {
        arena.put("k", n.to_string()).await;
    }
    let values: Vec<Bytes> = follow(&mut watch, Revision(start.0 + 4)).await.iter().map(value).collect();
    assert_eq!(values, ["3", "4"]);
}

pub(super) async fn a_watch_goes_on_from_before_a_restart(mut arena: Arena) {
    let from = arena.revision().await.next();
    arena.put("k", "1").await;
    arena.delete("k").await;
    arena.store = arena.home.restart().await;
    let mut watch = arena.watch(from).await;
    let last = arena.put("k", "2").await;
    let events = follow(&mut watch, last).await;
    assert_eq!(events.len(), 3);
    assert!(matches!(events[1].change, Change::Delete { .. }));
}
