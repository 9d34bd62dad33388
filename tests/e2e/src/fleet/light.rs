//! An executor without a machine: it speaks the protocol and ends every task at once, or lies.
//!
//! Many of them fit into one process, so a fleet can be large; and one of them can say what a real
//! executor never would.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use futures_util::future::try_join_all;
use ocelot_controller::service::{Challenge, signed_message};
use ocelot_core::id::{ExecutorId, Incarnation};
use ocelot_proto::wire;
use ocelot_proto::wire::executor_service_client::ExecutorServiceClient;
use ocelot_proto::wire::object_service_client::ObjectServiceClient;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// What it calls its version where nobody says otherwise.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+light");

/// A registered executor, with or without a session.
#[derive(Debug)]
pub struct Light {
    client: ExecutorServiceClient<Channel>,
    objects: ObjectServiceClient<Channel>,
    key: Ed25519KeyPair,
    pub id: Vec<u8>,
    /// What it calls its version.
    pub version: String,
    incarnation: AtomicU64,
}

/// An open session of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LightSession {
    client: ExecutorServiceClient<Channel>,
    objects: ObjectServiceClient<Channel>,
    token: MetadataValue<Ascii>,
    pub timing: wire::Timing,
}

impl Light {
    /// Registers with the token inside an invitation.
    pub async fn register(url: &str, token: &str, name: &str, slots: u32) -> Result<Self> {
        Self::register_as(url, token, name, slots, &[]).await
    }

    /// The same with labels that the token grants.
    pub async fn register_as(
        url: &str,
        token: &str,
        name: &str,
        slots: u32,
        labels: &[&str],
    ) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        Self::register_through(endpoint.connect_lazy(), token, name, slots, labels).await
    }

    /// The same on a channel of the caller's choice.
    pub async fn register_through(
        channel: Channel,
        token: &str,
        name: &str,
        slots: u32,
        labels: &[&str],
    ) -> Result<Self> {
        Self::register_as_version(VERSION, channel, token, name, slots, labels).await
    }

    /// Registers one that says that it is of some version.
    pub async fn register_version(version: &str, url: &str, token: &str, name: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect_lazy();
        Self::register_as_version(version, channel, token, name, 1, &[]).await
    }

    async fn register_as_version(
        version: &str,
        channel: Channel,
        token: &str,
        name: &str,
        slots: u32,
        labels: &[&str],
    ) -> Result<Self> {
        let mut client = ExecutorServiceClient::new(channel.clone());
        let objects = ObjectServiceClient::new(channel);
        let key = Ed25519KeyPair::generate().context("a key")?;
        let request = wire::RegisterRequest {
            registration_token: token.to_owned(),
            public_key: key.public_key().as_ref().to_vec().into(),
            name: name.to_owned(),
            slots,
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            version: version.to_owned(),
            machine: Some(machine()),
        };
        let id = client.register(request).await?.into_inner().executor.to_vec();
        let version = version.to_owned();
        Ok(Self { client, objects, key, id, version, incarnation: AtomicU64::new(0) })
    }

    /// Turns to another address.
    pub fn lead_to(&mut self, url: &str) -> Result<()> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        let channel = endpoint.connect_lazy();
        self.client = ExecutorServiceClient::new(channel.clone());
        self.objects = ObjectServiceClient::new(channel);
        Ok(())
    }

    /// Opens a session as its next incarnation.
    pub async fn open(&self) -> Result<LightSession> {
        let incarnation = self.incarnation.fetch_add(1, Ordering::SeqCst) + 1;
        self.open_as(incarnation).await
    }

    /// Opens a session as an incarnation of its choice.
    pub async fn open_as(&self, incarnation: u64) -> Result<LightSession> {
        let executor = self.id.clone();
        let request = wire::ChallengeRequest { executor: executor.clone().into() };
        let mut client = self.client.clone();
        let challenge = client.challenge(request).await?.into_inner().challenge;
        let id = ExecutorId::from_bytes(executor.as_slice().try_into()?);
        let proof = Challenge(challenge.as_ref().try_into()?);
        let signature = self.key.sign(&signed_message(id, Incarnation(incarnation), &proof));
        let request = wire::OpenSessionRequest {
            executor: executor.into(),
            challenge,
            signature: signature.as_ref().to_vec().into(),
            incarnation,
            held: Vec::new(),
            version: self.version.clone(),
            machine: Some(machine()),
        };
        let opened = client.open_session(request).await?.into_inner();
        let token = format!("Bearer {}", opened.session_token).parse().context("a token is plain text")?;
        let timing = opened.timing.context("timing")?;
        Ok(LightSession { client, objects: self.objects.clone(), token, timing })
    }
}

impl LightSession {
    /// Puts the session's token to a request.
    pub fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request.set_timeout(Duration::from_secs(40));
        request
    }

    pub fn client(&self) -> ExecutorServiceClient<Channel> {
        self.client.clone()
    }

    /// Returns a client of the service that keeps artifacts and caches.
    pub fn objects(&self) -> ObjectServiceClient<Channel> {
        self.objects.clone()
    }

    pub async fn poll(&self, poll: u64, held: Vec<wire::Held>) -> Result<wire::PollResponse, Status> {
        self.poll_for(poll, held, Duration::from_secs(25)).await
    }

    pub async fn poll_for(
        &self,
        poll: u64,
        held: Vec<wire::Held>,
        wait: Duration,
    ) -> Result<wire::PollResponse, Status> {
        let wait_ms = wait.as_millis() as u64;
        let mut request = self.with_token(wire::PollRequest { poll, journal_sequence: poll, held, wait_ms });
        request.set_timeout(wait + Duration::from_secs(15));
        Ok(self.client().poll(request).await?.into_inner())
    }

    pub async fn heartbeat(
        &self,
        sequence: u64,
        held: Vec<wire::Held>,
    ) -> Result<wire::HeartbeatResponse, Status> {
        let request = wire::HeartbeatRequest {
            sequence,
            held,
            disk_free_bytes: 1 << 40,
            ..wire::HeartbeatRequest::default()
        };
        Ok(self.client().heartbeat(self.with_token(request)).await?.into_inner())
    }

    pub async fn acknowledge(&self, attempt: wire::AttemptId, journal_sequence: u64) -> Result<(), Status> {
        let request =
            wire::AcknowledgeRequest { attempt: Some(attempt), journal_sequence, sent_boottime_ms: 1 };
        self.client().acknowledge(self.with_token(request)).await.map(drop)
    }

    /// Ends an attempt well, with an empty log.
    pub async fn complete(&self, attempt: wire::AttemptId, poll: u64) -> Result<(), Status> {
        let request = self.completion(attempt, poll);
        self.client().complete(self.with_token(request)).await.map(drop)
    }

    pub fn completion(&self, attempt: wire::AttemptId, poll: u64) -> wire::CompleteRequest {
        let succeeded = wire::outcome::Outcome::Succeeded(wire::outcome::Succeeded {});
        let mut completion = [7; 16];
        completion[..4].copy_from_slice(&attempt.number.to_be_bytes());
        wire::CompleteRequest {
            attempt: Some(attempt),
            completion: completion.to_vec().into(),
            outcome: Some(wire::Outcome { outcome: Some(succeeded) }),
            log: Some(wire::LogEnd { length: 0, sha256: Sha256::digest([]).to_vec().into() }),
            poll,
            ..wire::CompleteRequest::default()
        }
    }

    /// Takes work and ends it at once, until `ended` has no more room or the session is over. Tells of
    /// each task that it ended.
    pub async fn work(self, ended: mpsc::Sender<wire::AttemptId>) -> Result<()> {
        let beats = self.clone();
        let every = Duration::from_millis(self.timing.heartbeat_ms.max(1));
        let beating = async move {
            for sequence in 1.. {
                tokio::time::sleep(every).await;
                beats.heartbeat(sequence, Vec::new()).await?;
            }
            anyhow::Ok(())
        };
        let working = async move {
            for poll in 1.. {
                let answer = self.poll(poll, Vec::new()).await?;
                // Side by side, as the attempts of one executor are.
                let attempts = answer.offers.into_iter().map(async |offer| {
                    let attempt = offer.attempt.context("an attempt")?;
                    self.acknowledge(attempt.clone(), poll + 1).await?;
                    self.complete(attempt.clone(), poll + 1).await?;
                    anyhow::Ok(ended.send(attempt).await.is_ok())
                });
                if try_join_all(attempts).await?.contains(&false) {
                    return Ok(());
                }
            }
            anyhow::Ok(())
        };
        tokio::select! {
            done = working => done,
            dead = beating => dead,
        }
    }
}

fn machine() -> wire::Machine {
    let process = wire::RuntimeSupport { name: "process".into(), version: "1".into(), whole_kill: true };
    wire::Machine {
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu_millis: 64_000,
        memory_bytes: 1 << 40,
        disk_bytes: 1 << 40,
        gpus: 0,
        runtimes: vec![process],
    }
}
