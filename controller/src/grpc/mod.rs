//! The gRPC services: messages in and out, and nothing decided.
//!
//! Who is calling comes from the [`Caller`] that the door left with the request, never from a
//! message. A rule belongs into `service`; what is here checks shapes and translates.

mod admin;
mod artifact;
mod client;
mod convert;
pub mod executor;
mod job;
mod log;
mod object;
mod peers;
mod phases;
mod pick;
mod project;
mod schedule;
mod secret;

use std::pin::Pin;

use futures_util::Stream;
use ocelot_domain::outcome::Actor;
use tonic::{Request, Status};

use crate::auth::{Caller, Identity};
use crate::error::{Error, Kind};

pub use admin::{Admin, Directory};
pub use artifact::Artifacts;
pub use client::Client;
pub use job::Jobs;
pub use log::LogReaders;
pub use peers::{OwnToken, Peers, look};
pub use project::Projects;
pub use schedule::Schedules;
pub use secret::Secrets;

/// An answer that goes on.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Returns the person or script that a call acts as; nobody else may make it.
fn person<T>(request: &Request<T>) -> Result<Actor, Status> {
    match caller(request)?.identity {
        Identity::Person { person, .. } => Ok(Actor(person)),
        Identity::Executor { .. } | Identity::Controller { .. } => Err(forbidden()),
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Error::new(Kind::Internal, "a call came in past the door").into())
}

fn forbidden() -> Status {
    Error::new(Kind::Forbidden, "this call needs an API token").into()
}

/// Returns the status of a request that can never be right.
fn invalid(why: impl Into<String>) -> Status {
    Error::new(Kind::Invalid, why).into()
}
