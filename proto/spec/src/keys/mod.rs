//! Every key of both files: the tables that checks, JSON schemas and the reference page come from.
//!
//! A key is added here first; a reader that does not use it, or uses one that is not here, is a mistake
//! that the tests find.

mod job;
mod kinds;
mod old;
mod parts;
mod task;

pub(crate) use job::{ARG, JOB, SCHEDULE};
pub(crate) use parts::{
    APPROVAL, ARTIFACT, CACHE, CHECKOUT, CONCURRENCY, NEED, NOTIFY, READY, RESOURCES, RETRY, SECRET, SERVICE,
    WHEN,
};
pub(crate) use task::{PIPELINE, STAGE, TASK, WORK};
