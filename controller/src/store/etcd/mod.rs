//! The store's home for many machines: an etcd cluster.
//!
//! The one module that names the client library, and the owner of what etcd does and its user must
//! survive (the numbers are those of the list of etcd's behaviours):
//!
//! - etcd's lock and election services are never used; only a transaction's compares decide (E1, E5);
//! - an answered keep-alive is no ownership, and a lost lease is a suspicion (`lease`: E2, E3, E4, E15);
//! - an etcd that loses answered writes is refused (`version`: E6), and so is a cluster that is not,
//!   or no longer, the one that we knew (`identity`);
//! - a watch reconnects by itself, never goes back and never tears a revision (`watch`: E7, E8); what
//!   it loses all the same, a view's audit finds;
//! - reads, watches, leases and maintenance do not share a connection, pages are small, every call has a
//!   deadline, members are asked in turn, a silent connection is given up (`member`: E9, E12, E14);
//! - history is compacted and space given back by one of the controllers, and *out of space* counts as
//!   an open outcome (`upkeep`, `fault`: E10);
//! - an open outcome is told apart from *not done*, and no write is repeated blindly (`fault`: E11).
//!
//! etcd's own roles are no wall between tenants (E13, CVE-2026-33413 and others): the controllers must
//! be the cluster's only clients, over mutual TLS or loopback.

mod assemble;
mod cluster;
mod combine;
mod config;
mod convert;
mod fault;
mod identity;
mod lease;
mod maintenance;
mod member;
mod upkeep;
mod version;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior};

pub use config::{Config, Login, OwnCertificate, Tls};
pub use identity::{Identity, Stranger};
pub use maintenance::MemberStatus;
pub use upkeep::{PASS as UPKEEP_PASS, Task as UpkeepTask, Upkeep};
pub use version::{Distrust, Version, check as check_version};

use self::cluster::Cluster;
use self::combine::Combiner;
use self::fault::{Asked, Fault, Purpose};
use self::identity::Proof;
use self::lease::Keeper;
use self::member::deadline;
use self::upkeep::{ClaimStep, Found};
use super::{
    Error, Expected, Health, Lease, LeaseId, Page, RangeRequest, Result, Revision, Store, Txn, Verdict, Watch,
};

/// A store on an etcd cluster. Dropping it ends its watches and streams.
#[derive(Debug)]
pub struct Etcd {
    cluster: Arc<Cluster>,
    keeper: Keeper,
    combiner: Option<Combiner>,
}

impl Etcd {
    /// Connects, and refuses a cluster that cannot be trusted.
    ///
    /// One member that answers is enough; the others' versions are checked when they are first seen.
    pub async fn connect(config: Config) -> Result<Self> {
        let cluster = Arc::new(Cluster::new(config)?);
        let keeper = Keeper::start(&cluster);
        let combiner = cluster.config.combine.then(|| Combiner::start(&cluster));
        let etcd = Self { cluster, keeper, combiner };
        let members = etcd.check_members().await?;
        let faults: HashSet<_> = members.iter().flat_map(|member| member.version.known_faults()).collect();
        for fault in faults {
            tracing::warn!(fault, "this etcd has a known fault that a later version does not have");
        }
        etcd.cluster.prove().await?;
        Ok(etcd)
    }

    /// Returns what to remember of the cluster and to give to the next [`Config::known`].
    pub fn identity(&self) -> Option<Identity> {
        self.cluster.recall.identity()
    }

    /// Uses the cluster as it is now, although it is not the one that was known or lost a part of its
    /// history. Call it only after the epoch was raised.
    pub async fn confirm(&self) -> Result<Identity> {
        self.cluster.recall.confirm();
        self.cluster.prove().await?;
        self.identity().ok_or_else(|| Error::Unavailable("no member answered".into()))
    }

    /// Describes the members that answer.
    pub async fn members(&self) -> Result<Vec<MemberStatus>> {
        self.check_members().await
    }

    /// Ends all tasks and waits for them.
    pub async fn close(self) {
        self.cluster.stop.cancel();
        self.cluster.tasks.close();
        self.cluster.tasks.wait().await;
    }

    /// Does one pass of the upkeep and tells what was done; `now` is any clock that only goes forward.
    ///
    /// `claim` is the key of the claim record.
    pub async fn upkeep_once(
        &self,
        upkeep: &mut Upkeep,
        claim: &str,
        now: Duration,
    ) -> Result<Vec<UpkeepTask>> {
        let page = self.range(RangeRequest::key(claim)).await?;
        let ClaimStep::Take { value, at } = upkeep.claim(now, page.items.first()) else {
            return Ok(Vec::new());
        };
        let expected = at.map_or(Expected::Absent, Expected::At);
        let revision = match self.commit(Txn::new().when(claim, expected).put(claim, value)).await {
            Ok(Verdict::Committed(revision)) => revision,
            Ok(Verdict::Refused { .. }) => return Ok(Vec::new()),
            // Nobody can write now, and this is how it ends.
            Err(Error::Full(_)) => page.revision,
            Err(error) => return Err(error),
        };
        let found = Found {
            revision,
            out_of_space: !self.cluster.out_of_space().await?.is_empty(),
            members: self.cluster.statuses().await.into_iter().map(Result::ok).collect(),
        };
        let tasks = upkeep.plan(now, &found);
        for task in &tasks {
            tracing::info!(?task, "etcd upkeep");
            match *task {
                UpkeepTask::Compact(at) => {
                    self.compact(at).await.inspect_err(|_| upkeep.compaction_failed())?;
                }
                UpkeepTask::Defragment(index) => self.cluster.defragment(index).await?,
                UpkeepTask::Disarm => self.cluster.disarm().await?,
            }
        }
        Ok(tasks)
    }

    /// Does the upkeep pass by pass until it is dropped. `name` is this controller's, `claim` as in
    /// [`Self::upkeep_once`].
    pub async fn keep_up(&self, name: &str, claim: &str) {
        let mut upkeep = Upkeep::new(name);
        let start = Instant::now();
        let mut passes = tokio::time::interval(UPKEEP_PASS);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            passes.tick().await;
            if let Err(error) = self.upkeep_once(&mut upkeep, claim, start.elapsed()).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a pass of the etcd upkeep failed");
            }
        }
    }

    /// Checks every member that answers; none is an error.
    async fn check_members(&self) -> Result<Vec<MemberStatus>> {
        let mut members = Vec::new();
        let mut unavailable = None;
        let statuses = self.cluster.statuses().await;
        let asked = statuses.len();
        for status in statuses {
            match status {
                Ok(status) => members.push(status),
                Err(error @ Error::Unavailable(_)) => unavailable = Some(error),
                Err(error) => return Err(error),
            }
        }
        let in_order =
            members.len() == asked && members.iter().all(|member| member.version.answers_progress_in_order());
        self.cluster.trusts_progress.store(in_order, Ordering::Relaxed);
        match unavailable {
            Some(error) if members.is_empty() => Err(error),
            Some(_) | None => Ok(members),
        }
    }

    /// Reads one page, in halves when it is longer than one answer may be.
    async fn read_page(&self, request: &RangeRequest) -> Result<(Page, Identity), Fault> {
        let mut limit = request.limit.clamp(1, RangeRequest::PAGE);
        loop {
            let send = |mut kv: etcd_client::KvClient| async move {
                kv.get(convert::first_key(&request.from), Some(convert::get_options(request, limit))).await
            };
            let answer =
                self.cluster.members.call(Purpose::Read, deadline(), |member| &member.kv, send).await;
            let mut answer = match answer {
                Err(Fault::LongAnswer(_)) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                other => other?,
            };
            let from = cluster::identity(answer.header()).map_err(|error| Fault::Refused(error.into()))?;
            let more = answer.more();
            let items = answer.take_kvs().into_iter().map(convert::key_value).collect::<Result<_, _>>();
            let items = items.map_err(Fault::Refused)?;
            return Ok((Page { items, more, revision: from.revision }, from));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.cluster.stop.cancel();
    }
}

#[async_trait]
impl Store for Etcd {
    async fn range(&self, request: RangeRequest) -> Result<Page> {
        let floor = self.cluster.floor()?;
        let asked = Asked { at: request.at.unwrap_or_default(), bytes: 0 };
        let read = self.read_page(&request).await;
        let (page, from) = read.map_err(|fault| fault.into_error(Purpose::Read, asked))?;
        self.cluster.judge(from, floor, Proof::Read).await?;
        Ok(page)
    }

    async fn commit(&self, txn: Txn) -> Result<Verdict> {
        txn.check()?;
        match &self.combiner {
            Some(combiner) => combiner.commit(txn).await,
            None => self.cluster.commit(&txn, deadline()).await,
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch> {
        self.cluster.floor()?;
        Ok(watch::follow(&self.cluster, prefix, from))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        let floor = self.cluster.floor()?;
        // etcd counts whole seconds, and raises what is below 1.5 elections.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let send = |mut client: etcd_client::LeaseClient| async move { client.grant(seconds, None).await };
        let answer =
            self.cluster.members.call(Purpose::Write, deadline(), |member| &member.lease, send).await;
        let answer = answer.map_err(|fault| fault.into_error(Purpose::Write, Asked::default()))?;
        self.cluster.vet(answer.header(), floor, Proof::Unordered).await?;
        let ttl = Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or(0));
        Ok(Lease { id: LeaseId(answer.id()), ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease> {
        self.cluster.floor()?;
        self.keeper.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.cluster.floor()?;
        let send = |mut client: etcd_client::LeaseClient| async move { client.revoke(lease.0).await };
        match self.cluster.members.call(Purpose::Repeatable, deadline(), |member| &member.lease, send).await {
            Ok(_) | Err(Fault::LeaseGone) => Ok(()),
            Err(fault) => Err(fault.into_error(Purpose::Repeatable, Asked::default())),
        }
    }

    async fn compact(&self, at: Revision) -> Result<()> {
        self.cluster.floor()?;
        let send = |mut kv: etcd_client::KvClient| async move { kv.compact(at.0, None).await };
        match self.cluster.members.call(Purpose::Repeatable, deadline(), |member| &member.kv, send).await {
            Ok(_) | Err(Fault::Compacted) => Ok(()),
            Err(fault) => Err(fault.into_error(Purpose::Repeatable, Asked { at, bytes: 0 })),
        }
    }

    async fn health(&self) -> Result<Health> {
        let (revision, members, out_of_space) =
            tokio::join!(self.cluster.prove(), self.check_members(), self.cluster.out_of_space());
        let (revision, members, out_of_space) = (revision?, members?, !out_of_space?.is_empty());
        let fullest = members.iter().map(MemberStatus::fullness).fold(0.0, f64::max);
        let fullness = if out_of_space { fullest.max(1.0) } else { fullest };
        let versions: Vec<_> = members.iter().map(|member| member.version.to_string()).collect();
        let description = format!(
            "etcd {}, {} of {} members",
            versions.join(" "),
            members.len(),
            self.cluster.members.all().len()
        );
        Ok(Health { revision, fullness, description })
    }
}
