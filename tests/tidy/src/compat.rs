//! What each version kept is read by somebody, and everything that is stored is kept for this version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::tree::{files, root};

const CURRENT: &str = env!("CARGO_PKG_VERSION");

/// The names of all files, by version and kind.
fn kept() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let names = |path: &std::path::Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let folder = root().join("tests/compat");
    let versions = names(&folder).into_iter().filter(|name| folder.join(name).is_dir());
    let of = |version: String| {
        let own = folder.join(&version);
        let kinds = names(&own).into_iter().map(|kind| (kind.clone(), names(&own.join(kind))));
        (version.clone(), kinds.collect())
    };
    versions.map(of).collect()
}

/// Each kind of record with the version of its shape, as the code says them.
fn kinds() -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for source in files(".rs") {
        if !source.path.starts_with("controller/src/") || source.is_test() {
            continue;
        }
        let mut kind = None;
        for (_, line) in source.code() {
            if let Some(named) = line.trim().strip_prefix("const KIND: &'static str = \"") {
                kind = named.strip_suffix("\";");
            }
            let version = line.trim().strip_prefix("const VERSION: u32 = ");
            if let (Some(version), Some(kind)) = (version, kind.take_if(|_| version.is_some())) {
                kinds.insert(format!("{kind}/{}", version.trim_end_matches(';')));
            }
        }
    }
    kinds
}

#[test]
fn whatever_is_stored_is_kept_for_this_version() {
    let folder = root().join("tests/compat").join(CURRENT).join("records");
    let kept = kept().remove(CURRENT).expect("tests/compat/README.md says how a version's folder is made");
    let kinds_of_files = ["journal", "log", "messages", "records"];
    assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), kinds_of_files);
    let heads = kept["records"].iter().map(|name| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        text.lines().next().unwrap_or_default().to_owned()
    });
    let heads: BTreeSet<_> = heads.collect();
    let kinds = kinds();
    assert!(kinds.len() >= 25, "only {kinds:?} are stored");
    assert_eq!(kinds, heads, "what the code stores, and what is kept of it");
}

#[test]
fn what_any_version_kept_is_still_read() {
    let all = kept();
    let sources: String = files(".rs").into_iter().map(|source| source.text).collect();
    for name in &all[CURRENT]["records"] {
        assert!(sources.contains(&format!("\"{name}\"")), "no test reads {name}");
    }
    for (version, kinds) in &all {
        for (kind, names) in kinds {
            let lost: Vec<_> = names.difference(&all[CURRENT][kind]).collect();
            assert!(lost.is_empty(), "{kind} of version {version} is read by nobody any more: {lost:?}");
        }
    }
}
