//! Which crate may depend on which: the compiler keeps a crate pure only while its manifest does.

use crate::tree::{files, root};

/// A crate's folder and everything that it may depend on, outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("proto/core", &["crc32c", "serde", "uuid"]),
    ("proto/spec", &["ocelot-core", "serde", "serde_json", "serde_yaml", "strsim"]),
    ("controller/domain", &["ocelot-core", "serde", "thiserror"]),
    (
        "controller/forge",
        &["base64", "hmac", "serde", "serde_json", "sha2", "subtle", "thiserror", "zeroize"],
    ),
];

/// Which of our crates a crate may name; `tests` may name all.
const OURS: &[(&str, &[&str])] = &[
    ("proto", &["ocelot-core"]),
    ("proto/archive", &["ocelot-core"]),
    ("proto/git", &["ocelot-core"]),
    (
        "controller",
        &[
            "ocelot-archive",
            "ocelot-core",
            "ocelot-domain",
            "ocelot-forge",
            "ocelot-git",
            "ocelot-proto",
            "ocelot-spec",
        ],
    ),
    ("executor", &["ocelot-archive", "ocelot-core", "ocelot-git", "ocelot-proto", "ocelot-spec", "ocelot-supervisor"]),
    ("executor/supervisor", &["ocelot-core"]),
    (
        "cli",
        &[
            "ocelot-archive",
            "ocelot-controller",
            "ocelot-core",
            "ocelot-executor",
            "ocelot-git",
            "ocelot-proto",
            "ocelot-spec",
        ],
    ),
];

/// Names in the `[dependencies]` table of a folder's manifest.
fn dependencies(folder: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).ok()?;
    let table = text.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = table.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()));
    Some(names.filter(|name| !name.starts_with('#')).map(str::to_owned).collect())
}

#[test]
fn the_pure_crates_depend_on_nothing_that_acts() {
    for (folder, allowed) in ALLOWED {
        for name in dependencies(folder).unwrap() {
            assert!(
                allowed.contains(&name.as_str()),
                "{folder} must not depend on {name}; only on {allowed:?}"
            );
        }
    }
}

#[test]
fn our_crates_point_one_way() {
    for (folder, allowed) in OURS {
        for name in dependencies(folder).unwrap_or_default() {
            let ours = name.starts_with("ocelot-");
            assert!(
                !ours || allowed.contains(&name.as_str()),
                "{folder} must not depend on {name}; only on {allowed:?}"
            );
        }
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for manifest in files("Cargo.toml") {
        let root = manifest.text.contains("[workspace]");
        assert!(
            root || manifest.text.contains("[lints]\nworkspace = true"),
            "{}: add [lints]",
            manifest.path
        );
    }
}
