//! Registering: this machine becomes an executor, once, by an invitation.
//!
//! The executor's id follows from its key, so the same command can be given again after a lost answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::ExecutorId;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire;

use super::registration::{Registration, RegistrationError};
use super::{StartError, WaysError, own_directory, ways};
use crate::connection::{CallError, Credential, Fingerprint, Line, Proxies, Trust};
use crate::disk::MachineDisk;
use crate::identity::{KEY_FILE, Key, KeyError, machine};
use crate::journal::{Identity, Journal, JournalError, Record};

const CALL: Duration = Duration::from_secs(10);
/// Each address is tried so often.
const ROUNDS: usize = 3;

/// What an executor registers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    pub data: PathBuf,
    pub invitation: Invitation,
    /// None: the machine's own.
    pub name: Option<String>,
    pub labels: Vec<String>,
    /// Attempts at a time; none: one for each processor.
    pub slots: Option<u32>,
    pub ca: Option<PathBuf>,
    pub proxies: Proxies,
}

/// Who the executor is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub executor: ExecutorId,
    pub name: String,
    /// Those that were granted.
    pub labels: Vec<String>,
    pub slots: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the invitation is not valid: it was used, has expired or was revoked. Ask for a new one")]
    NotInvited,
    #[error("{0}")]
    Refused(String),
    #[error("no controller answered at {addresses}: {why}")]
    Unreachable { addresses: String, why: String },
    #[error("the controller's answer makes no sense")]
    Answer,
    #[error("{data} belongs to another executor already", data = data.display())]
    Taken { data: PathBuf },
    #[error(transparent)]
    Ways(#[from] WaysError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Makes this machine an executor.
pub async fn register(register: Register) -> Result<Registered, RegisterError> {
    let data = own_directory(&register.data)?;
    let key = Key::ensure(&data)?;
    let trust = match (&register.ca, register.invitation.fingerprint) {
        (Some(path), _) => Trust::File(path.clone()),
        (None, Some(fingerprint)) => Trust::Fingerprint(Fingerprint(fingerprint)),
        (None, None) => Trust::System,
    };
    let routes = ways(&register.invitation.addresses, &trust, &register.proxies)?;
    let name = register.name.clone().unwrap_or_else(machine_name);
    let slots = register.slots.unwrap_or_else(processors);
    // Opened first: a directory that another process uses must not be registered anew.
    let journal = Journal::open(&data, Arc::new(MachineDisk))?;
    let request = wire::RegisterRequest {
        registration_token: register.invitation.token.clone(),
        public_key: key.public().into(),
        name: name.clone(),
        labels: register.labels.clone(),
        slots,
        version: ocelot_proto::kit::version::VERSION.to_owned(),
        // Its runtimes are looked at when it starts, and told with each session.
        machine: Some(machine(&data, vec![])),
    };
    let line = Line::new(routes, Credential::default());
    let answer = ask(&line, &register, request).await?;
    let executor: [u8; 16] = answer.executor.as_ref().try_into().map_err(|_| RegisterError::Answer)?;
    let executor = ExecutorId::from_bytes(executor);
    if journal.state().identity.is_some_and(|known| known.executor != executor) {
        return Err(RegisterError::Taken { data });
    }
    let registration = Registration {
        name: name.clone(),
        controllers: register.invitation.addresses,
        fingerprint: register.invitation.fingerprint,
        labels: answer.labels.clone(),
        slots,
    };
    registration.write(&data)?;
    let identity = Identity { executor, key_file: KEY_FILE.into() };
    journal.append(vec![Record::Registered(identity)]).await?;
    Ok(Registered { executor, name, labels: answer.labels, slots })
}

async fn ask(
    line: &Line,
    register: &Register,
    request: wire::RegisterRequest,
) -> Result<wire::RegisterResponse, RegisterError> {
    let addresses = &register.invitation.addresses;
    let mut last = String::new();
    for _ in 0..ROUNDS * addresses.len() {
        let called =
            line.call(CALL, request.clone(), async |mut client, request| client.register(request).await);
        match called.await {
            Ok(answer) => return Ok(answer),
            Err(CallError::Unauthenticated(_)) => return Err(RegisterError::NotInvited),
            Err(CallError::Refused(why)) => return Err(RegisterError::Refused(why)),
            Err(CallError::Fenced) => return Err(RegisterError::Answer),
            Err(CallError::Unknown(why)) => last = why,
        }
    }
    Err(RegisterError::Unreachable { addresses: addresses.join(", "), why: last })
}

fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The machine's name, with what an executor's name may not have left out.
fn machine_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy().into_owned();
    let name: String =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-._".contains(*letter)).collect();
    if name.is_empty() { "executor".to_owned() } else { name.chars().take(63).collect() }
}
