//! What an attempt's handles, its pump and the pusher know of each other. Nobody waits inside a lock.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocelot_core::frame::Offset;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::clock::Clock;
use tokio::sync::{Notify, oneshot};

use super::attempt_log::LogError;
use super::recent::Recent;
use super::spool::View;
use crate::attempt::{AttemptId, LogDigest, LogLoss};

/// Lines of the executor's own that may wait for the disk.
const LINES_MAX: usize = 1_000;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;

pub(super) type Sealed = (LogDigest, Option<LogLoss>);

/// A line of the executor's own.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) unix_us: u64,
    pub(super) text: String,
}

/// What the pump is asked for; it takes all of it at once.
#[derive(Debug, Default)]
pub(super) struct Orders {
    changed: bool,
    /// Nobody carries them out any more.
    gone: bool,
    pub(super) lines: VecDeque<Line>,
    pub(super) lines_left_out: u64,
    pub(super) follow: Option<PathBuf>,
    pub(super) captured: Offset,
    pub(super) follow_services: Vec<(u16, PathBuf)>,
    pub(super) services_captured: BTreeMap<u16, Offset>,
    pub(super) broken: Option<LogLoss>,
    pub(super) fenced: bool,
    pub(super) seal: Vec<oneshot::Sender<Result<Sealed, LogError>>>,
    pub(super) drop: Vec<oneshot::Sender<()>>,
    /// Nobody holds the log any more.
    pub(super) left: bool,
}

/// How far a log is, for who sends it.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) view: View,
    /// Of the spool.
    pub(super) end: Offset,
    /// Bytes before it are the same whatever happens, and may be sent.
    pub(super) fixed: Offset,
    pub(super) sealed: Option<LogDigest>,
    /// As the controller that is sent to has it; another one may have less.
    pub(super) received: Offset,
    pub(super) durable: Offset,
    /// It is to be sent again from here.
    pub(super) again: Option<Offset>,
    /// Nothing more is to be sent.
    pub(super) over: bool,
    pub(super) recent: Recent,
}

impl Standing {
    /// Returns the first byte that can be sent.
    pub(super) fn first(&self) -> Offset {
        self.view.first().unwrap_or(self.end)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: AttemptId,
    pub(super) clock: Arc<dyn Clock>,
    orders: Mutex<Orders>,
    ordered: Condvar,
    standing: Mutex<Standing>,
    /// Wakes who sends the log.
    bell: Mutex<Option<Arc<Notify>>>,
}

impl Shared {
    pub(super) fn new(id: AttemptId, clock: Arc<dyn Clock>, standing: Standing) -> Self {
        Self {
            id,
            clock,
            orders: Mutex::default(),
            ordered: Condvar::new(),
            standing: Mutex::new(standing),
            bell: Mutex::default(),
        }
    }

    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        change(&mut orders);
        orders.changed = true;
        if orders.gone {
            *orders = Orders { gone: true, ..Orders::default() };
        }
        self.ordered.notify_one();
    }

    /// Returns everything that was asked for since the last time.
    pub(super) fn take_orders(&self) -> Orders {
        std::mem::take(&mut *lock(&self.orders))
    }

    /// The thread is over: whoever waits for it, or asks from now on, is told so.
    pub(super) fn close(&self) {
        self.publish(|standing| standing.over = true);
        *lock(&self.orders) = Orders { gone: true, ..Orders::default() };
    }

    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.orders).gone
    }

    /// Waits until something is asked for, or the time is over.
    pub(super) fn wait(&self, patience: Option<Duration>) {
        let orders = lock(&self.orders);
        let idle = |orders: &mut Orders| !orders.changed;
        match patience {
            Some(patience) => {
                drop(self.ordered.wait_timeout_while(orders, patience, idle));
            }
            None => drop(self.ordered.wait_while(orders, idle)),
        }
    }

    pub(super) fn line(&self, text: &str) {
        let line = Line {
            unix_us: self.clock.wall().0,
            text: text[..text.floor_char_boundary(LINE_BYTES_MAX)].trim_end().to_owned(),
        };
        self.order(|orders| match orders.lines.len() < LINES_MAX {
            true => orders.lines.push_back(line),
            false => orders.lines_left_out += 1,
        });
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&Standing) -> T) -> T {
        at(&lock(&self.standing))
    }

    pub(super) fn received(&self) -> Offset {
        self.look(|standing| standing.received)
    }

    pub(super) fn is_over(&self) -> bool {
        self.look(|standing| standing.over)
    }

    pub(super) fn sending_again(&self) {
        self.publish(|standing| standing.again = None);
    }

    /// Changes what is known of the log, and wakes who sends it.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut lock(&self.standing));
        if let Some(bell) = &*lock(&self.bell) {
            bell.notify_one();
        }
    }

    /// Notes what a controller said of the log. Only `durable` never goes back.
    pub(super) fn safe(&self, received: Offset, durable: Offset) {
        let durable = if chaos::bug("log.frees_received") { received } else { durable };
        let mut grown = false;
        self.publish(|standing| {
            standing.received = standing.received.max(received).max(durable);
            grown = durable > standing.durable;
            standing.durable = standing.durable.max(durable);
            standing.recent.forget_before(standing.received);
        });
        if grown {
            self.order(|_| {});
        }
    }

    /// Asks for the log from here on again. What is freed was durable, so a controller that asks for
    /// it may have said so before it was; the stream finds out.
    pub(super) fn send_from(&self, from: Offset) {
        self.publish(|standing| {
            let from = from.max(standing.first());
            standing.received = standing.received.min(from);
            standing.again = Some(standing.again.map_or(from, |again| again.min(from)));
        });
    }

    pub(super) fn forget_gaps_before(&self, received: Offset) {
        self.publish(|standing| standing.again = standing.again.filter(|again| *again >= received));
    }

    /// Notes that the log ends with a loss that the controller found.
    pub(super) fn broken(&self, at: Offset, why: &str) {
        let loss = LogLoss { at, why: why.to_owned() };
        self.publish(|standing| standing.over = true);
        self.order(|orders| orders.broken = Some(loss));
    }

    pub(super) fn fenced(&self) {
        self.publish(|standing| standing.over = true);
        self.order(|orders| orders.fenced = true);
    }

    /// Wakes whoever waits for the bell when there is more to send.
    pub(super) fn ring(&self, bell: Arc<Notify>) {
        bell.notify_one();
        *lock(&self.bell) = Some(bell);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
