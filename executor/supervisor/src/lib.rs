//! The program that runs a task's stages inside its environment, and what its executor needs to
//! speak to it.
//!
//! One supervisor serves one attempt and is never used again. It is the entry point of a container
//! (PID 1 of its namespace) or, for the runtime without containers, a plain child of the executor.
//! It outlives the executor: what it runs goes on, what it reads is kept, and the next executor that
//! connects is told everything. It does not outlive its guard's deadline.
//!
//! Decisions are made in [`machine`], which does no I/O; [`run`] carries them out in one thread around
//! `poll`; a second thread, `guard`, knows nothing but the deadline; `sys` is the only room with
//! `unsafe` code. The other side uses [`birth`], [`client`],
//! [`protocol`], [`control`] and [`tail`].
//!
//! An executor makes the control directory (0700), starts the program with it, and connects. It
//! writes and syncs the `identity` file, sends `Assign`, then one `RunStage` after the other, each
//! when the one before has `Ended`, and beats all the while. It reads the capture with [`tail`], and
//! says `Taken` for what is safe in its spool. After a break it connects again and compares the
//! `State` with what it wants; sending a request twice does no harm. `Finish` ends the supervisor.
//!
//! The static program is built with stable cargo, on either architecture (`--target` keeps the flags
//! away from build scripts and macros, which cannot be static):
//!
//! ```text
//! RUSTFLAGS='-C target-feature=+crt-static' cargo build --release -p ocelot-supervisor \
//!     --bin ocelot-supervisor --target "$(rustc --print host-tuple)" \
//!     --config 'profile.release.panic="abort"' --config 'profile.release.lto="fat"' \
//!     --config 'profile.release.opt-level="s"' --config 'profile.release.codegen-units=1' \
//!     --config 'profile.release.strip=true'
//! ```

pub mod client;
pub mod control;
pub mod machine;
pub mod protocol;
pub mod tail;
pub mod wire;

#[cfg(target_os = "linux")]
mod account;
#[cfg(target_os = "linux")]
pub use account::ids;
#[cfg(target_os = "linux")]
pub mod birth;
#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
pub mod clock;
#[cfg(target_os = "linux")]
mod connections;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod oom;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
pub mod run;
#[cfg(target_os = "linux")]
mod streams;
#[cfg(target_os = "linux")]
mod sys;
