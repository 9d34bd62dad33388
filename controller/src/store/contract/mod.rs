//! What every home of the store must do: one set of cases, registered one by one by each home.
//!
//! A case gets a store that nobody else writes to meanwhile, keeps to a prefix of its own, and lets
//! time pass only through its home, so that the same case runs on a manual clock and on a real
//! etcd. It fails by panicking.

mod history;
mod leases;
mod transactions;
mod watches;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    Change, Error, Event, KeyValue, Page, RangeRequest, Revision, Store, Txn, Verdict, Watch, WatchBatch,
};

/// How often [`insist`] calls.
const TRIES: usize = 10;

/// What a case needs of the home that it runs on.
#[async_trait]
pub trait Home: fmt::Debug + Send + Sync {
    /// Returns the store. Nobody but the case writes to it while the case runs.
    fn store(&self) -> Arc<dyn Store>;

    /// Returns the shortest time to live that the home can tell from a longer one.
    fn ttl(&self) -> Duration;

    /// Lets at least `time` pass. What is due then may be carried out a little later.
    async fn wait(&self, time: Duration);

    /// Ends the store's process and opens the same store again. The older store is not used again.
    async fn restart(&self) -> Arc<dyn Store>;
}

/// One assertion of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    run: fn(Arena) -> BoxFuture<'static, ()>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Case {
    /// A case that waits longer than this for the store has failed: it would wait for ever.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Runs the case; panics if the home breaks it.
    pub async fn run(&self, home: Arc<dyn Home>) {
        let arena = Arena { store: home.store(), home, prefix: format!("/contract/{}/", self.name) };
        if tokio::time::timeout(Self::PATIENCE, (self.run)(arena)).await.is_err() {
            panic!("{}: the store did not get on within {:?}", self.name, Self::PATIENCE);
        }
    }
}

/// Hands the name of every case to the macro `$each`, in braces, to make a test of each.
#[macro_export]
macro_rules! store_contract_cases {
    ($each:ident) => {
        $each! {
            transactions::of_64_tasks_that_race_for_a_key_exactly_one_wins_each_round,
            transactions::no_reader_sees_half_a_transaction,
            transactions::each_compare_holds_exactly_when_it_should,
            transactions::a_refused_transaction_tells_what_it_found_and_changes_nothing,
            transactions::every_compare_must_hold,
            transactions::every_write_raises_the_revision,
            transactions::what_changes_nothing_leaves_the_revision,
            transactions::all_changes_of_a_transaction_share_a_revision,
            transactions::a_key_that_was_deleted_is_created_anew,
            transactions::limits_are_checked_before_anything_is_sent,
            transactions::the_largest_transaction_is_taken,
            transactions::values_come_back_byte_for_byte,
            transactions::the_store_says_that_it_is_well,
            transactions::what_was_committed_is_there_after_a_restart,
            history::five_thousand_keys_are_listed_by_pages,
            history::pages_belong_to_one_revision_although_keys_change_meanwhile,
            history::keys_only_leaves_the_values_out,
            history::a_range_ends_before_its_end_and_a_key_is_itself_only,
            history::the_past_is_read_as_it_was,
            history::a_compacted_past_is_refused_and_the_present_stays,
            history::compacting_again_is_no_error,
            history::the_future_cannot_be_read,
            watches::a_watch_sees_every_change_in_order,
            watches::a_watch_resumes_from_each_past_revision,
            watches::a_watch_sees_its_prefix_and_nothing_beside_it,
            watches::a_watch_never_sees_half_a_transaction,
            watches::watchers_that_start_at_any_time_see_the_same,
            watches::a_slow_watcher_holds_nobody_up_and_misses_nothing,
            watches::a_watch_below_the_compacted_revision_ends_with_the_oldest,
            watches::a_watch_that_is_ahead_survives_compaction,
            watches::a_watch_from_the_future_waits_for_it,
            watches::a_watch_goes_on_from_before_a_restart,
            leases::a_lease_that_is_not_kept_alive_takes_its_keys,
            leases::a_lease_that_is_kept_alive_keeps_its_keys,
            leases::revoking_deletes_all_keys_at_one_revision,
            leases::revoking_a_lease_that_is_gone_is_no_error,
            leases::keeping_alive_a_lease_that_is_gone_says_so,
            leases::a_put_under_a_lease_that_is_gone_is_refused_whole,
            leases::a_refused_transaction_does_not_ask_for_its_lease,
            leases::a_put_without_lease_frees_the_key,
            leases::a_key_moves_from_lease_to_lease,
            leases::a_new_lease_is_never_an_old_one,
            leases::a_deleted_key_leaves_its_lease,
            leases::leases_survive_a_restart_and_still_end,
        }
    };
}

macro_rules! list {
    ($($file:ident::$case:ident,)*) => {
        /// Returns every case, in the order of the contract.
        pub fn cases() -> Vec<Case> {
            vec![$(Case { name: stringify!($case), run: |arena| Box::pin($file::$case(arena)) },)*]
        }
    };
}
store_contract_cases!(list);

/// Calls again while the store says that it is unavailable and that nothing was changed.
pub async fn insist<T, Answer>(mut call: impl FnMut() -> Answer) -> Result<T, Error>
where
    Answer: Future<Output = Result<T, Error>>,
{
    for _ in 1..TRIES {
        match call().await {
            Err(error) if error.is_retryable() && !error.may_have_happened() => {}
            answer => return answer,
        }
    }
    call().await
}

/// Where a case runs.
#[derive(Debug, Clone)]
struct Arena {
    home: Arc<dyn Home>,
    store: Arc<dyn Store>,
    prefix: String,
}

impl Arena {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn commit(&self, txn: Txn) -> Verdict {
        insist(|| self.store.commit(txn.clone())).await.expect("the transaction is valid")
    }

    /// Commits what must be accepted.
    async fn accept(&self, txn: Txn) -> Revision {
        match self.commit(txn).await {
            Verdict::Committed(revision) => revision,
            Verdict::Refused { found } => panic!("refused: {found:?}"),
        }
    }

    async fn put(&self, name: &str, value: impl Into<Bytes> + Send) -> Revision {
        self.accept(Txn::new().put(self.key(name), value)).await
    }

    async fn delete(&self, name: &str) -> Revision {
        self.accept(Txn::new().delete(self.key(name))).await
    }

    async fn find(&self, name: &str) -> Option<KeyValue> {
        self.read(&RangeRequest::key(self.key(name))).await.items.into_iter().next()
    }

    async fn revision(&self) -> Revision {
        self.read(&RangeRequest::key(self.key("?"))).await.revision
    }

    async fn read(&self, request: &RangeRequest) -> Page {
        insist(|| self.store.range(request.clone())).await.expect("a page can be read")
    }

    /// Reads everything below the arena's prefix, page by page.
    async fn list(&self, request: RangeRequest) -> Vec<KeyValue> {
        let (mut items, mut next) = (Vec::new(), Some(request));
        while let Some(request) = next {
            let page = self.read(&request).await;
            next = request.after(&page);
            items.extend(page.items);
        }
        items
    }

    async fn watch(&self, from: Revision) -> Watch {
        self.store.watch(&self.prefix, from).await.expect("a watch can be started")
    }

    /// Returns the error that a watch from `from` ends with, wherever it tells it.
    async fn watch_error(&self, from: Revision) -> Error {
        let mut watch = match self.store.watch(&self.prefix, from).await {
            Ok(watch) => watch,
            Err(error) => return error,
        };
        loop {
            match watch.next().await.expect("a watch ends with an error") {
                Ok(batch) => assert!(batch.events.is_empty(), "saw {batch:?} instead of an error"),
                Err(error) => return error,
            }
        }
    }
}

/// Reads a watch up to `last`, inclusive, and checks on the way what holds for every watch.
async fn follow(watch: &mut Watch, last: Revision) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut seen = Revision(0);
    while seen < last {
        let WatchBatch { events: more, revision } =
            watch.next().await.expect("the watch goes on").expect("the watch does not fail");
        assert!(revision >= seen, "the watch went back from {seen} to {revision}");
        for event in &more {
            assert!(event.mod_revision > seen && event.mod_revision <= revision, "torn: {event:?}");
        }
        seen = revision;
        events.extend(more);
    }
    assert!(
        events.is_sorted_by_key(|event| event.mod_revision),
        "the events are not in the order of their revisions"
    );
    events
}

/// Waits until the watch tells that `key` was deleted.
async fn deletion(watch: &mut Watch, key: &str) -> Revision {
    loop {
        let batch = watch.next().await.expect("the watch goes on").expect("the watch does not fail");
        for event in batch.events {
            if matches!(&event.change, Change::Delete { key: deleted } if deleted == key) {
                return event.mod_revision;
            }
        }
    }
}
