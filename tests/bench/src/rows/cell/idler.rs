//! An executor that waits: registered, with a session, heartbeats as it is told, and one open poll.
//!
//! It shares nothing with the others but the runtime: its connection is its own, it is asked for
//! signs of life as the product's is, and it comes back as the product does. What it is offered it
//! ends at once, or holds as long as it is told to.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use ocelot_controller::auth::random_secret;
use ocelot_e2e::fleet::{Light, LightSession, RunId};
use ocelot_executor::connection::{CallError, judged};
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::wire;
use ocelot_proto::wire::executor_service_client::ExecutorServiceClient;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

// As in the product.
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(4);
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(3);
const HEARTBEAT_AGAIN: Duration = Duration::from_millis(500);

/// Where the controller is, and how it is spoken to.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) url: String,
    /// None: without TLS.
    pub(super) certificate: Option<String>,
    /// Heartbeats have a connection of their own, as those of the product have.
    pub(super) two_lines: bool,
    /// Between two signs of life: what the product comes to in a fleet of this size.
    pub(super) signs: Duration,
}

/// What all executors of a row share.
#[derive(Debug)]
pub(super) struct Crowd {
    ground: Ground,
    /// Which life of the controller counts; whoever was answered in it is back.
    life: AtomicU64,
    back: AtomicUsize,
    /// What is offered is held and not ended.
    holds: AtomicBool,
    ends: Notify,
    offered: mpsc::Sender<(RunId, Instant)>,
    /// Calls that brought nothing, by what was said.
    failures: Mutex<BTreeMap<String, usize>>,
    /// Sessions that were opened anew.
    pub(super) reopened: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Idler {
    light: Light,
    /// The line of its heartbeats, if that is another.
    beats: Option<ExecutorServiceClient<Channel>>,
    crowd: Arc<Crowd>,
    held: Mutex<Vec<wire::AttemptId>>,
    heartbeat_ms: AtomicU64,
    poll_ms: AtomicU64,
    /// The life in which a heartbeat was answered, and that in which it counted as back.
    beaten: AtomicU64,
    returned: AtomicU64,
    polls: AtomicU64,
    is_polling: AtomicBool,
}

impl Crowd {
    pub(super) fn new(ground: Ground) -> (Arc<Self>, mpsc::Receiver<(RunId, Instant)>) {
        let (offered, offers) = mpsc::channel(1024);
        let crowd = Self {
            ground,
            life: AtomicU64::new(1),
            back: AtomicUsize::new(0),
            holds: AtomicBool::new(false),
            ends: Notify::new(),
            offered,
            failures: Mutex::default(),
            reopened: AtomicUsize::new(0),
        };
        (Arc::new(crowd), offers)
    }

    /// A channel that nobody else uses, and that knows no older connection.
    fn channel(&self) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.ground.url.clone())?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.ground.signs)
            .keep_alive_timeout(KEEPALIVE_PATIENCE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024);
        let endpoint = match &self.ground.certificate {
            Some(pem) => endpoint
                .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem.clone())))?,
            None => endpoint,
        };
        Ok(endpoint.connect_lazy())
    }

    fn failed(&self, call: &str, why: &dyn Display) {
        let mut failures = self.failures.lock().expect("nothing panics with it");
        *failures.entry(format!("{call}: {why}")).or_default() += 1;
    }

    /// Returns what has failed since this was asked before.
    pub(super) fn failures(&self) -> String {
        let failures = std::mem::take(&mut *self.failures.lock().expect("nothing panics with it"));
        let written = failures.iter().map(|(why, count)| format!("{count} x {why}"));
        let written: Vec<String> = written.collect();
        if written.is_empty() { "none".to_owned() } else { written.join("; ") }
    }

    /// Nobody is back from here on, until it was answered anew.
    pub(super) fn begin_life(&self) {
        self.back.store(0, Ordering::SeqCst);
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn back(&self) -> usize {
        self.back.load(Ordering::SeqCst)
    }

    pub(super) fn hold(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    /// Lets all that is held end.
    pub(super) fn end_all(&self) {
        self.holds.store(false, Ordering::SeqCst);
        self.ends.notify_waiters();
    }
}

impl Idler {
    pub(super) async fn register(crowd: Arc<Crowd>, token: &str, name: &str, slots: u32) -> Result<Self> {
        let light = Light::register_through(crowd.channel()?, token, name, slots, &[]).await?;
        let beats = crowd.ground.two_lines.then(|| crowd.channel()).transpose()?;
        Ok(Self {
            light,
            beats: beats.map(ExecutorServiceClient::new),
            crowd,
            held: Mutex::default(),
            heartbeat_ms: AtomicU64::new(2_000),
            poll_ms: AtomicU64::new(25_000),
            beaten: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            is_polling: AtomicBool::new(false),
        })
    }

    /// Lives until it is dropped.
    pub(super) async fn live(self) -> Result<()> {
        let pace = Policy::new(Duration::from_millis(100), Duration::from_secs(15), 0.5)?;
        let mut failures = 0;
        loop {
            let session = match self.light.open().await {
                Ok(session) => session,
                Err(error) => {
                    failures += 1;
                    self.crowd.failed("open", &error.root_cause());
                    tokio::time::sleep(pace.wait(failures, random())).await;
                    continue;
                }
            };
            if failures > 0 || self.returned.load(Ordering::SeqCst) > 0 {
                self.crowd.reopened.fetch_add(1, Ordering::Relaxed);
            }
            failures = 0;
            self.heed(&session.timing);
            // Either ends with the session only.
            tokio::select! {
                polled = self.poll_on(&session) => polled?,
                beaten = self.beat_on(&session) => beaten?,
                () = self.end_on(&session) => {}
            }
        }
    }

    async fn poll_on(&self, session: &LightSession) -> Result<()> {
        let pace = Policy::new(Duration::from_millis(50), Duration::from_secs(5), 0.5)?;
        let mut failures = 0;
        loop {
            let poll = self.polls.fetch_add(1, Ordering::Relaxed) + 1;
            self.is_polling.store(true, Ordering::SeqCst);
            self.look();
            let wait = Duration::from_millis(self.poll_ms.load(Ordering::Relaxed));
            let answer = session.poll_for(poll, self.held(), wait).await;
            self.is_polling.store(false, Ordering::SeqCst);
            match answer {
                Ok(answer) => {
                    failures = 0;
                    if answer.voided {
                        self.crowd.failed("poll", &"voided");
                        tokio::time::sleep(pace.wait(1, random())).await;
                    }
                    for offer in answer.offers {
                        self.take(session, offer.attempt.context("an attempt")?, poll).await?;
                    }
                }
                Err(status) if is_over(&status) => return Ok(()),
                Err(status) => {
                    failures += 1;
                    self.crowd.failed("poll", &status.message());
                    tokio::time::sleep(pace.wait(failures, random())).await;
                }
            }
        }
    }

    fn heed(&self, timing: &wire::Timing) {
        self.heartbeat_ms.store(timing.heartbeat_ms, Ordering::Relaxed);
        self.poll_ms.store(timing.poll_ms, Ordering::Relaxed);
    }

    async fn take(&self, session: &LightSession, attempt: wire::AttemptId, poll: u64) -> Result<()> {
        let run = attempt.task.as_ref().context("a task")?.run.as_ref().try_into()?;
        let is_told = self.crowd.offered.send((run, Instant::now())).await;
        is_told.context("nobody measures any more")?;
        if let Err(status) = session.acknowledge(attempt.clone(), poll + 1).await {
            self.crowd.failed("acknowledge", &status.message());
            return Ok(());
        }
        if self.crowd.holds.load(Ordering::SeqCst) {
            self.held.lock().expect("nothing panics with it").push(attempt);
        } else {
            // What cannot be ended now is missing in the next list, and the row fails.
            if let Err(status) = session.complete(attempt, poll + 1).await {
                self.crowd.failed("complete", &status.message());
            }
        }
        Ok(())
    }

    async fn beat_on(&self, session: &LightSession) -> Result<()> {
        let mut failures = 0;
        for sequence in 1.. {
            let life = self.crowd.life.load(Ordering::SeqCst);
            let beat = self.beat(session, sequence);
            let why = match tokio::time::timeout(HEARTBEAT_DEADLINE, beat).await {
                Ok(Ok(answer)) => {
                    answer.timing.iter().for_each(|timing| self.heed(timing));
                    self.beaten.fetch_max(life, Ordering::SeqCst);
                    self.look();
                    None
                }
                Ok(Err(status)) if is_over(&status) => return Ok(()),
                Ok(Err(status)) => Some(status.message().to_owned()),
                Err(_) => Some("no answer".to_owned()),
            };
            let every = Duration::from_millis(self.heartbeat_ms.load(Ordering::Relaxed));
            let wait = match why {
                None => {
                    failures = 0;
                    every
                }
                Some(why) => {
                    failures += 1;
                    self.crowd.failed("heartbeat", &why);
                    let pace = Policy::new(HEARTBEAT_AGAIN, every.max(HEARTBEAT_AGAIN), 0.5)?;
                    pace.wait(failures, random())
                }
            };
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn beat(&self, session: &LightSession, sequence: u64) -> Result<wire::HeartbeatResponse, Status> {
        let Some(beats) = &self.beats else { return session.heartbeat(sequence, self.held()).await };
        let request = wire::HeartbeatRequest {
            sequence,
            held: self.held(),
            disk_free_bytes: 1 << 40,
            ..wire::HeartbeatRequest::default()
        };
        Ok(beats.clone().heartbeat(session.with_token(request)).await?.into_inner())
    }

    /// Ends what is held, once it may.
    async fn end_on(&self, session: &LightSession) {
        loop {
            self.crowd.ends.notified().await;
            let held = std::mem::take(&mut *self.held.lock().expect("nothing panics with it"));
            for attempt in held {
                session.complete(attempt, self.polls.load(Ordering::Relaxed)).await.ok();
            }
        }
    }

    /// Counts as back once a heartbeat was answered in this life and a poll hangs.
    fn look(&self) {
        let life = self.crowd.life.load(Ordering::SeqCst);
        let is_back = self.is_polling.load(Ordering::SeqCst) && self.beaten.load(Ordering::SeqCst) == life;
        if is_back && self.returned.fetch_max(life, Ordering::SeqCst) < life {
            self.crowd.back.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn held(&self) -> Vec<wire::Held> {
        let held = self.held.lock().expect("nothing panics with it");
        let held = held.iter().map(|attempt| wire::Held {
            attempt: Some(attempt.clone()),
            phase: wire::held::Phase::Running.into(),
            log_end: 0,
        });
        held.collect()
    }
}

/// Tells whether the session does not count any more.
fn is_over(status: &Status) -> bool {
    match judged(status) {
        CallError::Fenced | CallError::Unauthenticated(_) => true,
        CallError::Refused(_) | CallError::Unknown(_) => false,
    }
}

fn random() -> f64 {
    let bytes = random_secret();
    let number = bytes.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}
