//! The page of all metrics, made of what is registered.
//!
//! After a change write it anew with `OCELOT_BLESS=1 cargo test -p ocelot-controller`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use ocelot_proto::kit::clock::SystemClock;

use crate::store::{Error, Store};

use super::*;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");

const HEAD: &str = "# Metrics

Made by a test out of what is registered; not written by hand.

`GET /metrics` gives the numbers of one controller in the text format of OpenMetrics, which Prometheus reads. It
needs an API token, as every other address does:

```yaml
scrape_configs:
  - job_name: ocelot
    authorization:
      credentials_file: /etc/prometheus/ocelot-token
    static_configs:
      - targets: [controller-1:7070, controller-2:7070]
```

`ocelot-controller start --metrics-open` lets whoever reaches the listener read them without one. A listener on
loopback is no exception: a proxy may stand in front of it.

What happens is counted by the controller that committed it: add up the counters and histograms of all of them.
How much there is of everything each controller tells of the whole fleet: take the largest, not the sum. Where
that is different, it is said. No label holds a text of a user, an id or a branch, so there are never more series
than the words below; there are no numbers per project, `ocelot runs` and the REST API have those.
";

#[derive(Debug)]
struct Fixed;

impl Sight for Fixed {
    fn look(&self) -> Seen {
        let queued = Queued { class: "normal", tasks: 1, oldest: Duration::from_secs(1) };
        Seen { queued: vec![queued], executors: vec![("online", 1)], ..Seen::default() }
    }
}

/// Returns everything that there can be, each once.
fn everything() -> String {
    let (metrics, store) = (Metrics::default(), StoreMetrics::default());
    metrics.run_accepted("rest");
    metrics.run_ended("succeeded", "rest", Duration::from_secs(1));
    metrics.task_ended("succeeded", Some(Duration::from_secs(1)));
    metrics.dispatched(Duration::from_secs(1));
    metrics.attempt_lost("missing");
    metrics.hook("github", "accepted");
    store.note::<()>("commit", Duration::from_secs(1), &Err(Error::LeaseGone));
    Exposition::new(&metrics, &store, Fixed, Arc::new(SystemClock)).text().unwrap()
}

#[test]
fn the_page_of_metrics_is_what_is_registered() {
    let text = everything();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut named = Vec::new();
    let mut help = "";
    let mut of = "";
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ').unwrap().1;
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').unwrap();
            of = name;
            named.push((name, kind, help));
        } else if let Some((_, inside)) = line.split_once('{') {
            let names = inside.split(',').filter_map(|label| label.split_once("=\"")).map(|(name, _)| name);
            labels.entry(of).or_default().extend(names.filter(|name| *name != "le"));
        }
    }
    named.sort_unstable();
    let mut made = format!("{HEAD}\n| Name | Kind | Labels | What it is |\n|---|---|---|---|\n");
    for (name, kind, help) in named {
        let shown = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let labels: Vec<_> =
            labels.get(name).into_iter().flatten().map(|label| format!("`{label}`")).collect();
        writeln!(made, "| `{shown}` | {kind} | {} | {help} |", labels.join(" ")).unwrap();
    }
    if std::env::vars().any(|(name, _)| name == "OCELOT_BLESS") {
        std::fs::write(PATH, &made).unwrap();
    }
    let kept = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(kept == made, "docs/reference/metrics.md is not what is registered: run with OCELOT_BLESS=1");
}

#[tokio::test]
async fn calls_of_the_store_are_timed_and_their_errors_counted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = crate::store::embedded::Settings::new(directory.path());
    let inner = Arc::new(crate::store::embedded::EmbeddedStore::open(settings).unwrap());
    let counted = StoreMetrics::default();
    let store = Metered::new(inner, counted.clone(), Arc::new(SystemClock));
    store.health().await.unwrap();
    store.health().await.unwrap();
    let gone = store.keep_alive(crate::store::LeaseId(7)).await.unwrap_err();
    assert!(matches!(gone, Error::LeaseGone), "{gone:?}");
    let text = Exposition::new(&Metrics::default(), &counted, Fixed, Arc::new(SystemClock)).text().unwrap();
    for line in [
        "ocelot_store_latency_seconds_count{operation=\"health\"} 2",
        "ocelot_store_latency_seconds_count{operation=\"keep_alive\"} 1",
        "ocelot_store_errors_total{operation=\"keep_alive\",error=\"lease_gone\"} 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}
