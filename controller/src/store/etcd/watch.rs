//! Following changes over any number of connections.
//!
//! Each watch has a gRPC stream of its own on the member's watch connection: a follower that does not
//! keep up then stops nobody else, because its stream is closed and opened again from where it was.
//! A stream that breaks or falls silent is replaced on another member; what comes is judged by
//! revision alone ([`Assembler`]), so it neither repeats nor goes back. A watch is a hint all the
//! same: etcd versions in use lose events around compactions, which is why views audit themselves.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{KeyValue as EtcdKeyValue, ResponseHeader, WatchOptions, WatchStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::assemble::Assembler;
use super::cluster::{Cluster, identity};
use super::convert;
use super::fault::{Asked, BoxError, Fault, Purpose};
use super::identity::{Proof, Sighting};
use super::member::deadline;
use crate::store::range::prefix_end;
use crate::store::{Change, Error, Event, Result, Revision, Watch, WatchBatch};

/// How often a stream is asked how far it is; also what makes a dead one fall silent.
const PROGRESS: Duration = Duration::from_secs(1);
/// A stream that says nothing for so long is replaced.
const SILENCE: Duration = Duration::from_secs(4);
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a follower may be behind before its stream is closed.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// etcd answers a progress request in the name of no watcher.
const NO_WATCHER: i64 = -1;
const PUT: i32 = 0;

struct Follow {
    cluster: Arc<Cluster>,
    prefix: String,
    assembler: Assembler,
    batches: mpsc::Sender<Result<WatchBatch>>,
    /// The batch that a slow follower had no room for.
    parked: Option<WatchBatch>,
    silence: Duration,
    retry: Duration,
}

/// Why a stream ended.
enum End {
    FollowerGone,
    Over(Error),
    Broken,
    Silent,
    Slow,
}

/// Starts following `prefix` from `from` on.
pub(super) fn follow(cluster: &Arc<Cluster>, prefix: &str, from: Revision) -> Watch {
    let (batches, receiver) = mpsc::channel(Watch::QUEUE);
    // Revision 0 would mean *now* to etcd; history begins with 1.
    let seen = Revision(from.0.max(1) - 1);
    let follow = Follow {
        cluster: Arc::clone(cluster),
        prefix: prefix.to_owned(),
        assembler: Assembler::after(seen),
        batches,
        parked: None,
        silence: SILENCE,
        retry: RETRY,
    };
    let stop = cluster.stop.clone();
    cluster.tasks.spawn(async move { stop.run_until_cancelled_owned(Box::pin(follow.run())).await });
    Watch::new(receiver)
}

impl Follow {
    async fn run(mut self) {
        loop {
            match self.stream().await {
                End::FollowerGone => return,
                End::Over(error) => {
                    // The follower may be gone too; then nobody is left to tell.
                    self.batches.send(Err(error)).await.ok();
                    return;
                }
                End::Slow => {
                    let Ok(permit) = self.batches.reserve().await else { return };
                    if let Some(batch) = self.parked.take() {
                        permit.send(Ok(batch));
                    }
                }
                End::Silent => self.silence = (self.silence * 2).min(SILENCE_MAX),
                End::Broken => {
                    tokio::select! {
                        () = self.batches.closed() => return,
                        () = tokio::time::sleep(self.retry) => {}
                    }
                    self.retry = (self.retry * 2).min(RETRY_MAX);
                }
            }
            self.assembler.reconnect();
        }
    }

    async fn stream(&mut self) -> End {
        // While the stream was away the cluster may have been replaced by an older state of itself,
        // on which etcd would wait in silence for our revision to come round again.
        match self.cluster.prove().await {
            Ok(_) => {}
            Err(error @ Error::Unusable(_)) => return End::Over(error),
            Err(_) => return End::Broken,
        }
        let cluster = Arc::clone(&self.cluster);
        let Some(index) = cluster.members.pick(&vec![false; cluster.members.all().len()]) else {
            return End::Broken;
        };
        let member = &cluster.members.all()[index];
        let options = WatchOptions::new()
            .with_range(prefix_end(&self.prefix))
            .with_start_revision(self.assembler.seen().next().0)
            .with_progress_notify()
            .with_fragment();
        let first = convert::first_key(&self.prefix).to_owned();
        let opened =
            member
                .ask(&member.watch, deadline(), |mut client| async move {
                    client.watch(first, Some(options)).await
                })
                .await;
        let end = match opened {
            Ok(stream) => self.read(stream).await,
            Err(fault) => self.broken(fault),
        };
        if matches!(end, End::Broken | End::Silent) {
            cluster.members.failed(index);
        }
        end
    }

    async fn read(&mut self, mut stream: WatchStream) -> End {
        let mut progress = tokio::time::interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            // Both `message` and `tick` are cancel-safe.
            let message = tokio::select! {
                () = self.batches.closed() => return End::FollowerGone,
                _ = progress.tick() => {
                    if heard.elapsed() >= self.silence {
                        tracing::debug!(prefix = self.prefix, "etcd watch fell silent");
                        return End::Silent;
                    }
                    if stream.request_progress().await.is_err() {
                        return End::Broken;
                    }
                    continue;
                }
                message = stream.message() => message,
            };
            heard = Instant::now();
            let answer = match message {
                Ok(Some(answer)) => answer.0,
                Ok(None) => return End::Broken,
                Err(error) => return self.broken(Fault::of(error)),
            };
            match self.take(answer) {
                Ok(None) => {}
                Ok(Some(batch)) => {
                    if let Some(end) = self.pass(batch).await {
                        return end;
                    }
                    heard = Instant::now();
                }
                Err(end) => return end,
            }
        }
    }

    /// Turns one answer into a batch, if it completes a revision.
    fn take(&mut self, answer: PbWatchResponse) -> Result<Option<WatchBatch>, End> {
        let header = answer.header.map(ResponseHeader);
        let found = identity(header.as_ref()).map_err(End::Over)?;
        if let Sighting::Strange(stranger) = self.cluster.recall.sight(found, Revision(0), Proof::Unordered) {
            return Err(End::Over(Error::Unusable(Box::new(stranger))));
        }
        if answer.canceled {
            return Err(self.cancelled(answer.compact_revision, answer.cancel_reason));
        }
        self.retry = RETRY;
        if answer.created {
            return Ok(None);
        }
        if answer.events.is_empty() {
            let in_order = answer.watch_id != NO_WATCHER || self.cluster.trusts_progress();
            return Ok(in_order.then(|| self.assembler.progress(found.revision)).flatten());
        }
        let events = answer.events.into_iter().map(event).collect::<Result<Vec<_>, _>>();
        let events = events.map_err(|error| End::Over(Error::Corrupt(error)))?;
        let repeated = self.assembler.repeated();
        let batch = self.assembler.feed(events, answer.fragment);
        if self.assembler.repeated() > repeated {
            tracing::debug!(prefix = self.prefix, "etcd watch repeated events");
        }
        if batch.is_some() {
            self.silence = SILENCE;
        }
        Ok(batch)
    }

    fn cancelled(&self, compact_revision: i64, reason: String) -> End {
        if compact_revision > 0 {
            return End::Over(Error::Compacted { oldest: Revision(compact_revision) });
        }
        let status = tonic::Status::unknown(reason);
        self.broken(Fault::of(etcd_client::Error::GRpcStatus(status)))
    }

    fn broken(&self, fault: Fault) -> End {
        tracing::debug!(prefix = self.prefix, ?fault, "etcd watch broke");
        if fault.is_the_members() {
            return End::Broken;
        }
        End::Over(fault.into_error(Purpose::Read, Asked { at: self.assembler.seen(), bytes: 0 }))
    }

    async fn pass(&mut self, batch: WatchBatch) -> Option<End> {
        match tokio::time::timeout(PATIENCE, self.batches.reserve()).await {
            Ok(Ok(permit)) => {
                permit.send(Ok(batch));
                None
            }
            Ok(Err(_)) => Some(End::FollowerGone),
            Err(_) => {
                self.parked = Some(batch);
                Some(End::Slow)
            }
        }
    }
}

fn event(event: PbEvent) -> Result<Event, BoxError> {
    let item = EtcdKeyValue(event.kv.ok_or("a watch event has no key")?);
    let mod_revision = Revision(item.mod_revision());
    let item = convert::key_value(item)?;
    let change = if event.r#type == PUT { Change::Put(item) } else { Change::Delete { key: item.key } };
    Ok(Event { change, mod_revision })
}
