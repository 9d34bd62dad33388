//! What `docs/PREDECESSORS.md` says of the systems before this one: every number once and in order,
//! and every test that it names is in the tree under that very name.

use std::collections::BTreeSet;

use crate::tree::{Source, files, root};

const DOCUMENT: &str = "docs/PREDECESSORS.md";

/// What a row may say of where it stands.
const STATES: [&str; 5] = ["works", "works, no test", "partly", "later", "does not apply"];

/// One row of a table whose first cell names it.
#[derive(Debug)]
struct Row {
    id: String,
    cells: Vec<String>,
}

impl Row {
    fn read(line: &str) -> Option<Self> {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let mut cells = cells.map(|cell| cell.trim().to_owned());
        let id = cells.next()?;
        let number = id.trim_start_matches(['W', 'O', 'P']);
        let is_one = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| Self { id, cells: cells.collect() })
    }

    /// Full names of the tests that it names: `package: path::name`.
    fn tests(&self) -> Vec<&str> {
        let quoted = self.cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
        quoted.filter(|text| text.starts_with("ocelot") && text.contains(": ")).collect()
    }
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
    text.lines().filter_map(Row::read).collect()
}

/// Folder and name of every package, the deepest folders first.
fn packages() -> Vec<(String, String)> {
    let manifests = files("Cargo.toml").into_iter().filter_map(|manifest| {
        let (_, package) = manifest.text.split_once("[package]")?;
        let name = package.split("name = \"").nth(1)?.split('"').next()?;
        Some((manifest.path.trim_end_matches("Cargo.toml").to_owned(), name.to_owned()))
    });
    let mut packages: Vec<_> = manifests.collect();
    packages.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
    packages
}

/// The modules that a file is, from its package: of a test program its own name comes first.
fn modules(path: &str) -> Vec<&str> {
    let mut parts: Vec<_> = path.trim_end_matches(".rs").split('/').skip(1).collect();
    parts.pop_if(|last| matches!(*last, "mod" | "lib" | "main"));
    parts
}

/// The tests of a file by their whole names.
fn tests_of(source: &Source, package: &str, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inner = None;
    let mut is_test = false;
    for line in source.text.lines() {
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            inner = Some(name);
        } else if line == "}" {
            inner = None;
        }
        let code = line.trim_start();
        if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = code.split_once("fn ").filter(|_| is_test) {
            let name = rest.split('(').next().unwrap_or_default();
            let whole: Vec<_> = modules(path).into_iter().chain(inner).chain([name]).collect();
            found.push(format!("{package}: {}", whole.join("::")));
            is_test = false;
        }
    }
    // Trials of the integration program bear their names as texts.
    let trials = source.text.split("trial(\"").skip(1).filter_map(|rest| rest.split('"').next());
    found.extend(trials.map(|name| format!("{package}: {name}")));
    found
}

fn tests() -> BTreeSet<String> {
    let packages = packages();
    let all = files(".rs").into_iter().flat_map(|source| {
        let home = packages.iter().find(|(folder, _)| source.path.starts_with(folder.as_str()));
        // What several packages include is named by each of them.
        home.map(|(folder, package)| tests_of(&source, package, &source.path[folder.len()..]))
    });
    all.flatten().collect()
}

#[test]
fn every_number_is_there_once_and_in_order() {
    let found: Vec<_> = rows().into_iter().map(|row| row.id).collect();
    let all = |prefix: &'static str, last: u32| (1..=last).map(move |number| format!("{prefix}{number}"));
    let proctor = [3, 7, 9, 11, 12, 13, 15, 16, 17].map(|number| format!("P{number}"));
    let wanted: Vec<_> = all("", 107).chain(all("W", 26)).chain(all("O", 15)).chain(proctor).collect();
    assert_eq!(found, wanted);
}

#[test]
fn every_test_that_is_named_is_there() {
    let (rows, tests) = (rows(), tests());
    let missing: Vec<_> = rows
        .iter()
        .flat_map(|row| row.tests().into_iter().map(move |test| (&row.id, test)))
        .filter(|(_, test)| !tests.contains(*test))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    assert!(rows.iter().map(|row| row.tests().len()).sum::<usize>() > 100, "hardly any test was recognised");
}

#[test]
fn every_row_says_where_it_stands_and_works_is_shown_by_a_test() {
    let mut wrong = Vec::new();
    for row in rows() {
        let has_tests = !row.tests().is_empty();
        let words = |cell: usize| row.cells.get(cell).map_or(0, |cell| cell.split_whitespace().count());
        let is_right = match row.id.strip_prefix('W') {
            // What happened there, the tests, and what they assert.
            Some(_) => row.cells.len() == 3 && has_tests && (1..=10).contains(&words(2)),
            None => {
                let state = row.cells.get(1).map(String::as_str).unwrap_or_default();
                let shown = match state {
                    "works" => has_tests,
                    "later" | "does not apply" => !has_tests && words(2) > 0,
                    _ => words(2) > 0,
                };
                row.cells.len() == 3 && STATES.contains(&state) && shown && (1..=12).contains(&words(0))
            }
        };
        if !is_right {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
