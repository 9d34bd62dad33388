use std::collections::{BTreeMap, BTreeSet};

use super::rest::{self, Scraped};
use super::*;

/// All numbers of a text, by series as it is written.
#[derive(Debug)]
struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    /// Reads the text as strictly as the format allows.
    fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("it ends with its end");
        let (mut numbers, mut families) = (BTreeMap::new(), BTreeSet::new());
        let (mut name, mut kind, mut helped) = ("", "", "");
        for line in body.lines() {
            if let Some(told) = line.strip_prefix("# HELP ") {
                let (of, help) = told.split_once(' ').unwrap();
                assert!(help.len() > 5, "{line}");
                helped = of;
                continue;
            }
            if let Some(told) = line.strip_prefix("# TYPE ") {
                (name, kind) = told.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "{name} twice");
                assert_eq!(helped, name);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                continue;
            }
            let (series, number) = line.rsplit_once(' ').unwrap();
            let number: f64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
            let metric = series.split('{').next().unwrap();
            let suffix = metric.strip_prefix(name).unwrap_or_else(|| panic!("{line} is not of {name}"));
            let allowed: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                _ => &["_sum", "_count", "_bucket"],
            };
            assert!(allowed.contains(&suffix), "{line}");
            if let Some(labels) = series.strip_prefix(metric).filter(|labels| !labels.is_empty()) {
                let inside = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
                for label in inside.split(',') {
                    let (key, value) = label.split_once('=').unwrap();
                    assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
                    assert!(value.len() > 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
                }
            }
            assert!(kind == "gauge" || number >= 0.0, "{line}");
            assert!(numbers.insert(series.to_owned(), number).is_none(), "{series} twice");
        }
        let all = Self(numbers);
        all.check_buckets(body);
        all
    }

    /// Buckets grow, and the last holds all.
    fn check_buckets(&self, body: &str) {
        let mut before: Option<(String, f64)> = None;
        for line in body.lines().filter(|line| line.contains("_bucket{")) {
            let (series, number) = line.rsplit_once(' ').unwrap();
            let number: f64 = number.parse().unwrap();
            let (of, bound) = series.split_once("le=\"").unwrap();
            let own = format!("{of}{}", bound.split_once('"').unwrap().1);
            if let Some((last, count)) = &before
                && *last == own
            {
                assert!(number >= *count, "{line}");
            }
            before = Some((own, number));
            if bound.starts_with("+Inf") {
                let rest = bound.split_once("\"").unwrap().1.trim_start_matches(',');
                let labels = format!("{}{rest}", of.split_once('{').unwrap().1);
                let labels = labels.trim_end_matches('}').trim_end_matches(',');
                let base = of.split("_bucket").next().unwrap();
                let count = if labels.is_empty() {
                    format!("{base}_count")
                } else {
                    format!("{base}_count{{{labels}}}")
                };
                assert_eq!(self.0.get(&count), Some(&number), "{line} {count}");
            }
        }
        assert!(before.is_some());
    }

    fn of(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("{series}: {self:#?}"))
    }
}

async fn scrape(bench: &Bench) -> Numbers {
    let Scraped { status, kind, text } = rest::scrape(bench, Some(&bench.token)).await;
    assert_eq!((status, kind.as_str()), (200, crate::metrics::CONTENT_TYPE));
    Numbers::parse(&text)
}

/// Scrapes until so many runs are counted as ended: who watches one may hear of its end before.
async fn scrape_after(bench: &Bench, ended: f64) -> Numbers {
    let counted = |numbers: &Numbers| {
        let of_runs = |series: &str| series.starts_with("ocelot_run_duration_seconds_count");
        numbers.0.iter().filter(|(series, _)| of_runs(series)).map(|(_, count)| count).sum::<f64>()
    };
    let scraping = async {
        loop {
            let numbers = scrape(bench).await;
            if counted(&numbers) >= ended {
                return numbers;
            }
        }
    };
    tokio::time::timeout(NEVER, scraping).await.unwrap()
}

#[tokio::test]
async fn numbers_are_exact_after_a_known_history() {
    let bench = bench().await;
    let service = Arc::clone(&bench.started.service);
    for number in 1..=3 {
        bench.execute(number).await;
    }
    // The same once more is no other run.
    bench.execute(3).await;
    service.see_latest().await;
    let numbers = scrape(&bench).await;
    assert_eq!(numbers.of("ocelot_runs_accepted_total{trigger=\"command_line\"}"), 3.0);
    assert_eq!(numbers.of("ocelot_queue_depth{class=\"normal\"}"), 3.0);
    assert_eq!(numbers.of("ocelot_queue_depth{class=\"once\"}"), 0.0);
    assert!(numbers.of("ocelot_queue_oldest_seconds{class=\"normal\"}") < NEVER.as_secs_f64());
    assert_eq!(numbers.of("ocelot_queue_oldest_seconds{class=\"once\"}"), 0.0);
    assert_eq!(numbers.of("ocelot_executors{state=\"online\"}"), 0.0);
    assert_eq!(numbers.of("ocelot_dispatch_latency_seconds_count"), 0.0);

    let session = executor(&service, "x86-1").await;
    let attempt = take(&service, session).await;
    rest::append(&bench.started.logs, session, attempt, 0, &rest::frames()).await;
    // What is there already is not received again.
    rest::append(&bench.started.logs, session, attempt, 0, &rest::frames()).await;
    service.see_latest().await;
    rest::until(&service, |seen| seen.tasks[3] == ("running", 1)).await;
    let numbers = scrape(&bench).await;
    for (series, number) in [
        ("ocelot_tasks{state=\"running\"}", 1.0),
        ("ocelot_tasks{state=\"queued\"}", 2.0),
        ("ocelot_tasks{state=\"waiting\"}", 0.0),
        ("ocelot_queue_depth{class=\"normal\"}", 2.0),
        ("ocelot_executors{state=\"online\"}", 1.0),
        ("ocelot_executors{state=\"draining\"}", 0.0),
        ("ocelot_slots{state=\"used\"}", 1.0),
        ("ocelot_slots{state=\"free\"}", 0.0),
        ("ocelot_dispatch_latency_seconds_count", 1.0),
        ("ocelot_log_received_bytes_total", rest::frames().len() as f64),
        ("ocelot_outbox_depth", 0.0),
        ("ocelot_open_polls", 0.0),
        ("ocelot_view_unreadable_records", 0.0),
    ] {
        assert_eq!(numbers.of(series), number, "{series}");
    }

    rest::seal(&bench.started.logs, attempt, &rest::frames()).await;
    rest::complete(&bench, session, attempt).await;
    let cancel = wire::CancelRunRequest { run: text("build#3"), ..Default::default() };
    bench.runs().cancel_run(cancel).await.unwrap();
    for number in ["build#1", "build#3"] {
        let mut watch =
            bench.runs().watch_run(wire::WatchRunRequest { run: text(number) }).await.unwrap().into_inner();
        while tokio::time::timeout(NEVER, watch.message()).await.unwrap().unwrap().is_some() {}
    }
    service.metrics().hook("gitea", "accepted");
    let numbers = scrape_after(&bench, 2.0).await;
    for (series, number) in [
        ("ocelot_runs_finished_total{outcome=\"succeeded\",trigger=\"command_line\"}", 1.0),
        ("ocelot_runs_finished_total{outcome=\"cancelled\",trigger=\"command_line\"}", 1.0),
        ("ocelot_run_duration_seconds_count{outcome=\"succeeded\"}", 1.0),
        ("ocelot_tasks_finished_total{outcome=\"succeeded\"}", 1.0),
        ("ocelot_tasks_finished_total{outcome=\"cancelled\"}", 1.0),
        ("ocelot_task_duration_seconds_count{outcome=\"succeeded\"}", 1.0),
        ("ocelot_hook_deliveries_total{forge=\"gitea\",decision=\"accepted\"}", 1.0),
        ("ocelot_sessions_vanished_total", 0.0),
    ] {
        assert_eq!(numbers.of(series), number, "{series}");
    }
    assert!(!numbers.0.contains_key("ocelot_task_duration_seconds_count{outcome=\"cancelled\"}"));
    assert!(numbers.of("ocelot_store_latency_seconds_count{operation=\"commit\"}") >= 6.0);
    let version = format!("ocelot_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(numbers.of(&version), 1.0);
    assert!(numbers.of("process_resident_memory_bytes") > 1e6);
}

#[tokio::test]
async fn no_text_of_a_user_becomes_a_series() {
    let bench = bench().await;
    let put =
        |name: &str| wire::PutJobRequest { definition: JOB.replace("build", name), ..Default::default() };
    bench.execute(1).await;
    let before = scrape(&bench).await;
    for number in 2..20 {
        let name = format!("secret-job-{number}");
        bench.jobs().put_job(put(&name)).await.unwrap();
        let request = wire::ExecuteRequest { job: name, ..execution(number) };
        bench.runs().execute(request).await.unwrap();
    }
    let after = scrape(&bench).await;
    let series = |numbers: &Numbers| numbers.0.keys().filter(|key| !key.contains("store")).cloned().collect();
    let (before, after): (BTreeSet<String>, BTreeSet<String>) = (series(&before), series(&after));
    assert_eq!(before, after);
    assert!(!after.iter().any(|series| series.contains("secret")));
}

#[tokio::test]
async fn metrics_are_open_only_where_that_was_said() {
    let closed = bench().await;
    assert_eq!(rest::scrape(&closed, None).await.status, 401);
    let open = bench_with(|settings| Settings { metrics_open: true, ..settings }).await;
    let Scraped { status, text, .. } = rest::scrape(&open, None).await;
    assert_eq!(status, 200);
    Numbers::parse(&text);
}
