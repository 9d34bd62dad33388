//! A process that can be stopped and go on, as by SIGSTOP and SIGCONT: its timers run out meanwhile.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Stopped>);

#[derive(Debug, Default)]
struct Stopped {
    is_stopped: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(super) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_stopped = true;
    }

    pub(super) fn go_on(&self) {
        let waiting = {
            let mut stopped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            stopped.is_stopped = false;
            std::mem::take(&mut stopped.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn holds(&self, waker: &Waker) -> bool {
        let mut stopped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_stopped && !stopped.waiting.iter().any(|known| known.will_wake(waker)) {
            stopped.waiting.push(waker.clone());
        }
        stopped.is_stopped
    }
}

/// Runs `inside` only while the gate lets it.
pub(super) async fn through<F: Future>(gate: Arc<Gate>, inside: F) -> F::Output {
    let mut inside = pin!(inside);
    poll_fn(|context| {
        if gate.holds(context.waker()) {
            return Poll::Pending;
        }
        inside.as_mut().poll(context)
    })
    .await
}
