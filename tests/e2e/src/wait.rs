//! Waiting for a condition: short steps, a long limit, and the last status in the failure.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::time::Instant;

/// Long enough for a loaded machine; nothing is timed by it.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);
const RARE_STEP: Duration = Duration::from_millis(500);

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
pub async fn wait_long<T, E, Ask, Answer>(what: &str, limit: Duration, ask: Ask) -> Result<T>
where
    E: Debug,
    Ask: FnMut() -> Answer,
    Answer: Future<Output = Result<T, E>>,
{
    wait(what, (limit, STEP), ask).await
}

/// The same in long steps, where a program is started for each.
pub async fn wait_rarely<T, E, Ask, Answer>(what: &str, ask: Ask) -> Result<T>
where
    E: Debug,
    Ask: FnMut() -> Answer,
    Answer: Future<Output = Result<T, E>>,
{
    wait(what, (LIMIT, RARE_STEP), ask).await
}

/// Waits until a process stands still.
pub async fn wait_held(name: &str, pid: u32) -> Result<()> {
    wait_until(&format!("{name} to be held"), || async {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Its state follows its name, which is in brackets.
        let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
        ensure!(state == Some("T"), "it is in state {state:?}");
        Ok(())
    })
    .await
}

async fn wait<T, E, Ask, Answer>(what: &str, (limit, step): (Duration, Duration), mut ask: Ask) -> Result<T>
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
        tokio::time::sleep(step).await;
    }
}

/// Ends what is under way when it takes longer than anything ever should.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => Ok(done),
        Err(_) => bail!("waited {LIMIT:?} for {what}"),
    }
}
