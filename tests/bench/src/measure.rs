//! Rounds in turns, and what is said of them.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// How much a row may take.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    /// Of executors or tasks, where a row has a number of them.
    pub(crate) count: Option<usize>,
    pub(crate) directory: PathBuf,
}

/// One round: how many per second, and how long each took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    pub(crate) rate: f64,
    pub(crate) latencies_ms: Vec<f64>,
}

/// What a row came to. Rates are the median of the rounds, latencies are of all rounds of ours.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    unit: &'static str,
    ours: f64,
    baseline: f64,
    ratio: f64,
    p50_ms: f64,
    p99_ms: f64,
    baseline_p50_ms: f64,
    baseline_p99_ms: f64,
    runs: usize,
    note: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct NamedFigure<'a> {
    row: &'a str,
    #[serde(flatten)]
    figure: &'a Figure,
}

impl Figure {
    pub(crate) const HEADING: &'static str = "row                          unit       ours  baseline  ratio   p50 ms  p99 ms   (baseline)       runs  note";

    /// Makes a figure of rounds, ours and those of what it is measured beside.
    pub(crate) fn beside(
        unit: &'static str,
        ours: Vec<Round>,
        baseline_name: &str,
        baseline: Vec<Round>,
    ) -> Self {
        let runs = ours.len();
        let (our_rate, our_latencies) = combine(ours);
        let (baseline_rate, baseline_latencies) = combine(baseline);
        Self {
            unit,
            ours: our_rate,
            baseline: baseline_rate,
            ratio: our_rate / baseline_rate,
            p50_ms: percentile(&our_latencies, 0.50),
            p99_ms: percentile(&our_latencies, 0.99),
            baseline_p50_ms: percentile(&baseline_latencies, 0.50),
            baseline_p99_ms: percentile(&baseline_latencies, 0.99),
            runs,
            note: format!("baseline: {baseline_name}; load {}", load()),
        }
    }

    pub(crate) fn named<'a>(&'a self, row: &'a str) -> NamedFigure<'a> {
        NamedFigure { row, figure: self }
    }

    pub(crate) fn line(&self, row: &str) -> String {
        let Self {
            unit,
            ours,
            baseline,
            ratio,
            p50_ms,
            p99_ms,
            baseline_p50_ms,
            baseline_p99_ms,
            runs,
            note,
        } = self;
        format!(
            "{row:<28} {unit:<6} {ours:>8.0}  {baseline:>8.0}  {ratio:>5.2}  {p50_ms:>7.3} {p99_ms:>7.3}  \
             ({baseline_p50_ms:.3} {baseline_p99_ms:.3})  {runs:>5}  {note}"
        )
    }
}

/// Measures ours and the baseline in turns: ours, baseline, ours, baseline.
pub(crate) async fn in_turns<O, B, OF, BF>(
    effort: &Effort,
    unit: &'static str,
    baseline_name: &str,
    mut ours: O,
    mut baseline: B,
) -> anyhow::Result<Figure>
where
    O: FnMut() -> OF,
    B: FnMut() -> BF,
    OF: Future<Output = anyhow::Result<Round>>,
    BF: Future<Output = anyhow::Result<Round>>,
{
    let (mut our_rounds, mut baseline_rounds) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        our_rounds.push(ours().await?);
        baseline_rounds.push(baseline().await?);
    }
    Ok(Figure::beside(unit, our_rounds, baseline_name, baseline_rounds))
}

fn combine(rounds: Vec<Round>) -> (f64, Vec<f64>) {
    let mut rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
    rates.sort_by(f64::total_cmp);
    let mut latencies: Vec<f64> = rounds.into_iter().flat_map(|round| round.latencies_ms).collect();
    latencies.sort_by(f64::total_cmp);
    (percentile(&rates, 0.5), latencies)
}

/// Returns the value at the fraction `at` of sorted values.
pub(crate) fn percentile(sorted: &[f64], at: f64) -> f64 {
    let index = (sorted.len() as f64 * at) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Returns the machine's load averages: who else was busy meanwhile.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (51.0, 100.0));
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[tokio::test]
    async fn rates_are_the_median_of_rounds_taken_in_turns() {
        let effort = Effort { rounds: 3, round: Duration::ZERO, count: None, directory: PathBuf::new() };
        let order = std::cell::RefCell::new(Vec::new());
        let round = |name, rate| {
            order.borrow_mut().push(name);
            std::future::ready(Ok(Round { rate, latencies_ms: vec![1.0] }))
        };
        let mut rates = [1.0, 30.0, 20.0].into_iter();
        let figure = in_turns(
            &effort,
            "x/s",
            "none",
            || round("ours", rates.next().unwrap()),
            || round("baseline", 10.0),
        );
        let figure = figure.await.unwrap();
        assert_eq!((figure.ours, figure.baseline, figure.ratio), (20.0, 10.0, 2.0));
        assert_eq!(order.into_inner(), ["ours", "baseline"].repeat(3));
    }
}
