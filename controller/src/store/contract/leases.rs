//! Keys that vanish with their owner, and only with it.

use super::super::{Expected, LeaseId};
use super::*;

impl Arena {
    async fn lease(&self) -> LeaseId {
        self.lease_for(self.home.ttl()).await
    }

    async fn lease_for(&self, ttl: Duration) -> LeaseId {
        let lease = insist(|| self.store.grant(ttl)).await.expect("a lease can be had");
        assert!(lease.ttl >= ttl, "rounded down: {lease:?}");
        lease.id
    }

    async fn put_under(&self, lease: LeaseId, name: &str) -> Revision {
        self.accept(Txn::new().put_under(lease, self.key(name), "x")).await
    }
}

pub(super) async fn a_lease_that_is_not_kept_alive_takes_its_keys(arena: Arena) {
    let lease = arena.lease().await;
    let put = arena.put_under(lease, "session").await;
    arena.put("bystander", "x").await;
    assert_eq!(arena.find("session").await.expect("it was put").lease, Some(lease));
    let mut watch = arena.watch(put.next()).await;
    arena.home.wait(arena.home.ttl()).await;
    assert!(deletion(&mut watch, &arena.key("session")).await > put);
    assert_eq!(arena.find("session").await, None);
    assert!(arena.find("bystander").await.is_some());
    let kept = arena.store.keep_alive(lease).await;
    assert!(matches!(kept, Err(Error::LeaseGone)), "{kept:?}");
}

pub(super) async fn a_lease_that_is_kept_alive_keeps_its_keys(arena: Arena) {
    let ttl = arena.home.ttl();
    let (kept, lost) = (arena.lease_for(2 * ttl).await, arena.lease().await);
    arena.put_under(kept, "kept").await;
    let put = arena.put_under(lost, "lost").await;
    let mut watch = arena.watch(put.next()).await;
    // Longer than its time in steps of a quarter: the other one ends meanwhile, so time did pass.
    for _ in 0..6 {
        arena.home.wait(ttl / 2).await;
        let lease = arena.store.keep_alive(kept).await.expect("it is kept alive in time");
        assert!(lease.id == kept && lease.ttl >= ttl, "{lease:?}");
    }
    deletion(&mut watch, &arena.key("lost")).await;
    assert!(arena.find("kept").await.is_some());
}

pub(super) async fn revoking_deletes_all_keys_at_one_revision(arena: Arena) {
    let lease = arena.lease().await;
    let mut put = Revision(0);
    for name in ["b", "a", "c"] {
        put = arena.put_under(lease, name).await;
    }
    let mut watch = arena.watch(put.next()).await;
    arena.store.revoke(lease).await.expect("a lease can be revoked");
    assert_eq!(arena.list(RangeRequest::prefix(&arena.prefix)).await, []);
    let events = follow(&mut watch, put.next()).await;
    let keys: Vec<&str> = events.iter().map(Event::key).collect();
    assert_eq!(keys, [arena.key("a"), arena.key("b"), arena.key("c")]);
    assert!(events.iter().all(|event| matches!(event.change, Change::Delete { .. })));
    assert_eq!(arena.revision().await, put.next());
}

pub(super) async fn revoking_a_lease_that_is_gone_is_no_error(arena: Arena) {
    let lease = arena.lease().await;
    let before = arena.revision().await;
    arena.store.revoke(lease).await.expect("a lease can be revoked");
    arena.store.revoke(lease).await.expect("it is gone, as wished");
    assert_eq!(arena.revision().await, before);
}

pub(super) async fn keeping_alive_a_lease_that_is_gone_says_so(arena: Arena) {
    let lease = arena.lease().await;
    arena.store.revoke(lease).await.expect("a lease can be revoked");
    for id in [lease, LeaseId(i64::MAX - 1)] {
        let kept = arena.store.keep_alive(id).await;
        assert!(matches!(kept, Err(Error::LeaseGone)), "{kept:?}");
    }
}

pub(super) async fn a_put_under_a_lease_that_is_gone_is_refused_whole(arena: Arena) {
    let lease = arena.lease().await;
    arena.store.revoke(lease).await.expect("a lease can be revoked");
    let before = arena.revision().await;
    let txn = Txn::new().put(arena.key("a"), "x").put_under(lease, arena.key("b"), "x");
    let verdict = arena.store.commit(txn).await;
    assert!(matches!(verdict, Err(Error::LeaseGone)), "{verdict:?}");
    assert_eq!(arena.list(RangeRequest::prefix(&arena.prefix)).await, []);
    assert_eq!(arena.revision().await, before);
}

pub(super) async fn a_refused_transaction_does_not_ask_for_its_lease(arena: Arena) {
    let txn = Txn::new().when(arena.key("a"), Expected::Present).put_under(
        LeaseId(i64::MAX - 1),
        arena.key("a"),
        "x",
    );
    assert_eq!(arena.commit(txn).await, Verdict::Refused { found: vec![None] });
}

pub(super) async fn a_put_without_lease_frees_the_key(arena: Arena) {
    let lease = arena.lease().await;
    arena.put_under(lease, "k").await;
    arena.put("k", "free").await;
    assert_eq!(arena.find("k").await.expect("k is there").lease, None);
    arena.store.revoke(lease).await.expect("a lease can be revoked");
    assert_eq!(arena.find("k").await.expect("k stays").value, "free");
}

pub(super) async fn a_key_moves_from_lease_to_lease(arena: Arena) {
    let (first, second) = (arena.lease().await, arena.lease().await);
    arena.put_under(first, "k").await;
    arena.put_under(second, "k").await;
    arena.store.revoke(first).await.expect("a lease can be revoked");
    assert_eq!(arena.find("k").await.expect("k has moved").lease, Some(second));
    arena.store.revoke(second).await.expect("a lease can be revoked");
    assert_eq!(arena.find("k").await, None);
}

pub(super) async fn a_new_lease_is_never_an_old_one(arena: Arena) {
    let old = arena.lease().await;
    arena.put_under(old, "k").await;
    arena.store.revoke(old).await.expect("a lease can be revoked");
    let new = arena.lease().await;
    assert_ne!(new, old);
    arena.put_under(new, "k").await;
    arena.store.revoke(old).await.expect("it is gone, as wished");
    assert_eq!(arena.find("k").await.expect("k belongs to the new lease").lease, Some(new));
}

pub(super) async fn a_deleted_key_leaves_its_lease(arena: Arena) {
    let lease = arena.lease().await;
    arena.put_under(lease, "k").await;
    arena.delete("k").await;
    arena.put("k", "anew").await;
    arena.store.revoke(lease).await.expect("a lease can be revoked");
    assert_eq!(arena.find("k").await.expect("k stays").value, "anew");
}

pub(super) async fn leases_survive_a_restart_and_still_end(mut arena: Arena) {
    // Long enough for a home that takes its time to come again.
    let ttl = 4 * arena.home.ttl();
    let lease = arena.lease_for(ttl).await;
    let put = arena.put_under(lease, "k").await;
    arena.store = arena.home.restart().await;
    assert_eq!(arena.find("k").await.expect("k is there").lease, Some(lease));
    arena.store.keep_alive(lease).await.expect("the lease is there");
    let mut watch = arena.watch(put.next()).await;
    arena.home.wait(ttl).await;
    deletion(&mut watch, &arena.key("k")).await;
}
