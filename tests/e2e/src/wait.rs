//! Waiting for a condition: short steps, a long limit, and the last status in the failure.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Long enough for a loaded machine; nothing is timed by it.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

/// Asks again and again until `ask` is `Ok`; its error is the status that a failure shows.
pub async fn wait_until<T, E, Ask, Answer>(what: &str, ask: Ask) -> Result<T>
where
    E: Debug,
    Ask: FnMut() -> Answer,
    Answer: Future<Output = Result<T, E>>,
{
    wait_long(what, LIMIT, ask).await
}

/// The same with a limit of its own, for what takes its time by design.
pub async fn wait_long<T, E, Ask, Answer>(what: &str, limit: Duration, mut ask: Ask) -> Result<T>
where
    E: Debug,
    Ask: FnMut() -> Answer,
    Answer: Future<Output = Result<T, E>>,
{
    let until = Instant::now() + limit;
    let mut status = "no answer at all".to_owned();
    loop {
        match tokio::time::timeout_at(until, ask()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(answer)) => status = format!("{answer:?}"),
            // What was said before says more.
            Err(_) => {}
        }
        if Instant::now() >= until {
            bail!("waited {limit:?} for {what}; last seen: {status}");
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Ends what is under way when it takes longer than anything ever should.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => Ok(done),
        Err(_) => bail!("waited {LIMIT:?} for {what}"),
    }
}
