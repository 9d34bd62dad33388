//! The numbers as Prometheus reads them, in the text format of OpenMetrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::store::StoreMetrics;
use super::{Metrics, process};

/// The kind of text that [`Exposition::text`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Looks at how much there is of everything.
pub trait Sight: fmt::Debug + Send + Sync + 'static {
    /// Is asked at each reading, so it must be cheap.
    fn look(&self) -> Seen;
}

/// How much there is of everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    pub queued: Vec<Queued>,
    /// Tasks that have not ended, by state.
    pub tasks: [(&'static str, usize); 4],
    /// By state.
    pub executors: Vec<(&'static str, usize)>,
    pub slots: [(&'static str, usize); 2],
    pub open_polls: usize,
    /// Words that somebody outside is owed.
    pub outbox: usize,
    /// Of the store, as this controller has them in memory.
    pub records: usize,
    /// Those of them that it cannot read.
    pub unreadable: usize,
    /// Since the start.
    pub log_bytes: u64,
}

/// The queue of one class of tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub class: &'static str,
    pub tasks: usize,
    /// How long the oldest has waited.
    pub oldest: Duration,
}

/// Everything that is told.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    pub fn new(metrics: &Metrics, store: &StoreMetrics, sight: impl Sight, clock: Arc<dyn Clock>) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        store.register(&mut registry);
        registry.register_collector(Box::new(Now(sight)));
        let program = Program { started: clock.monotonic(), started_us: clock.wall().0, clock };
        registry.register_collector(Box::new(program));
        Self { registry }
    }

    /// Returns all numbers as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut written = String::new();
        text::encode(&mut written, &self.registry)?;
        Ok(written)
    }
}

/// What is looked at, at each reading.
#[derive(Debug)]
struct Now<S>(S);

impl<S: Sight> Collector for Now<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.0.look();
        let mut told = Told(encoder);
        let depth = seen.queued.iter().map(|queued| (queued.class, queued.tasks as f64));
        told.family("ocelot_queue_depth", "Tasks that wait for an executor", "class", depth)?;
        let ages = seen.queued.iter().map(|queued| (queued.class, queued.oldest.as_secs_f64()));
        let help = "How long the oldest of them has waited; 0 where there is none";
        told.family("ocelot_queue_oldest_seconds", help, "class", ages)?;
        let tasks = seen.tasks.iter().map(|(state, tasks)| (*state, *tasks as f64));
        told.family("ocelot_tasks", "Tasks that have not ended", "state", tasks)?;
        let executors = seen.executors.iter().map(|(state, executors)| (*state, *executors as f64));
        told.family("ocelot_executors", "Registered executors", "state", executors)?;
        let slots = seen.slots.iter().map(|(state, slots)| (*state, *slots as f64));
        let help = "Slots of executors: those that hold an attempt, and the others of those that take work";
        told.family("ocelot_slots", help, "state", slots)?;
        let help = "Polls of executors that hang at this controller";
        told.gauge("ocelot_open_polls", help, seen.open_polls as f64)?;
        let help = "Words that somebody outside is owed; 10000 is that many or more";
        told.gauge("ocelot_outbox_depth", help, seen.outbox as f64)?;
        told.gauge("ocelot_view_records", "Records that are held in memory", seen.records as f64)?;
        let help = "Records that cannot be read: each is an alarm";
        told.gauge("ocelot_view_unreadable_records", help, seen.unreadable as f64)?;
        let help = "New bytes of logs that executors sent to this controller";
        told.counter("ocelot_log_received_bytes", help, seen.log_bytes as f64)
    }
}

/// The program itself.
#[derive(Debug)]
struct Program {
    started: Instant,
    started_us: u64,
    clock: Arc<dyn Clock>,
}

impl Collector for Program {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut told = Told(encoder);
        let version = [(env!("CARGO_PKG_VERSION"), 1.0)];
        told.family("ocelot_build_info", "Always 1; the program's version", "version", version)?;
        let uptime = self.clock.monotonic().saturating_duration_since(self.started);
        told.gauge("ocelot_uptime_seconds", "Since the program started", uptime.as_secs_f64())?;
        let help = "When the program started, in seconds since 1970";
        told.gauge("process_start_time_seconds", help, self.started_us as f64 / 1e6)?;
        let used = process::used();
        if let Some(seconds) = used.cpu_seconds {
            told.counter("process_cpu_seconds", "Time on a processor, the kernel's included", seconds)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Memory that is not swapped out", used.resident_bytes),
            ("process_open_fds", "Open file descriptors", used.open_files),
            ("process_max_fds", "The most file descriptors that may be open", used.open_files_max),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                told.gauge(name, help, value as f64)?;
            }
        }
        Ok(())
    }
}

/// Writes single numbers.
struct Told<'a>(DescriptorEncoder<'a>);

impl Told<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, f64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, number) in values {
            ConstGauge::new(number).encode(encoder.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}
