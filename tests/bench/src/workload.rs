//! The store's typical load: each writer takes a record of its own, checks that it is as it left it,
//! and puts it and a second key, 200 bytes each.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::Instant;

use ocelot_controller::store::{Expected, Revision, Store, Txn, Verdict};

use crate::measure::Round;

pub(crate) const VALUE_BYTES: usize = 200;
/// Records that each writer goes round.
pub(crate) const RECORDS: usize = 200;

/// One transaction of the load.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) record: String,
    pub(crate) second: String,
    /// What the last transaction of this record was answered; none if there was none.
    pub(crate) last: Option<i64>,
    pub(crate) value: Vec<u8>,
}

/// What the load is put on.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// Carries out the transaction durably and returns its mark, to be compared the next time.
    async fn write(&self, write: Write) -> anyhow::Result<i64>;
}

/// Any home of the store.
pub(crate) struct StoreTarget(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Target for StoreTarget {
    async fn write(&self, write: Write) -> anyhow::Result<i64> {
        let Write { record, second, last, value } = write;
        let expected = last.map_or(Expected::Absent, |revision| Expected::At(Revision(revision)));
        let txn = Txn::new().when(record.as_str(), expected).put(record, value.clone()).put(second, value);
        match self.0.commit(txn).await? {
            Verdict::Committed(revision) => Ok(revision.0),
            Verdict::Refused { found } => anyhow::bail!("refused: {found:?}"),
        }
    }
}

/// The writers, with what each knows of its records, so that rounds go on where the last one ended.
#[derive(Debug)]
pub(crate) struct Writers {
    marks: Vec<Vec<Option<i64>>>,
}

impl Writers {
    pub(crate) fn new(count: usize) -> Self {
        Self { marks: vec![vec![None; RECORDS]; count] }
    }

    /// Writes every record once, so that all rounds meet the same number of keys.
    pub(crate) async fn fill(&mut self, target: &Arc<dyn Target>) -> anyhow::Result<()> {
        self.each(target, Stop::After(RECORDS)).await.map(drop)
    }

    pub(crate) async fn round(&mut self, target: &Arc<dyn Target>, time: Duration) -> anyhow::Result<Round> {
        self.each(target, Stop::At(Instant::now() + time)).await
    }

    async fn each(&mut self, target: &Arc<dyn Target>, stop: Stop) -> anyhow::Result<Round> {
        let start = Instant::now();
        let mut running = JoinSet::new();
        for (writer, marks) in self.marks.iter_mut().enumerate() {
            running.spawn(write(Arc::clone(target), writer, std::mem::take(marks), stop));
        }
        let mut latencies_ms = Vec::new();
        while let Some(done) = running.join_next().await {
            let (writer, marks, mut latencies) = done??;
            self.marks[writer] = marks;
            latencies_ms.append(&mut latencies);
        }
        let rate = latencies_ms.len() as f64 / start.elapsed().as_secs_f64();
        Ok(Round { rate, latencies_ms })
    }
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    After(usize),
    At(Instant),
}

async fn write(
    target: Arc<dyn Target>,
    writer: usize,
    mut marks: Vec<Option<i64>>,
    stop: Stop,
) -> anyhow::Result<(usize, Vec<Option<i64>>, Vec<f64>)> {
    let mut latencies = Vec::new();
    loop {
        let turn = latencies.len();
        let over = match stop {
            Stop::After(count) => turn >= count,
            Stop::At(end) => Instant::now() >= end,
        };
        if over {
            return Ok((writer, marks, latencies));
        }
        // A step that visits all records in an order unlike that of the keys.
        let record = turn * 77 % RECORDS;
        let write = Write {
            record: format!("/ocelot/v1/tasks/01890a5d-ac96-774b-bcce-{writer:06x}{record:06x}"),
            second: format!("/ocelot/v1/runs/01890a5d-ac96-774b-bcce-{writer:06x}{record:06x}"),
            last: marks[record],
            value: vec![turn as u8; VALUE_BYTES],
        };
        let before = Instant::now();
        marks[record] = Some(target.write(write).await?);
        latencies.push(before.elapsed().as_secs_f64() * 1000.0);
    }
}
