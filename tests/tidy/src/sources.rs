//! What every source file must be like.

use crate::tree::{Source, files};

/// A file that needs more is two files.
const CODE_LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 800;

fn rust() -> Vec<Source> {
    files(".rs")
}

#[test]
fn no_file_is_longer_than_one_room() {
    let long: Vec<_> = rust()
        .iter()
        .filter_map(|source| {
            let (count, most) = match source.is_test() {
                true => (source.text.lines().count(), TEST_LINES_MAX),
                false => (source.code().count(), CODE_LINES_MAX),
            };
            (count > most).then(|| format!("{}: {count} lines, at most {most}", source.path))
        })
        .collect();
    assert!(long.is_empty(), "split these: {long:#?}");
}

#[test]
fn every_module_says_why_it_exists() {
    let silent: Vec<_> = rust()
        .into_iter()
        .filter(|source| !source.is_test() && !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "begin these with `//!`: {silent:#?}");
}

#[test]
fn no_test_is_ignored_and_no_lint_is_allowed_away() {
    let forbidden = [
        ("#[ignore", "a test that does not run shows nothing"),
        ("thread::sleep", "wait for a condition, or inject time"),
        ("todo!(", "finish it or leave it out"),
        ("unimplemented!(", "finish it or leave it out"),
    ];
    let mut found = Vec::new();
    for source in rust().iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        for (number, line) in source.text.lines().enumerate() {
            for (word, why) in forbidden {
                if line.contains(word) {
                    found.push(format!("{}:{}: {word}: {why}", source.path, number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn unsafe_code_lives_in_one_room() {
    let room = "executor/supervisor/src/sys.rs";
    let outside: Vec<_> = rust()
        .into_iter()
        .filter(|source| source.path != room && !source.path.starts_with("tests/tidy/"))
        .filter(|source| source.text.contains("unsafe {") || source.text.contains("unsafe fn"))
        .map(|source| source.path)
        .collect();
    assert!(outside.is_empty(), "unsafe code belongs to {room}: {outside:#?}");
}
