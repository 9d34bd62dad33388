//! What is configured: the environment, the file of contexts, the `up` that runs here, and from all
//! of them the one place that a command talks to.

mod environment;
mod file;
mod target;
mod url;

pub(crate) use environment::Environment;
pub(crate) use file::{Context, File, replace};
pub(crate) use target::{Source, Target, UP, Wanted, resolve};
pub(crate) use url::{Scheme, Trust, Url};
