//! Imports point one way: main, then app, then grpc, http and reconcile, then service, then store
//! and waiters, then domain. A lower module never names a higher one.

use crate::tree::files;

/// Modules of `controller/src`, the highest first; those of one row may not name each other.
const CONTROLLER: &[&[&str]] = &[
    &["main"],
    &["app"],
    &["grpc", "http", "hooks", "reconcile"],
    &["api_error", "shown"],
    &["service"],
    &["auth", "forge", "waiters", "metrics", "seal"],
    &["store", "history", "bytes", "config", "egress", "timetable"],
];

/// A vendor's crate, and the only places that may name it.
const VENDORS: &[(&str, &[&str])] = &[
    ("etcd_client", &["controller/src/store/etcd"]),
    ("rusqlite", &["controller/src/store/embedded"]),
    ("croner", &["controller/src/timetable/"]),
    ("bollard", &["executor/src/runtime/docker"]),
    ("prometheus_client", &["controller/src/metrics/"]),
    ("serde_yaml", &["proto/spec/src/", "controller/src/config/", "executor/src/config/", "cli/src/"]),
];

/// Benchmarks measure a vendor's crate bare, and the integration program asks the real part itself.
const BARE: &str = "tests/";

#[test]
fn a_lower_module_never_names_a_higher_one() {
    let mut wrong = Vec::new();
    for source in files(".rs") {
        let Some(inside) = source.path.strip_prefix("controller/src/") else { continue };
        // A test of one layer may run with the others in place.
        if inside.contains("/tests/") {
            continue;
        }
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        let Some(row) = CONTROLLER.iter().position(|row| row.contains(&module)) else { continue };
        for (number, line) in source.code() {
            let Some(named) = line.split("crate::").nth(1) else { continue };
            let named = named.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
            let Some(other) =
                CONTROLLER.iter().position(|row| named.is_some_and(|named| row.contains(&named)))
            else {
                continue;
            };
            if other < row || (other == row && named != Some(module)) {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports point downwards only ({CONTROLLER:?}): {wrong:#?}");
}

#[test]
fn a_vendors_crate_is_named_in_one_place() {
    let mut wrong = Vec::new();
    for source in files(".rs") {
        for (vendor, homes) in VENDORS {
            let names = source.code().any(|(_, line)| line.contains(&format!("{vendor}::")));
            if names
                && !homes.iter().any(|home| source.path.starts_with(home))
                && !source.path.starts_with(BARE)
            {
                wrong.push(format!("{}: {vendor} belongs to {homes:?}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wire_code_is_chosen_in_one_place() {
    let wrong: Vec<_> = files(".rs")
        .into_iter()
        .filter(|source| {
            source.path.starts_with("controller/src/service/")
                || source.path.starts_with("controller/domain/")
        })
        .filter(|source| source.text.contains("tonic::Code") || source.text.contains("StatusCode"))
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "codes are chosen in api_error.rs: {wrong:#?}");
}
