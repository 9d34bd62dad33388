//! `ocelot.yml` and job files as code: parse, check, resolve into a plan.
//!
//! [`Pipeline::parse`] and [`Job::parse`] find every mistake of a file at once; what they return has none
//! that an event could not make. `resolve` makes a [`plan`](ocelot_core::plan), `explain` says why. All of
//! it is pure: no clock, no file, no network, and bounded time and memory whatever the bytes are.

mod check;
mod context;
mod cron;
mod explain;
mod glob;
mod job;
mod keys;
mod kind;
mod pipeline;
mod problem;
mod read;
mod reference;
mod resolve;
mod schema;
mod source;
mod table;
mod template;
mod templates;
mod value;
mod when;

pub use context::{Context, Event};
pub use explain::{Explanation, StageExplanation, TaskExplanation, Verdict};
pub use glob::{Glob, Globs};
pub use job::{Arg, CatchUp, Execution, Job, JobEvent, JobResolution, Overlap, Schedule};
pub use kind::FileKind;
pub use pipeline::{PLAN_BYTES_MAX, PLAN_TASKS_MAX, Pipeline, TASKS_MAX};
pub use problem::{PROBLEMS_MAX, Place, Problem, Problems};
pub use reference::reference_page;
pub use resolve::Resolution;
pub use schema::{job_schema, pipeline_schema};
pub use source::{FILE_BYTES_MAX, LEVELS_MAX, NODES_MAX, TEXT_BYTES_MAX};
pub use when::Fact;
