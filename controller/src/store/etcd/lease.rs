//! Keeping leases alive over one stream.
//!
//! One task owns the stream: it sends, reads the answers, and replaces the stream when an answer
//! stays away. An answer says no more than that some member still knew the lease; a slow leader that
//! steps down answers while it revokes everything (etcd 15247), and some versions renew a lease that
//! was revoked. Ownership is a compare on a key under the lease, nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::fault::{Asked, Fault, Purpose};
use super::member::deadline;
use crate::store::{Lease, LeaseId, Result};

/// How long an answer may stay away before the stream is replaced.
const ANSWER: Duration = Duration::from_millis(900);
/// Renewals under way at once; fewer than the stream can queue, so that sending never waits for reading.
const UNDER_WAY: usize = 64;
/// Renewals that may wait for the stream.
const QUEUE: usize = 1024;

#[derive(Debug)]
struct Renewal {
    lease: LeaseId,
    answer: oneshot::Sender<Result<Lease, Fault>>,
}

#[derive(Debug)]
pub(super) struct Keeper {
    renewals: mpsc::Sender<Renewal>,
}

struct Stream {
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// Sent and not answered, in order, each with the time when it is too late.
    under_way: VecDeque<(Renewal, Instant)>,
}

impl Keeper {
    pub(super) fn start(cluster: &Arc<Cluster>) -> Self {
        let (renewals, queue) = mpsc::channel(QUEUE);
        let stop = cluster.stop.clone();
        let serve = serve(Arc::clone(cluster), queue);
        cluster.tasks.spawn(async move { stop.run_until_cancelled_owned(Box::pin(serve)).await });
        Self { renewals }
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        let until = deadline();
        loop {
            let (answer, answered) = oneshot::channel();
            let sent = self.renewals.send(Renewal { lease, answer });
            let outcome = tokio::time::timeout_at(until, async {
                sent.await.map_err(|_| stopped())?;
                answered.await.map_err(|_| stopped())?
            });
            match outcome
                .await
                .unwrap_or_else(|_| Err(Fault::NotDone("the lease was not renewed in time".into())))
            {
                Ok(lease) => return Ok(lease),
                Err(fault) if fault.is_the_members() && Instant::now() < until => {
                    // Not a loop without a brake: a stream that cannot be opened fails at once.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(fault) => return Err(fault.into_error(Purpose::Read, Asked::default())),
            }
        }
    }
}

fn stopped() -> Fault {
    Fault::NotDone("the store is closed".into())
}

async fn serve(cluster: Arc<Cluster>, mut queue: mpsc::Receiver<Renewal>) {
    while let Some(first) = queue.recv().await {
        let mut stream = match open(&cluster, first.lease).await {
            Ok(stream) => stream,
            Err(fault) => {
                first.answer.send(Err(fault)).ok();
                continue;
            }
        };
        let broke = stream.serve(first, &mut queue).await;
        tracing::debug!(?broke, "etcd lease stream ended");
        for (renewal, _) in stream.under_way {
            renewal.answer.send(Err(Fault::NotDone("the lease stream broke".into()))).ok();
        }
    }
}

/// Opens a stream, which takes a first renewal whose answer the client library keeps to itself.
async fn open(cluster: &Cluster, lease: LeaseId) -> Result<Stream, Fault> {
    let send = |mut client: etcd_client::LeaseClient| async move { client.keep_alive(lease.0).await };
    let (keeper, answers) =
        cluster.members.call(Purpose::Repeatable, deadline(), |member| &member.lease, send).await?;
    Ok(Stream { keeper, answers, under_way: VecDeque::new() })
}

impl Stream {
    /// Serves renewals until the stream breaks or nobody asks any more.
    async fn serve(&mut self, first: Renewal, queue: &mut mpsc::Receiver<Renewal>) -> Fault {
        if let Err(fault) = self.send(first).await {
            return fault;
        }
        loop {
            let too_late = self.under_way.front().map(|(_, until)| *until);
            // All three are cancel-safe.
            tokio::select! {
                renewal = queue.recv(), if self.under_way.len() < UNDER_WAY => {
                    let Some(renewal) = renewal else { return stopped() };
                    if let Err(fault) = self.send(renewal).await {
                        return fault;
                    }
                }
                answer = self.answers.message() => {
                    let answer = match answer {
                        Ok(Some(answer)) => answer,
                        Ok(None) => return Fault::NotDone("etcd ended the lease stream".into()),
                        Err(error) => return Fault::of(error),
                    };
                    if let Err(fault) = self.answer(answer.id(), answer.ttl()) {
                        return fault;
                    }
                }
                () = tokio::time::sleep_until(too_late.unwrap_or_else(Instant::now)), if too_late.is_some() => {
                    return Fault::NotDone("etcd did not answer a keep-alive".into());
                }
            }
        }
    }

    async fn send(&mut self, renewal: Renewal) -> Result<(), Fault> {
        self.keeper.id = renewal.lease.0;
        self.under_way.push_back((renewal, Instant::now() + ANSWER));
        self.keeper.keep_alive().await.map_err(Fault::of)
    }

    fn answer(&mut self, id: i64, ttl: i64) -> Result<(), Fault> {
        let Some((renewal, until)) = self.under_way.pop_front() else {
            return Err(Fault::NotDone("etcd renewed a lease that nobody asked for".into()));
        };
        if renewal.lease.0 != id {
            self.under_way.push_front((renewal, until));
            return Err(Fault::NotDone("etcd answered keep-alives out of order".into()));
        }
        let outcome = match u64::try_from(ttl) {
            Ok(seconds) if seconds > 0 => Ok(Lease { id: renewal.lease, ttl: Duration::from_secs(seconds) }),
            Ok(_) | Err(_) => Err(Fault::LeaseGone),
        };
        renewal.answer.send(outcome).ok();
        Ok(())
    }
}
