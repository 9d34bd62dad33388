//! Every key of both files: the tables that checks, JSON schemas and the reference page come from.
//!
//! A key is added here first. The tests demand that `every-key.yml` uses it, and show in a snapshot what
//! it does to a plan, so that a key without a reader is seen.

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
