//! Sending deliveries to controllers that are killed meanwhile, and again what was not answered.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt as _};
use ocelot_e2e::fleet::{Fleet, Program};
use ocelot_e2e::http::{Answer, post};
use ocelot_e2e::wait::{wait_long, wait_until};
use serde_json::Value;
use tokio::time::Instant;

use super::pushes::Delivery;
use crate::long::{Chance, percentile};

/// So many deliveries are under way at a time.
const AT_ONCE: usize = 16;

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The runs that were named for each push, by its place.
    pub(super) runs: BTreeMap<usize, BTreeSet<String>>,
    /// How often a push was said to be news.
    pub(super) news: BTreeMap<usize, usize>,
    /// Milliseconds to each answer.
    pub(super) took: Vec<f64>,
    /// Tries that were not answered, or answered with *come again*.
    pub(super) repeats: usize,
    pub(super) kills: Vec<String>,
}

impl Answers {
    pub(super) fn times(&self) -> String {
        let at = |fraction| percentile(&mut self.took.clone(), fraction);
        format!("p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms", at(0.5), at(0.99), at(1.0))
    }
}

struct Sending<'a> {
    ports: Vec<u16>,
    chance: RefCell<Chance>,
    answers: RefCell<Answers>,
    answered: Cell<usize>,
    deliveries: &'a [Delivery],
}

/// Sends all deliveries in their order, and kills so many controllers on the way.
pub(super) async fn send(
    fleet: &mut Fleet,
    deliveries: &[Delivery],
    kills: usize,
    seed: u64,
) -> Result<Answers> {
    let ports = (0..fleet.controllers.len()).map(|one| fleet.port(one)).collect();
    let sending = Sending {
        ports,
        chance: RefCell::new(Chance(seed)),
        answers: RefCell::default(),
        answered: Cell::new(0),
        deliveries,
    };
    tokio::try_join!(sending.work(), sending.kill(&mut fleet.controllers, kills, Chance(!seed)))?;
    fleet.ready().await?;
    Ok(sending.answers.into_inner())
}

impl Sending<'_> {
    async fn work(&self) -> Result<()> {
        let mut sent =
            stream::iter(self.deliveries).map(|delivery| self.send(delivery)).buffer_unordered(AT_ONCE);
        while let Some(sent) = sent.next().await {
            sent?;
        }
        Ok(())
    }

    /// Sends a delivery until it is answered, as whoever looks after the forge's webhook would.
    async fn send(&self, delivery: &Delivery) -> Result<()> {
        let (answer, took) = wait_until("an answer to a delivery", || async {
            let port = self.ports[self.chance.borrow_mut().below(self.ports.len())];
            let began = Instant::now();
            let answer = answered(port, delivery).await;
            if answer.is_err() {
                self.answers.borrow_mut().repeats += 1;
            }
            answer.map(|answer| (answer, began.elapsed()))
        })
        .await?;
        let (run, existed) = accepted(&answer)?;
        let mut answers = self.answers.borrow_mut();
        answers.runs.entry(delivery.push).or_default().insert(run);
        *answers.news.entry(delivery.push).or_default() += usize::from(!existed);
        answers.took.push(took.as_secs_f64() * 1e3);
        self.answered.set(self.answered.get() + 1);
        Ok(())
    }

    /// Kills a controller at even distances, and starts it again when the other has taken some more.
    async fn kill(&self, controllers: &mut [Program], kills: usize, mut chance: Chance) -> Result<()> {
        let all = self.deliveries.len();
        for kill in 1..=kills {
            let at = all * kill / (kills + 1);
            self.reached(at).await?;
            let victim = chance.below(controllers.len());
            controllers[victim].kill()?;
            let line = format!("controller {victim} after {} answers", self.answered.get());
            self.answers.borrow_mut().kills.push(line);
            self.reached(at + all / 20).await?;
            controllers[victim].start()?;
        }
        Ok(())
    }

    async fn reached(&self, count: usize) -> Result<()> {
        wait_long("more answers", patience(self.deliveries.len()), || async {
            let now = self.answered.get();
            ensure!(now >= count, "{now} of {count}");
            Ok(())
        })
        .await
    }
}

pub(super) async fn deliver(port: u16, delivery: &Delivery) -> Result<Answer> {
    post(port, &delivery.path, &delivery.headers, &delivery.body).await
}

/// The same for who sends again until it is decided whether the delivery is taken.
pub(super) async fn answered(port: u16, delivery: &Delivery) -> Result<Answer> {
    let answer = deliver(port, delivery).await?;
    ensure!(!matches!(answer.status, 408 | 503), "{answer:?}");
    Ok(answer)
}

/// Reads the answer to a delivery that was taken: its run, and whether that was there before.
pub(super) fn accepted(answer: &Answer) -> Result<(String, bool)> {
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 202, "it was answered {}: {text}", answer.status);
    let body: Value = serde_json::from_slice(&answer.body)?;
    let run = body["run"].as_str().with_context(|| format!("no run in {text}"))?;
    Ok((run.to_owned(), body["existed"].as_bool().with_context(|| format!("not said whether: {text}"))?))
}

/// How long everything may take that so many deliveries bring about.
pub(super) fn patience(deliveries: usize) -> Duration {
    Duration::from_secs(120) + Duration::from_secs(1) * deliveries as u32
}
