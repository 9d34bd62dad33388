//! The world around the code: controllers, machines, the network between them, and what struck them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use ocelot_controller::service::{self, Service};

use super::controllers::Place;
use super::dice::Dice;
use super::door::Weather;
use super::faults::Reach;
use super::laws::Laws;
use super::logs::LogHome;
use super::machine::Machine;
use super::store::ModelStore;
use super::{Bug, Planted};

pub(super) const CONTROLLERS: usize = 3;
pub(super) const MACHINES: usize = 4;

#[derive(Debug)]
pub(super) struct World {
    pub laws: Arc<Laws>,
    pub store: Arc<ModelStore>,
    pub weather: Arc<Weather>,
    pub struck: Arc<Struck>,
    pub controllers: Vec<Place>,
    pub machines: Vec<Machine>,
    pub logs: Arc<LogHome>,
    pub net: Net,
    pub bug: Option<Bug>,
    pub(super) reach: Reach,
}

/// How often each fault struck.
#[derive(Debug, Default)]
pub(super) struct Struck(Mutex<BTreeMap<&'static str, u64>>);

impl Struck {
    pub(super) fn add(&self, fault: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    pub(super) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The network between callers and controllers. A caller is a machine, or a client after the last.
#[derive(Debug)]
pub(super) struct Net {
    dice: Dice,
    /// In a thousand messages, so many get lost; half as many come twice.
    pub loss: AtomicU64,
    pub slow: AtomicU64,
    /// Ways that nothing passes: from a caller to a controller, or back.
    pub cuts: Mutex<BTreeSet<(usize, usize, Way)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    There,
    Back,
}

impl Net {
    fn passes(&self, caller: usize, controller: usize, way: Way) -> bool {
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        !cuts.contains(&(caller, controller, way)) && !self.dice.hits(self.loss.load(Ordering::Relaxed))
    }

    fn latency(&self) -> Duration {
        if self.dice.hits(self.slow.load(Ordering::Relaxed)) {
            return self.dice.ms(100, 4_000);
        }
        self.dice.ms(0, 5)
    }

    fn comes_twice(&self) -> bool {
        self.dice.hits(self.loss.load(Ordering::Relaxed) / 2)
    }
}

impl World {
    pub(super) fn new(seed: u64, planted: &Planted, with_history: bool) -> Arc<Self> {
        let logs = Arc::new(LogHome::new(planted.bug));
        let laws = Arc::new(Laws::new(with_history, Arc::clone(&logs)));
        let bug = planted.bug;
        Arc::new(Self {
            store: ModelStore::new(seed, Arc::clone(&laws)),
            weather: Arc::new(Weather {
                left_out: planted.left_out.clone(),
                names: planted.names,
                bug,
                ..Weather::default()
            }),
            struck: Arc::default(),
            controllers: (0..CONTROLLERS).map(|index| Place::new(seed, index, bug)).collect(),
            machines: (0..MACHINES).map(|index| Machine::new(seed, index)).collect(),
            logs,
            net: Net {
                dice: Dice::new(seed, "network"),
                loss: AtomicU64::new(0),
                slow: AtomicU64::new(0),
                cuts: Mutex::default(),
            },
            bug,
            reach: Reach::of(seed),
            laws,
        })
    }

    /// Calls a controller over the network. None: no answer came, and it may have happened.
    pub(super) async fn call<T, F>(
        self: &Arc<Self>,
        (caller, controller): (usize, usize),
        deadline: Duration,
        serve: impl Fn(Arc<Service>) -> F + Send + Sync + 'static,
    ) -> Option<service::Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = service::Result<T>> + Send + 'static,
    {
        let (answer, heard) = oneshot::channel();
        let mut answer = Some(answer);
        let serve = Arc::new(serve);
        let copies = if self.net.comes_twice() { 2 } else { 1 };
        for copy in 0..copies {
            let passes = self.net.passes(caller, controller, Way::There);
            let latency = self.net.latency();
            let (world, serve, answer) = (Arc::clone(self), Arc::clone(&serve), answer.take());
            if copy > 0 {
                self.struck.add("messages doubled");
            }
            if !passes {
                self.struck.add("requests lost");
                // Held, so that the caller waits in vain.
                super::detached(async move {
                    tokio::time::sleep(deadline).await;
                    drop(answer);
                });
                continue;
            }
            super::detached(async move {
                tokio::time::sleep(latency).await;
                let inside = Arc::clone(&world);
                let call = move |service| {
                    let done = serve(service);
                    async move {
                        let done = done.await;
                        inside.answer((caller, controller), done, answer);
                    }
                    .boxed()
                };
                world.controllers[controller].serve(&world, call);
            });
        }
        match tokio::time::timeout(deadline, heard).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn answer<T: Send + 'static>(
        self: &Arc<Self>,
        (caller, controller): (usize, usize),
        done: service::Result<T>,
        answer: Option<oneshot::Sender<service::Result<T>>>,
    ) {
        let Some(answer) = answer else { return };
        let latency = self.net.latency();
        if !self.net.passes(caller, controller, Way::Back) {
            self.struck.add("answers lost");
            super::detached(async move {
                tokio::time::sleep(Duration::from_secs(60)).await;
                drop(answer);
            });
            return;
        }
        super::detached(async move {
            tokio::time::sleep(latency).await;
            answer.send(done).ok();
        });
    }
}
