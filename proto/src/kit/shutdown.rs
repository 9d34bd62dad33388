//! The end of a program: a first request drains it, a second one or the end of the grace stops it.
//!
//! Every background task is known here. One that panics drains the whole program and makes it fail:
//! half a controller is worse than a restarted one.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// The background tasks of a program, and what they are told of its end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
    died: Arc<OnceLock<&'static str>>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything finished inside the grace.
    Drained,
    /// The grace was over with this many tasks left.
    GraceOver { left: usize },
    /// A second request came while this many tasks were left.
    Forced { left: usize },
    /// A task panicked; its name.
    TaskDied(&'static str),
}

/// Owns the end of a program.
#[derive(Debug)]
pub struct Shutdown {
    tasks: Tasks,
    grace: Duration,
}

impl Tasks {
    /// Runs `future` in the background under a span of its name, until it ends or the program stops.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        let guarded = async move {
            tokio::select! {
                () = tasks.stop.cancelled() => {}
                ended = AssertUnwindSafe(future).catch_unwind() => {
                    if ended.is_err() {
                        tasks.report_death(name);
                    }
                }
            }
        };
        drop(tokio::spawn(self.tracker.track_future(guarded.instrument(tracing::info_span!("task", name)))));
    }

    /// Runs `future` beside the tasks: what they need until their end. The drain does not wait for it;
    /// it ends when the last of them has.
    #[expect(clippy::disallowed_methods, reason = "the drain must not wait for it")]
    pub fn spawn_beside<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        let guarded = async move {
            tokio::select! {
                () = tasks.stop.cancelled() => {}
                ended = AssertUnwindSafe(future).catch_unwind() => {
                    if ended.is_err() {
                        tasks.report_death(name);
                    }
                }
            }
        };
        drop(tokio::spawn(guarded.instrument(tracing::info_span!("task", name))));
    }

    /// Waits until no new work should be taken. Cancel-safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Asks for the end of the program, as a first signal does.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    fn report_death(&self, name: &'static str) {
        tracing::error!(task = name, "background task {name} panicked; the program ends");
        self.died.get_or_init(|| name);
        self.drain.cancel();
    }
}

impl Shutdown {
    pub fn new(grace: Duration) -> Self {
        let tasks = Tasks {
            tracker: TaskTracker::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            died: Arc::new(OnceLock::new()),
        };
        Self { tasks, grace }
    }

    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Waits for the first request (or a task's death), drains, and stops what is left.
    pub async fn run(self, mut requests: mpsc::Receiver<()>) -> Ended {
        tokio::select! {
            Some(()) = requests.recv() => self.tasks.begin_drain(),
            () = self.tasks.draining() => {}
        }
        self.tasks.tracker.close();
        let ended = tokio::select! {
            biased;
            () = self.tasks.tracker.wait() => Ended::Drained,
            Some(()) = requests.recv() => Ended::Forced { left: self.tasks.tracker.len() },
            () = tokio::time::sleep(self.grace) => Ended::GraceOver { left: self.tasks.tracker.len() },
        };
        self.tasks.stop.cancel();
        self.tasks.tracker.wait().await;
        self.tasks.died.get().map_or(ended, |name| Ended::TaskDied(name))
    }
}

/// Turns SIGINT and SIGTERM into requests for [`Shutdown::run`].
#[cfg(unix)]
pub fn signals(tasks: &Tasks) -> std::io::Result<mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (requests, received) = mpsc::channel(2);
    let stop = tasks.stop.clone();
    let forward = async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = terminate.recv() => {}
                () = stop.cancelled() => return,
                else => return,
            }
            if requests.send(()).await.is_err() {
                return;
            }
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "it must outlive the drain, so it is not one of the tasks"
    )]
    drop(tokio::spawn(forward));
    Ok(received)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn shutdown() -> (Shutdown, Tasks, mpsc::Sender<()>, mpsc::Receiver<()>) {
        let shutdown = Shutdown::new(GRACE);
        let tasks = shutdown.tasks();
        let (sender, receiver) = mpsc::channel(2);
        (shutdown, tasks, sender, receiver)
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_lets_work_finish() {
        let (shutdown, tasks, request, requests) = shutdown();
        let (finished, seen) = oneshot::channel();
        let own = tasks.clone();
        tasks.spawn("worker", async move {
            own.draining().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            finished.send(()).unwrap();
        });
        request.send(()).await.unwrap();
        assert_eq!(shutdown.run(requests).await, Ended::Drained);
        assert_eq!(seen.await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_ends_a_task_that_hangs() {
        let (shutdown, tasks, request, requests) = shutdown();
        tasks.spawn("hangs", std::future::pending());
        request.send(()).await.unwrap();
        let before = tokio::time::Instant::now();
        assert_eq!(shutdown.run(requests).await, Ended::GraceOver { left: 1 });
        assert_eq!(before.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_request_stops_at_once() {
        let (shutdown, tasks, request, requests) = shutdown();
        tasks.spawn("hangs", std::future::pending());
        request.send(()).await.unwrap();
        request.send(()).await.unwrap();
        let before = tokio::time::Instant::now();
        assert_eq!(shutdown.run(requests).await, Ended::Forced { left: 1 });
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_the_background_ends_the_program_and_names_the_task() {
        let (shutdown, tasks, _request, requests) = shutdown();
        tasks.spawn("fragile", async { panic!("broken") });
        assert_eq!(shutdown.run(requests).await, Ended::TaskDied("fragile"));
    }
}
