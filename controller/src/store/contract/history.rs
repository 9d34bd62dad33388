//! Pages, the past, and its end.

use super::*;

/// Puts as many keys as asked for, in few transactions.
async fn fill(arena: &Arena, count: usize) -> Revision {
    let names: Vec<usize> = (0..count).collect();
    let mut last = Revision(0);
    for chunk in names.chunks(Txn::OPS_MAX) {
        let txn =
            chunk.iter().fold(Txn::new(), |txn, n| txn.put(arena.key(&format!("{n:05}")), n.to_string()));
        last = arena.accept(txn).await;
    }
    last
}

pub(super) async fn five_thousand_keys_are_listed_by_pages(arena: Arena) {
    fill(&arena, 5_000).await;
    let first = arena.store.range(RangeRequest::prefix(&arena.prefix)).await.expect("a page");
    assert_eq!((first.items.len(), first.more), (RangeRequest::PAGE, true));
    let items = arena.list(RangeRequest::prefix(&arena.prefix)).await;
    assert_eq!(items.len(), 5_000);
    for (n, item) in items.iter().enumerate() {
        assert_eq!(
            (item.key.as_str(), &item.value[..]),
            (&*arena.key(&format!("{n:05}")), n.to_string().as_bytes())
        );
    }
    let exact = arena.store.range(RangeRequest::prefix(arena.key("0000")).limit(10)).await.expect("a page");
    assert_eq!((exact.items.len(), exact.more), (10, false));
}

pub(super) async fn pages_belong_to_one_revision_although_keys_change_meanwhile(arena: Arena) {
    fill(&arena, 1_200).await;
    let request = RangeRequest::prefix(&arena.prefix);
    let mut page = arena.store.range(request.clone()).await.expect("a page");
    let mut next = request.after(&page);
    let mut items = std::mem::take(&mut page.items);
    while let Some(request) = next {
        // Behind, at and before the reader.
        arena.put("00000", "changed").await;
        arena.delete("01100").await;
        arena.put("01101", "changed").await;
        arena.put("01101x", "new").await;
        page = arena.store.range(request.clone()).await.expect("a page");
        next = request.after(&page);
        items.append(&mut page.items);
    }
    assert_eq!(items.len(), 1_200);
    assert!(items.iter().all(|item| item.value != "changed" && item.value != "new"));
}

pub(super) async fn keys_only_leaves_the_values_out(arena: Arena) {
    let revision = arena.put("k", "value").await;
    for at in [None, Some(revision)] {
        arena.put("other", "x").await;
        let request = RangeRequest { at, ..RangeRequest::prefix(&arena.prefix).keys_only() };
        let items = arena.list(request).await;
        assert_eq!((items[0].key.clone(), items[0].mod_revision), (arena.key("k"), revision));
        assert!(items.iter().all(|item| item.value.is_empty()));
    }
}

pub(super) async fn a_range_ends_before_its_end_and_a_key_is_itself_only(arena: Arena) {
    for name in ["a", "a/1", "a0", "b"] {
        arena.put(name, "x").await;
    }
    let keys = async |from: &str, to: Option<&str>| -> Vec<String> {
        let to = to.map(|to| arena.key(to));
        let request = RangeRequest { from: arena.key(from), to, ..RangeRequest::prefix("") };
        arena.list(request).await.into_iter().map(|item| item.key).collect()
    };
    assert_eq!(keys("a", None).await, [arena.key("a")]);
    assert_eq!(keys("a", Some("b")).await, [arena.key("a"), arena.key("a/1"), arena.key("a0")]);
    assert_eq!(keys("a/", Some("a0")).await, [arena.key("a/1")]);
    assert_eq!(keys("b", Some("a")).await, [""; 0]);
}

pub(super) async fn the_past_is_read_as_it_was(arena: Arena) {
    let mut known = Vec::new();
    for round in 0..12_u32 {
        // Each key of three is put, changed, deleted and put again, out of step with the others.
        let name = ["a", "b", "c"][(round % 3) as usize];
        let revision = if (round / 3) % 4 == 2 {
            arena.delete(name).await
        } else {
            arena.put(name, round.to_string()).await
        };
        known.push((revision, arena.list(RangeRequest::prefix(&arena.prefix)).await));
    }
    for (revision, items) in known {
        let past = arena.list(RangeRequest::prefix(&arena.prefix).at(revision)).await;
        assert_eq!(past, items, "at revision {revision}");
    }
}

pub(super) async fn a_compacted_past_is_refused_and_the_present_stays(arena: Arena) {
    let old = arena.put("k", "1").await;
    arena.put("gone", "1").await;
    arena.put("k", "2").await;
    let at = arena.delete("gone").await;
    let last = arena.put("other", "3").await;
    let (then, now) = (
        arena.list(RangeRequest::prefix(&arena.prefix).at(at)).await,
        arena.list(RangeRequest::prefix(&arena.prefix)).await,
    );
    arena.store.compact(at).await.expect("the past can be compacted");
    match arena.store.range(RangeRequest::prefix(&arena.prefix).at(old)).await {
        Err(Error::Compacted { oldest }) => assert!(oldest > old && oldest <= at, "{oldest}"),
        other => panic!("{other:?} instead of a refusal"),
    }
    assert_eq!(arena.list(RangeRequest::prefix(&arena.prefix).at(at)).await, then);
    assert_eq!(arena.list(RangeRequest::prefix(&arena.prefix)).await, now);
    assert_eq!(arena.revision().await, last);
}

pub(super) async fn compacting_again_is_no_error(arena: Arena) {
    arena.put("k", "1").await;
    let at = arena.put("k", "2").await;
    for at in [at, at, Revision(at.0 - 1)] {
        arena.store.compact(at).await.expect("it is compacted already");
    }
    assert_eq!(arena.find("k").await.expect("k stays").value, "2");
}

pub(super) async fn the_future_cannot_be_read(arena: Arena) {
    let ahead = Revision(arena.put("k", "1").await.0 + 1_000);
    let read = arena.store.range(RangeRequest::prefix(&arena.prefix).at(ahead)).await;
    assert!(read.is_err(), "{read:?}");
    let compacted = arena.store.compact(ahead).await;
    assert!(compacted.is_err());
    assert_eq!(arena.find("k").await.expect("k stays").value, "1");
}
