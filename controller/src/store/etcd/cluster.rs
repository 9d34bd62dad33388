//! One cluster as all parts of this home use it: calls with a deadline, each answer checked for
//! whether it comes from the cluster that we knew.

use std::sync::atomic::{AtomicBool, Ordering};

use etcd_client::{GetOptions, ResponseHeader};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::Config;
use super::convert;
use super::fault::{Asked, Purpose};
use super::identity::{Identity, Proof, Recall, Sighting, Stranger};
use super::member::{Members, deadline};
use crate::store::{Error, Result, Revision, Txn, Verdict};

/// Read to prove that etcd answers; never written.
const PROOF_KEY: &str = "/ocelot/v1/health";

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) members: Members,
    pub(super) recall: Recall,
    pub(super) config: Config,
    /// Whether every member answers a progress request in order with events.
    pub(super) trusts_progress: AtomicBool,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Cluster {
    pub(super) fn new(config: Config) -> Result<Self> {
        let members =
            Members::new(&config).map_err(|fault| fault.into_error(Purpose::Read, Asked::default()))?;
        let recall = Recall::new(config.known);
        Ok(Self {
            members,
            recall,
            config,
            trusts_progress: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    pub(super) fn trusts_progress(&self) -> bool {
        self.trusts_progress.load(Ordering::Relaxed)
    }

    /// Sends one transaction, once.
    pub(super) async fn commit(&self, txn: &Txn, until: Instant) -> Result<Verdict> {
        let floor = self.floor()?;
        let asked = Asked { at: Revision(0), bytes: txn.size_bytes() };
        let send = |mut kv: etcd_client::KvClient| async move { kv.txn(convert::txn(txn)).await };
        let answer = self.members.call(Purpose::Write, until, |member| &member.kv, send).await;
        let answer = answer.map_err(|fault| fault.into_error(Purpose::Write, asked))?;
        // etcd serves a transaction that writes nothing as a read.
        let proof = if txn.ops().is_empty() { Proof::Read } else { Proof::Logged };
        let revision = self.vet(answer.header(), floor, proof).await.map_err(|error| proof.outcome(error))?;
        convert::verdict(answer.0, revision).map_err(Error::Corrupt)
    }

    /// Returns the store's revision by a linearizable read.
    pub(super) async fn prove(&self) -> Result<Revision> {
        let floor = self.floor()?;
        let found = self.read_identity().await?;
        self.judge(found, floor, Proof::Read).await
    }

    async fn read_identity(&self) -> Result<Identity> {
        let send = |mut kv: etcd_client::KvClient| async move {
            kv.get(PROOF_KEY, Some(GetOptions::new().with_keys_only())).await
        };
        let answer = self.members.call(Purpose::Read, deadline(), |member| &member.kv, send).await;
        let answer = answer.map_err(|fault| fault.into_error(Purpose::Read, Asked::default()))?;
        identity(answer.header())
    }

    /// Returns what an answer to a call sent now must have reached, unless the cluster is not ours.
    pub(super) fn floor(&self) -> Result<Revision> {
        self.recall.floor().map_err(unusable)
    }

    /// Checks where an answer comes from and returns its revision.
    pub(super) async fn vet(
        &self,
        header: Option<&ResponseHeader>,
        floor: Revision,
        proof: Proof,
    ) -> Result<Revision> {
        self.judge(identity(header)?, floor, proof).await
    }

    pub(super) async fn judge(&self, found: Identity, floor: Revision, proof: Proof) -> Result<Revision> {
        match self.recall.sight(found, floor, proof) {
            Sighting::Ours => Ok(found.revision),
            Sighting::Strange(stranger) => Err(self.refuse(stranger)),
            Sighting::Doubtful(stranger) => Err(self.doubt(stranger).await),
        }
    }

    /// Reads again: a paused member answers one read from the past, a restored cluster all of them.
    async fn doubt(&self, stranger: Stranger) -> Error {
        for _ in 0..2 {
            let Ok(floor) = self.recall.floor() else { return unusable(stranger) };
            let found = match self.read_identity().await {
                Ok(found) => found,
                Err(error) => return error,
            };
            match self.recall.sight(found, floor, Proof::Read) {
                Sighting::Ours => return Error::Unavailable("etcd answered a read from the past".into()),
                Sighting::Strange(stranger) => return self.refuse(stranger),
                Sighting::Doubtful(_) => {}
            }
        }
        self.recall.condemn(stranger.clone());
        self.refuse(stranger)
    }

    fn refuse(&self, stranger: Stranger) -> Error {
        tracing::error!(error = %stranger, "etcd is not the cluster that it was: nothing is done until it is confirmed");
        unusable(stranger)
    }
}

fn unusable(stranger: Stranger) -> Error {
    Error::Unusable(Box::new(stranger))
}

pub(super) fn identity(header: Option<&ResponseHeader>) -> Result<Identity> {
    let header = header.ok_or_else(|| Error::Corrupt("an answer of etcd has no header".into()))?;
    Ok(Identity { cluster: header.cluster_id(), revision: Revision(header.revision()) })
}
