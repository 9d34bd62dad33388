//! What Ctrl-C does while a run is followed: it ends the following, or the run.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;

use ocelot_core::id::RunId;
use ocelot_proto::wire;
use tokio::sync::mpsc;

use super::by_id;
use crate::client::{Api, Client, Repeat};

/// Whose run it is that is followed.
#[derive(Debug)]
pub(crate) enum Interrupt<'a> {
    /// The fleet's: it goes on without whoever looks at it.
    Stops,
    /// This process's own: it ends with it. The requests to end come here.
    Cancels(&'a mut mpsc::Receiver<()>),
}

/// Waits for requests to end; none is missed while it is kept.
pub(super) enum Requests<'a> {
    Signal(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    Own { requests: &'a mut mpsc::Receiver<()>, count: u32 },
}

/// What is to be done about a request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nobody looks any more; the run goes on.
    Stop,
    /// Nobody waits any more for a run that was cancelled.
    Leave,
    /// The run is to be ended, and followed until it has.
    Cancel { force: bool },
}

impl fmt::Debug for Requests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl<'a> Interrupt<'a> {
    pub(super) fn listen(self) -> Requests<'a> {
        match self {
            Self::Stops => Requests::Signal(Box::pin(tokio::signal::ctrl_c())),
            Self::Cancels(requests) => Requests::Own { requests, count: 0 },
        }
    }
}

impl Requests<'_> {
    /// Waits for the next request. Cancel-safe.
    pub(super) async fn next(&mut self) -> Asked {
        match self {
            Self::Signal(signal) => {
                // Without a handler for it, the signal ends the process by itself.
                drop(signal.await);
                Asked::Stop
            }
            Self::Own { requests, count } => {
                if requests.recv().await.is_none() {
                    std::future::pending::<()>().await;
                }
                *count += 1;
                match *count {
                    1 => Asked::Cancel { force: false },
                    2 => Asked::Cancel { force: true },
                    _ => Asked::Leave,
                }
            }
        }
    }
}

/// Asks for the end of a run; returns what a person is told.
pub(super) async fn cancel(client: &Client, id: RunId, force: bool) -> &'static str {
    let request = wire::CancelRunRequest { run: Some(by_id(id)), force, reason: String::new() };
    let call = async |api: Api, request| api.runs().cancel_run(request).await;
    match (client.call("cancel the run", Repeat::Safe, request, call).await, force) {
        (Ok(_), false) => "cancelling; Ctrl-C once more: without waiting for its processes",
        (Ok(_), true) => "ending it at once",
        // It ended meanwhile, or its controller is gone; the following finds out which.
        (Err(_), _) => "it cannot be cancelled any more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_of_this_process_is_cancelled_then_forced_then_left() {
        let (request, mut requests) = mpsc::channel(4);
        for _ in 0..3 {
            request.try_send(()).unwrap();
        }
        let mut listening = Interrupt::Cancels(&mut requests).listen();
        assert_eq!(listening.next().await, Asked::Cancel { force: false });
        assert_eq!(listening.next().await, Asked::Cancel { force: true });
        assert_eq!(listening.next().await, Asked::Leave);
    }
}
