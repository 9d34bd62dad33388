//! Makes trials of asynchronous functions.

use std::future::Future;

use libtest_mimic::{Failed, Trial};

/// Returns a trial that runs `test` on a runtime of its own.
pub fn trial<F, T>(name: &str, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test()).map_err(|error| Failed::from(format!("{error:?}")))
    })
}
