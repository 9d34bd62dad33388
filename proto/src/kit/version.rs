//! The version that our programs say they are.

/// A build with failpoints says so.
pub const VERSION: &str = if cfg!(feature = "chaos") {
    concat!(env!("CARGO_PKG_VERSION"), "+chaos")
} else {
    env!("CARGO_PKG_VERSION")
};
