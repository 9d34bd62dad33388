//! The way to the controllers: several addresses, one channel at a time, and what an answer means.
//!
//! A call is made once and has a deadline; whoever makes it repeats it. A call without an answer may
//! have happened, and turns the next ones to the next address.

mod dial;
mod proxy;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ocelot_proto::wire::executor_service_client::ExecutorServiceClient;
use ocelot_proto::wire::object_service_client::ObjectServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

pub use dial::{InvalidAddress, Looked, Route};
pub use proxy::{Proxies, Proxy, ProxyError};
pub use tls::{Fingerprint, Trust, TrustError};

/// Between two signs of life that a silent connection is asked for, in a small fleet.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Without one for so long, the connection is given up.
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(4);
/// An answer is a list of offers with their plans.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Carries the word of an error, where two kinds share a code.
const WORD_HEADER: &str = "x-error";

pub type Client = ExecutorServiceClient<Channel>;
pub type Objects = ObjectServiceClient<Channel>;

/// Why a call brought no answer of its own.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// What is spoken for is not ours any more.
    #[error("another one has taken its place")]
    Fenced,
    /// The credential does not count.
    #[error("the controller does not accept the credential: {0}")]
    Unauthenticated(String),
    /// It did not happen, and will not by asking again.
    #[error("the controller refused: {0}")]
    Refused(String),
    /// It may have happened.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// The credential of the session, shared by all that speaks for it.
#[derive(Debug, Clone, Default)]
pub struct Credential(Arc<RwLock<Option<MetadataValue<Ascii>>>>);

impl Credential {
    /// Takes a session token for all later calls; false if it cannot be one.
    pub fn set(&self, token: &str) -> bool {
        let Ok(mut value) = MetadataValue::try_from(format!("Bearer {token}")) else { return false };
        value.set_sensitive(true);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        true
    }

    /// Forgets it: nothing is to be heard under it any more.
    pub fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn get(&self) -> Option<MetadataValue<Ascii>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One line to the controllers. It belongs to the runtime that made it.
#[derive(Debug)]
pub struct Line {
    routes: Vec<Route>,
    credential: Credential,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    at: usize,
    /// Between two signs of life.
    apart: Duration,
    client: Option<Client>,
    /// A connection of its own: no heartbeat waits behind what is large.
    objects: Option<Objects>,
}

/// Whom a call was made to, and with which credential.
#[derive(Debug)]
pub struct Spoken {
    at: usize,
    with: Option<MetadataValue<Ascii>>,
}

impl Line {
    /// # Panics
    /// If there is no route.
    pub fn new(routes: Vec<Route>, credential: Credential) -> Self {
        assert!(!routes.is_empty(), "the settings hold at least one address");
        let current = Current { at: 0, apart: KEEPALIVE, client: None, objects: None };
        Self { routes, credential, current: Mutex::new(current) }
    }

    /// Lets signs of life be as far apart as heartbeats are: in a large fleet they would be more work
    /// than those. Connections are made anew for it; calls that are under way end on theirs.
    pub fn ease(&self, heartbeat: Duration) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if heartbeat >= 2 * current.apart {
            current.apart = heartbeat;
            current.client = None;
            current.objects = None;
        }
    }

    /// Returns a client for the address that counts now, and its place in the list.
    pub fn client(&self) -> (Client, usize) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, apart) = (current.at, current.apart);
        let client = current.client.get_or_insert_with(|| connect(&self.routes[at], apart));
        (client.clone(), at)
    }

    /// Turns to the next address, unless somebody did already.
    pub fn turn_from(&self, at: usize) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.at != at {
            return;
        }
        current.at = (at + 1) % self.routes.len();
        // With one address only, its channel connects anew by itself.
        if current.at != at {
            tracing::info!(address = %self.routes[current.at], "turning to another controller");
            current.client = None;
            current.objects = None;
        }
    }

    /// Returns a client for objects at the address that counts now.
    pub fn objects(&self) -> (Objects, Spoken) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, apart) = (current.at, current.apart);
        let client = current.objects.get_or_insert_with(|| {
            let channel = channel(&self.routes[at], apart);
            ObjectServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
        });
        (client.clone(), Spoken { at, with: self.credential.get() })
    }

    /// Returns what a call that failed means, and turns away from an address that gave no answer.
    pub fn failed(&self, spoken: &Spoken, status: &Status) -> CallError {
        let answer = judged(status);
        // What was said under an older credential says nothing about what is ours now.
        let outdated = self.credential.get() != spoken.with;
        if outdated && matches!(answer, CallError::Fenced | CallError::Unauthenticated(_)) {
            return CallError::Unknown("the session was opened anew meanwhile".to_owned());
        }
        if let CallError::Unknown(why) = &answer {
            tracing::debug!(address = %self.routes[spoken.at], why, "a call got no answer");
            self.turn_from(spoken.at);
        }
        answer
    }

    /// Makes a request that carries the credential.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(credential) = self.credential.get() {
            request.metadata_mut().insert("authorization", credential);
        }
        request
    }

    /// Makes one call, once.
    pub async fn call<T, R, F, Fut>(&self, deadline: Duration, message: T, call: F) -> Result<R, CallError>
    where
        F: FnOnce(Client, Request<T>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_through(self.client(), deadline, message, call).await
    }

    /// Makes one call, once, to the address of this client: for what only the controller knows that
    /// answered the call before.
    pub async fn call_through<T, R, F, Fut>(
        &self,
        (client, at): (Client, usize),
        deadline: Duration,
        message: T,
        call: F,
    ) -> Result<R, CallError>
    where
        F: FnOnce(Client, Request<T>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let spoken = Spoken { at, with: self.credential.get() };
        let mut request = self.request(message);
        request.set_timeout(deadline);
        Err(match tokio::time::timeout(deadline, call(client, request)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => self.failed(&spoken, &status),
            Err(_) => self.failed(&spoken, &Status::deadline_exceeded(format!("none within {deadline:?}"))),
        })
    }
}

fn connect(route: &Route, apart: Duration) -> Client {
    ExecutorServiceClient::new(channel(route, apart)).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn channel(route: &Route, apart: Duration) -> Channel {
    let endpoint = Endpoint::from(route.authority())
        .http2_keep_alive_interval(apart)
        .keep_alive_timeout(KEEPALIVE_PATIENCE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .origin(route.origin());
    let route = route.clone();
    let connector = tower::service_fn(move |_| {
        let route = route.clone();
        async move { route.dial().await }
    });
    endpoint.connect_with_connector_lazy(connector)
}

/// Returns what a status means to its caller.
pub fn judged(status: &Status) -> CallError {
    let why = status.message().to_owned();
    let fenced = status.metadata().get(WORD_HEADER).is_some_and(|word| word == "fenced");
    match status.code() {
        Code::Aborted if fenced => CallError::Fenced,
        Code::Unauthenticated => CallError::Unauthenticated(why),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => CallError::Refused(why),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => CallError::Unknown(why),
    }
}
