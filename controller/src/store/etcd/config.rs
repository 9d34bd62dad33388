//! How to reach an etcd cluster, and the limits of talking to it.

use std::fmt;
use std::time::Duration;

use super::identity::Identity;

/// Every call ends within this time: a linearizable read can hang for ever on a member that looks
/// healthy (etcd 22214).
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// One try of a call that may be repeated elsewhere, so that two more fit into [`DEADLINE`].
pub(super) const TRY: Duration = Duration::from_millis(650);
pub(super) const CONNECT: Duration = Duration::from_millis(600);
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest answer that is taken in; a page that is longer is read again in halves.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// etcd's default for `--quota-backend-bytes`.
const QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// How to reach the cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://host:port` or `https://host:port`, one for each member.
    pub endpoints: Vec<String>,
    pub tls: Option<Tls>,
    pub login: Option<Login>,
    /// Lets callers that wait at the same time share one etcd transaction.
    pub combine: bool,
    /// Accepts an etcd that is known to lose answered writes (etcd 14370).
    pub unsafe_version: bool,
    /// The cluster's `--quota-backend-bytes`; used where etcd does not tell it (before 3.6).
    pub quota_bytes: u64,
    /// The cluster as it was when last used; another one, or an older state of it, is refused.
    pub known: Option<Identity>,
}

/// PEM text of the authority to trust and, for mutual TLS, of our own certificate.
#[derive(Clone)]
pub struct Tls {
    pub ca: String,
    pub own: Option<OwnCertificate>,
    /// The name in the members' certificates, if it is not the endpoint's host.
    pub server_name: Option<String>,
}

#[derive(Clone)]
pub struct OwnCertificate {
    pub certificate: String,
    pub key: String,
}

#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl Config {
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            login: None,
            combine: true,
            unsafe_version: false,
            quota_bytes: QUOTA_BYTES,
            known: None,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
