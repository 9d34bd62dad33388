//! What every program of ours needs once: time, backoff, shutdown, telemetry.

pub mod backoff;
pub mod chaos;
pub mod clock;
pub mod invitation;
pub mod shutdown;
pub mod telemetry;
pub mod version;
