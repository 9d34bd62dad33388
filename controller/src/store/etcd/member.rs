//! The members of the cluster, one connection for each kind of traffic, and which member to ask.
//!
//! A balanced channel would hide which member is sick, so each member has its own channels and a call
//! goes to one member at a time. Watches, leases and maintenance do not share a connection with
//! reads and writes: a large answer would starve them (etcd 15402).
//!
//! A call that finds no answer in time gives up its connection: nothing else would notice a peer that
//! vanished without a word, because etcd forbids keep-alive pings on a connection without streams
//! (`too_many_pings`). Watches have a stream at all times, so theirs pings while idle.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{
    Channel, Client, ConnectOptions, KvClient, LeaseClient, MaintenanceClient, TlsOptions, WatchClient,
};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::transport::{Certificate, Endpoint, Identity};

use super::config::{
    ANSWER_BYTES_MAX, CONNECT, Config, DEADLINE, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, TRY, Tls,
};
use super::fault::{Fault, Purpose, TimedOut};

/// How long a member that failed is not asked while another one can be.
const REST: Duration = Duration::from_secs(5);

/// One connection, made when it is first needed and replaced when it went silent.
pub(super) struct Line<C> {
    endpoint: Endpoint,
    options: ConnectOptions,
    pick: fn(&Client) -> C,
    current: Mutex<Arc<OnceCell<C>>>,
}

pub(super) struct Member {
    pub(super) endpoint: String,
    pub(super) kv: Line<KvClient>,
    pub(super) watch: Line<WatchClient>,
    pub(super) lease: Line<LeaseClient>,
    pub(super) maintenance: Line<MaintenanceClient>,
}

/// All members, and the one that is asked first.
#[derive(Debug)]
pub(super) struct Members {
    members: Vec<Member>,
    rotation: Mutex<Rotation>,
}

/// Which member to ask: the same one as long as it answers.
#[derive(Debug)]
struct Rotation {
    current: usize,
    rests_until: Vec<Option<Instant>>,
}

impl<C: Clone> Line<C> {
    fn new(endpoint: Endpoint, options: ConnectOptions, pick: fn(&Client) -> C) -> Self {
        Self { endpoint, options, pick, current: Mutex::default() }
    }

    fn current(&self) -> Arc<OnceCell<C>> {
        self.lock().clone()
    }

    async fn client(&self, cell: &OnceCell<C>) -> Result<C, Fault> {
        let client = cell.get_or_try_init(|| async {
            let channel = Channel::Tonic(self.endpoint.connect_lazy());
            let client = Client::from_channel(channel, Some(self.options.clone())).await;
            // Logging in changes nothing, so its failure is never an open outcome.
            client.map(|client| (self.pick)(&client)).map_err(|error| match Fault::of(error) {
                Fault::Unclear(source) => Fault::NotDone(source),
                other => other,
            })
        });
        client.await.cloned()
    }

    /// Makes the next call connect anew, unless another call has seen to it already.
    fn give_up(&self, cell: &Arc<OnceCell<C>>) {
        let mut current = self.lock();
        if Arc::ptr_eq(&current, cell) {
            *current = Arc::default();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<OnceCell<C>>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Member {
    fn new(endpoint: &str, config: &Config) -> Result<Self, Fault> {
        let address = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|error| Fault::Refused(format!("{endpoint} is no endpoint: {error}").into()))?;
        let address = address.connect_timeout(CONNECT).tcp_nodelay(true);
        let address = match &config.tls {
            Some(tls) => {
                address.tls_config(tls_options(tls)).map_err(|error| Fault::Refused(error.into()))?
            }
            None => address,
        };
        let pinging = address
            .clone()
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let always_pinging = pinging.clone().keep_alive_while_idle(true);
        let mut options = ConnectOptions::new().with_require_leader(true).with_auto_token_refresh(true);
        if let Some(login) = &config.login {
            options = options.with_user(login.user.clone(), login.password.clone());
        }
        // Status and defragmentation are asked of a member as it is, with or without a leader.
        let alone = options.clone().with_require_leader(false);
        Ok(Self {
            endpoint: endpoint.to_owned(),
            kv: Line::new(pinging.clone(), options.clone(), |client| {
                client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX)
            }),
            watch: Line::new(always_pinging, options.clone(), |client| {
                client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX)
            }),
            lease: Line::new(pinging.clone(), options, Client::lease_client),
            maintenance: Line::new(pinging, alone, Client::maintenance_client),
        })
    }

    /// Asks this member once. `send` must do exactly one call.
    pub(super) async fn ask<C, T, Send, Answer>(
        &self,
        line: &Line<C>,
        until: Instant,
        send: Send,
    ) -> Result<T, Fault>
    where
        C: Clone,
        Send: FnOnce(C) -> Answer,
        Answer: Future<Output = Result<T, etcd_client::Error>>,
    {
        let started = Instant::now();
        let cell = line.current();
        let timed_out = || {
            line.give_up(&cell);
            let limit_ms = until.saturating_duration_since(started).as_millis();
            Box::new(TimedOut { endpoint: self.endpoint.clone(), limit_ms })
        };
        let client = tokio::time::timeout_at(until, line.client(&cell))
            .await
            .map_err(|_| Fault::NotDone(timed_out()))??;
        tokio::time::timeout_at(until, send(client))
            .await
            .map_err(|_| Fault::Unclear(timed_out()))?
            .map_err(Fault::of)
    }
}

impl Members {
    pub(super) fn new(config: &Config) -> Result<Self, Fault> {
        let members: Vec<_> = config
            .endpoints
            .iter()
            .map(|endpoint| Member::new(endpoint, config))
            .collect::<Result<_, _>>()?;
        if members.is_empty() {
            return Err(Fault::Refused("no etcd endpoint was given".into()));
        }
        let rotation = Mutex::new(Rotation::new(members.len()));
        Ok(Self { members, rotation })
    }

    pub(super) fn all(&self) -> &[Member] {
        &self.members
    }

    /// Calls one member after another within the deadline, as far as `purpose` allows.
    pub(super) async fn call<C, T, Send, Answer>(
        &self,
        purpose: Purpose,
        deadline: Instant,
        line: fn(&Member) -> &Line<C>,
        send: Send,
    ) -> Result<T, Fault>
    where
        C: Clone,
        Send: Fn(C) -> Answer,
        Answer: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut tried = vec![false; self.members.len()];
        let mut last = None;
        while let Some(index) = self.pick(&tried) {
            tried[index] = true;
            let is_last = tried.iter().all(|tried| *tried);
            let until = match purpose {
                // A write waits for its answer as long as it can: nobody else can be asked for it.
                Purpose::Write => deadline,
                Purpose::Read | Purpose::Repeatable if is_last => deadline,
                Purpose::Read | Purpose::Repeatable => deadline.min(Instant::now() + TRY),
            };
            let member = &self.members[index];
            let fault = match member.ask(line(member), until, &send).await {
                Ok(answer) => {
                    self.answered(index);
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            if fault.is_the_members() {
                tracing::debug!(etcd.endpoint = member.endpoint, ?fault, "etcd member did not answer");
                self.failed(index);
            }
            if !fault.allows_another_try(purpose) || Instant::now() >= deadline {
                return Err(fault);
            }
            last = Some(fault);
        }
        Err(last.unwrap_or_else(|| Fault::NotDone("no member could be asked".into())))
    }

    /// Returns the member to ask next, of those not tried yet.
    pub(super) fn pick(&self, tried: &[bool]) -> Option<usize> {
        self.rotation().pick(tried, Instant::now())
    }

    pub(super) fn failed(&self, index: usize) {
        self.rotation().failed(index, Instant::now());
    }

    fn answered(&self, index: usize) {
        self.rotation().rests_until[index] = None;
    }

    fn rotation(&self) -> std::sync::MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Returns when a call that begins now must have ended.
pub(super) fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

impl Rotation {
    fn new(members: usize) -> Self {
        Self { current: 0, rests_until: vec![None; members] }
    }

    fn ring(&self) -> impl Iterator<Item = usize> {
        let members = self.rests_until.len();
        let current = self.current;
        (0..members).map(move |step| (current + step) % members)
    }

    fn rests(&self, index: usize, now: Instant) -> bool {
        self.rests_until[index].is_some_and(|until| now < until)
    }

    fn pick(&self, tried: &[bool], now: Instant) -> Option<usize> {
        let untried = |index: &usize| !tried[*index];
        self.ring()
            .filter(untried)
            .find(|index| !self.rests(*index, now))
            .or_else(|| self.ring().find(untried))
    }

    fn failed(&mut self, index: usize, now: Instant) {
        self.rests_until[index] = Some(now + REST);
        if index == self.current {
            let next = self.ring().skip(1).find(|index| !self.rests(*index, now));
            self.current = next.unwrap_or((index + 1) % self.rests_until.len());
        }
    }
}

fn tls_options(tls: &Tls) -> TlsOptions {
    let mut options = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
    if let Some(own) = &tls.own {
        options = options.identity(Identity::from_pem(&own.certificate, &own.key));
    }
    match &tls.server_name {
        Some(name) => options.domain_name(name),
        None => options,
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.endpoint).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        use std::sync::OnceLock;
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        *ORIGIN.get_or_init(Instant::now) + Duration::from_millis(ms)
    }

    #[test]
    fn a_member_that_answers_is_asked_again() {
        let rotation = Rotation::new(3);
        assert_eq!(rotation.pick(&[false; 3], at(0)), Some(0));
        assert_eq!(rotation.pick(&[true, false, false], at(0)), Some(1));
        assert_eq!(rotation.pick(&[true; 3], at(0)), None);
    }

    #[test]
    fn a_member_that_failed_rests_while_others_can_be_asked() {
        let mut rotation = Rotation::new(3);
        rotation.failed(0, at(0));
        assert_eq!(rotation.pick(&[false; 3], at(1)), Some(1));
        rotation.failed(1, at(2));
        assert_eq!(rotation.pick(&[false; 3], at(3)), Some(2));
        assert_eq!(rotation.pick(&[false, false, true], at(3)), Some(0), "a resting one is better than none");
    }

    #[test]
    fn a_failure_told_late_does_not_move_away_from_a_good_member() {
        let mut rotation = Rotation::new(3);
        rotation.failed(0, at(0));
        rotation.failed(0, at(1));
        assert_eq!(rotation.pick(&[false; 3], at(2)), Some(1));
        let after_rest = at(0) + REST + Duration::from_millis(2);
        assert_eq!(rotation.pick(&[false; 3], after_rest), Some(1), "it does not run back either");
    }

    #[test]
    fn a_single_member_is_asked_whatever_it_did() {
        let mut rotation = Rotation::new(1);
        rotation.failed(0, at(0));
        assert_eq!(rotation.pick(&[false], at(1)), Some(0));
    }
}
