//! What etcd says about its members, and the repairs that only it can do.

use std::collections::HashSet;
use std::time::Duration;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::fault::{Asked, Fault, Purpose};
use super::identity::Proof;
use super::member::deadline;
use super::version::{self, Version};
use crate::store::{Error, Result, Revision};

/// A member does nothing else while it defragments, about a second for each 100 MiB.
const DEFRAGMENT: Duration = Duration::from_secs(60);

/// One member as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    pub endpoint: String,
    pub version: Version,
    pub is_leader: bool,
    /// The size of its file, which is what etcd holds against the quota.
    pub file_bytes: u64,
    /// How much of the file is in use; the rest is taken before the file grows.
    pub used_bytes: u64,
    pub quota_bytes: u64,
}

impl MemberStatus {
    /// Returns bytes used of the quota; 1 or more when etcd refuses writes.
    pub fn fullness(&self) -> f64 {
        let bytes = if self.file_bytes >= self.quota_bytes { self.file_bytes } else { self.used_bytes };
        bytes as f64 / self.quota_bytes.max(1) as f64
    }

    /// Returns the part of the file that a defragmentation would give back.
    pub fn free_part(&self) -> f64 {
        let free = self.file_bytes.saturating_sub(self.used_bytes);
        free as f64 / self.file_bytes.max(1) as f64
    }
}

impl Cluster {
    /// Asks one member about itself; other members are not asked for it.
    pub(super) async fn status_of(&self, index: usize) -> Result<MemberStatus> {
        let member = &self.members.all()[index];
        let asked = member
            .ask(&member.maintenance, deadline(), |mut client| async move { client.status().await })
            .await;
        let status = asked.map_err(|fault| fault.into_error(Purpose::Read, Asked::default()))?;
        self.vet(status.header(), Revision(0), Proof::Unordered).await?;
        let version = version::check(&member.endpoint, status.version(), self.config.unsafe_version)
            .map_err(|distrust| Error::Unusable(distrust.into()))?;
        let me = status.header().map(|header| header.member_id());
        let told_quota = u64::try_from(status.db_size_quota()).unwrap_or(0);
        Ok(MemberStatus {
            endpoint: member.endpoint.clone(),
            version,
            is_leader: me == Some(status.leader()),
            file_bytes: u64::try_from(status.db_size()).unwrap_or(0),
            used_bytes: u64::try_from(status.raft_used_db_size()).unwrap_or(0),
            quota_bytes: if told_quota > 0 { told_quota } else { self.config.quota_bytes },
        })
    }

    /// Asks all members at the same time.
    pub(super) async fn statuses(&self) -> Vec<Result<MemberStatus>> {
        let all = (0..self.members.all().len()).map(|index| self.status_of(index));
        futures_util::future::join_all(all).await
    }

    /// Returns which members have raised the alarm that stops writes.
    pub(super) async fn out_of_space(&self) -> Result<HashSet<u64>> {
        let send = |mut client: etcd_client::MaintenanceClient| async move {
            client.alarm(AlarmAction::Get, AlarmType::None, None).await
        };
        let answer = self.members.call(Purpose::Read, deadline(), |member| &member.maintenance, send).await;
        let answer = answer.map_err(|fault| fault.into_error(Purpose::Read, Asked::default()))?;
        let alarms = answer.alarms().iter();
        Ok(alarms
            .filter(|alarm| alarm.alarm() == AlarmType::Nospace)
            .map(|alarm| alarm.member_id())
            .collect())
    }

    /// Lets writes in again after space was made.
    pub(super) async fn disarm(&self) -> Result<()> {
        for member in self.out_of_space().await? {
            let send = |mut client: etcd_client::MaintenanceClient| async move {
                let mut options = AlarmOptions::new();
                options.with_member(member);
                client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options)).await
            };
            let answer =
                self.members.call(Purpose::Repeatable, deadline(), |member| &member.maintenance, send).await;
            answer.map_err(|fault| fault.into_error(Purpose::Repeatable, Asked::default()))?;
        }
        Ok(())
    }

    /// Gives a member's free space back to its disk. Others are asked meanwhile.
    pub(super) async fn defragment(&self, index: usize) -> Result<()> {
        self.members.failed(index);
        let member = &self.members.all()[index];
        let until = Instant::now() + DEFRAGMENT;
        let asked = member
            .ask(&member.maintenance, until, |mut client| async move { client.defragment().await })
            .await;
        asked.map(|_| ()).map_err(|fault: Fault| fault.into_error(Purpose::Repeatable, Asked::default()))
    }
}
