//! Transactions of several callers in one of etcd's.
//!
//! While some transactions are under way, those that come in wait, and then go together as nested
//! transactions of one: one request, one log entry, one fsync for all. Each keeps its own compares
//! and its own verdict. etcd evaluates every compare before it writes anything, so transactions share
//! only if none writes a key that another one writes or compares; the others go with the next. Those
//! that only delete go by themselves: a full etcd takes them, but nothing that comes with a put.
//! Nobody waits when nothing is under way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::convert;
use super::fault::{Asked, Purpose};
use super::identity::Proof;
use super::member::deadline;
use crate::store::{Error, Op, Result, Revision, Txn, Verdict};

/// Transactions under way at once: one being fsynced while the next is on its way.
const UNDER_WAY: usize = 3;
/// Callers in one transaction. etcd counts nested operations together with the outer ones, so this
/// leaves each caller `Txn::OPS_MAX` minus as many.
const CALLERS_MAX: usize = 48;
/// Small enough not to hold up the next group noticeably.
const BYTES_MAX: usize = 512 * 1024;
/// Callers that wait to be sent.
const QUEUE: usize = 1024;

#[derive(Debug)]
pub(super) struct Combiner {
    queue: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    txn: Txn,
    until: Instant,
    verdict: oneshot::Sender<Result<Verdict>>,
}

impl Combiner {
    pub(super) fn start(cluster: &Arc<Cluster>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let stop = cluster.stop.clone();
        let serve = serve(Arc::clone(cluster), waiting);
        cluster.tasks.spawn(async move { stop.run_until_cancelled_owned(serve).await });
        Self { queue }
    }

    pub(super) async fn commit(&self, txn: Txn) -> Result<Verdict> {
        let until = deadline();
        let (verdict, decided) = oneshot::channel();
        let sent = tokio::time::timeout_at(until, self.queue.send(Waiting { txn, until, verdict })).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::Unavailable("the store is closed".into())),
            Err(_) => return Err(Error::Unavailable("too many transactions wait to be sent".into())),
        }
        // Answered by the deadline; if the store is closed meanwhile, it may be under way.
        decided.await.unwrap_or_else(|_| Err(Error::Unknown("the store is closed".into())))
    }
}

async fn serve(cluster: Arc<Cluster>, mut queue: mpsc::Receiver<Waiting>) {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Some(next) = queue.recv().await else { return };
            waiting.push_back(next);
        }
        let Ok(permit) = Arc::clone(&under_way).acquire_owned().await else { return };
        while waiting.len() < QUEUE {
            let Ok(next) = queue.try_recv() else { break };
            waiting.push_back(next);
        }
        let group = next_group(&mut waiting, |waiting| &waiting.txn);
        let cluster = Arc::clone(&cluster);
        cluster.tasks.clone().spawn(send(cluster, group, permit));
    }
}

async fn send(cluster: Arc<Cluster>, mut group: Vec<Waiting>, _under_way: OwnedSemaphorePermit) {
    let now = Instant::now();
    for late in group.extract_if(.., |waiting| waiting.until <= now) {
        late.verdict.send(Err(Error::Unavailable("it waited too long to be sent".into()))).ok();
    }
    // The first one came first.
    let Some(until) = group.first().map(|waiting| waiting.until) else { return };
    if group.len() > 1 {
        match share(&cluster, &group, until).await {
            Shared::Decided(verdicts) => {
                for (waiting, verdict) in group.into_iter().zip(verdicts) {
                    waiting.verdict.send(verdict).ok();
                }
                return;
            }
            Shared::OneSpoiledIt => {}
        }
    }
    let each = group.into_iter().map(|waiting| {
        let cluster = &cluster;
        async move {
            let verdict = cluster.commit(&waiting.txn, waiting.until).await;
            waiting.verdict.send(verdict).ok();
        }
    });
    futures_util::future::join_all(each).await;
}

enum Shared {
    Decided(Vec<Result<Verdict>>),
    /// etcd refused the whole for the sake of one, and did nothing.
    OneSpoiledIt,
}

async fn share(cluster: &Cluster, group: &[Waiting], until: Instant) -> Shared {
    match try_share(cluster, group, until).await {
        Ok(verdicts) => Shared::Decided(verdicts.into_iter().map(Ok).collect()),
        Err(Error::LeaseGone | Error::Invalid(_)) => Shared::OneSpoiledIt,
        Err(error) => {
            let error = Arc::new(error);
            Shared::Decided(group.iter().map(|_| Err(told_to_each(&error))).collect())
        }
    }
}

async fn try_share(cluster: &Cluster, group: &[Waiting], until: Instant) -> Result<Vec<Verdict>> {
    let floor = cluster.floor()?;
    let bytes = group.iter().map(|waiting| waiting.txn.size_bytes()).sum();
    let send = |mut kv: etcd_client::KvClient| async move {
        kv.txn(convert::shared_txn(group.iter().map(|waiting| &waiting.txn))).await
    };
    let answer = cluster.members.call(Purpose::Write, until, |member| &member.kv, send).await;
    let answer =
        answer.map_err(|fault| fault.into_error(Purpose::Write, Asked { at: Revision(0), bytes }))?;
    let writes = group.iter().any(|waiting| !waiting.txn.ops().is_empty());
    let proof = if writes { Proof::Logged } else { Proof::Read };
    let revision = cluster.vet(answer.header(), floor, proof).await.map_err(|error| proof.outcome(error))?;
    let verdicts = convert::shared_verdicts(answer.0, revision).map_err(Error::Corrupt)?;
    if verdicts.len() != group.len() {
        return Err(Error::Corrupt("etcd answered another number of transactions than were sent".into()));
    }
    Ok(verdicts)
}

/// The same error for each caller of a group.
fn told_to_each(error: &Arc<Error>) -> Error {
    let source = Box::new(Together(Arc::clone(error)));
    match error.as_ref() {
        Error::Unavailable(_) => Error::Unavailable(source),
        Error::Full(_) => Error::Full(source),
        Error::Corrupt(_) => Error::Corrupt(source),
        Error::Unusable(_) => Error::Unusable(source),
        Error::Unknown(_) | Error::Invalid(_) | Error::Compacted { .. } | Error::LeaseGone => {
            Error::Unknown(source)
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it was sent together with others")]
struct Together(#[source] Arc<Error>);

/// Takes as many as can go together off the front, in order; what cannot stays in front.
fn next_group<T>(waiting: &mut VecDeque<T>, txn: impl Fn(&T) -> &Txn) -> Vec<T> {
    let mut group = Group::default();
    let mut taken = Vec::new();
    let mut left = VecDeque::new();
    while let Some(next) = waiting.pop_front() {
        if group.admit(txn(&next)) {
            taken.push(next);
        } else {
            left.push_back(next);
        }
        if group.callers == CALLERS_MAX {
            break;
        }
    }
    left.append(waiting);
    *waiting = left;
    taken
}

/// What the transactions of a group touch.
#[derive(Debug, Default)]
struct Group {
    callers: usize,
    bytes: usize,
    puts: bool,
    written: HashSet<String>,
    compared: HashSet<String>,
}

impl Group {
    /// Takes the transaction in, if it can go with those that are in. The first one always can.
    fn admit(&mut self, txn: &Txn) -> bool {
        let size = encoded_bytes(txn);
        if self.callers > 0 && !self.fits(txn, size) {
            return false;
        }
        self.callers += 1;
        self.bytes += size;
        self.puts = puts(txn);
        self.written.extend(txn.ops().iter().map(|op| op.key().to_owned()));
        self.compared.extend(txn.compares().iter().map(|compare| compare.key.clone()));
        if txn.ops().len().max(txn.compares().len()) > Txn::OPS_MAX - CALLERS_MAX {
            // It fills a transaction of etcd's by itself.
            self.callers = CALLERS_MAX;
        }
        true
    }

    fn fits(&self, txn: &Txn, size: usize) -> bool {
        let small = txn.ops().len().max(txn.compares().len()) <= Txn::OPS_MAX - CALLERS_MAX;
        let writes_apart =
            txn.ops().iter().all(|op| !self.written.contains(op.key()) && !self.compared.contains(op.key()));
        let compares_apart = txn.compares().iter().all(|compare| !self.written.contains(&compare.key));
        let alike = self.puts == puts(txn);
        small && alike && self.bytes + size <= BYTES_MAX && writes_apart && compares_apart
    }
}

fn puts(txn: &Txn) -> bool {
    txn.ops().iter().any(|op| matches!(op, Op::Put { .. }))
}

/// About what etcd gets to see: a compared key is also read if the compares fail.
fn encoded_bytes(txn: &Txn) -> usize {
    const FRAME: usize = 24;
    let compares: usize = txn.compares().iter().map(|compare| compare.key.len() + 2 * FRAME).sum();
    txn.size_bytes() + compares + txn.ops().len() * FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Expected;

    fn put(key: &str) -> Txn {
        Txn::new().put(key, "v")
    }

    fn groups(txns: Vec<Txn>) -> Vec<Vec<String>> {
        let mut waiting: VecDeque<_> = txns.into();
        let mut groups = Vec::new();
        while !waiting.is_empty() {
            let group = next_group(&mut waiting, |txn| txn);
            groups.push(
                group.iter().map(|txn| txn.ops().first().map_or("-", |op| op.key()).to_owned()).collect(),
            );
        }
        groups
    }

    #[test]
    fn strangers_go_together() {
        assert_eq!(groups(vec![put("a"), put("b"), put("c")]), [["a", "b", "c"]]);
    }

    #[test]
    fn two_writers_of_a_key_go_apart_and_in_order() {
        assert_eq!(
            groups(vec![put("a"), put("a"), put("b"), put("a")]),
            [vec!["a", "b"], vec!["a"], vec!["a"]]
        );
    }

    #[test]
    fn one_may_not_write_what_another_compares() {
        let watcher = || Txn::new().when("a", Expected::Absent).put("x", "v");
        assert_eq!(groups(vec![put("a"), watcher()]), [["a"], ["x"]]);
        assert_eq!(groups(vec![watcher(), put("a")]), [["x"], ["a"]]);
    }

    #[test]
    fn two_may_compare_the_same_key() {
        let guarded = |key: &str| Txn::new().when("session", Expected::Present).put(key, "v");
        assert_eq!(groups(vec![guarded("a"), guarded("b")]), [["a", "b"]]);
    }

    #[test]
    fn deletions_do_not_go_with_puts_that_a_full_etcd_would_refuse() {
        let delete = |key: &str| Txn::new().delete(key);
        assert_eq!(groups(vec![put("a"), delete("x"), put("b"), delete("y")]), [["a", "b"], ["x", "y"]]);
    }

    #[test]
    fn a_group_keeps_etcds_limits() {
        let many = |count: usize| (0..count).map(|n| put(&format!("k{n}"))).collect::<Vec<_>>();
        let sizes: Vec<_> = groups(many(100)).iter().map(Vec::len).collect();
        assert_eq!(sizes, [CALLERS_MAX, CALLERS_MAX, 100 - 2 * CALLERS_MAX]);

        let wide = (0..Txn::OPS_MAX).fold(Txn::new(), |txn, n| txn.put(format!("w{n}"), "v"));
        assert_eq!(groups(vec![put("a"), wide.clone(), put("b")]), [vec!["a", "b"], vec!["w0"]]);
        assert_eq!(groups(vec![wide, put("b")]), [["w0"], ["b"]]);

        let heavy = |key: &str| Txn::new().put(key, vec![0; BYTES_MAX - 1000]);
        assert_eq!(groups(vec![heavy("a"), heavy("b"), put("c")]), [vec!["a", "c"], vec!["b"]]);
    }
}
