//! What every program of ours needs once: time, backoff, shutdown, telemetry, words for ends.

pub mod backoff;
pub mod chaos;
pub mod clock;
pub mod doctor;
pub mod invitation;
pub mod shutdown;
pub mod telemetry;
pub mod version;
pub mod words;
