//! The one place where the `git` program is run: mirrors, what a commit holds, checkouts.
//!
//! What a user or a repository names is hostile. It reaches git only as a type that was checked
//! ([`RepositoryUrl`], [`Reference`], [`CommitId`]), behind `--end-of-options`, in an environment of
//! our own making, with no hook, no helper, no terminal, a deadline and a bounded output. A credential
//! never stands in an argument, a URL or a configuration. Nothing here runs in the background: a
//! dropped future kills the git it was waiting for, with all its children.

mod cause;
mod checkout;
mod command;
mod credentials;
mod error;
mod fixed;
mod guard;
mod mirror;
mod reference;
mod remote;
mod setup;
#[cfg(feature = "test-util")]
pub mod testing;
mod url;
mod version;

pub use cause::Cause;
pub use checkout::{Checked, CheckoutPlan, Owner, Submodules};
pub use command::Git;
pub use credentials::{Credentials, CredentialsError};
pub use error::GitError;
pub use guard::{Guard, Refusal};
pub use mirror::{Commit, Contents, Mirror, Want};
pub use reference::{CommitId, Kind, NameError, PullStyle, Reference};
pub use remote::Advertised;
pub use setup::{Account, Setup};
pub use url::{Allowed, AllowedScheme, RepositoryUrl, Scheme, UrlError};
pub use version::{Floor, Version};
