//! Definitions that name what is not theirs: each is refused before there is a run.

use anyhow::Result;

use super::{Case, Scene, repositories};

/// A name, the file, and words of the refusal.
const ROWS: &[(&str, &str, &str)] = &[
    ("a directory that climbs", "directory: ../..\n", "`..`"),
    ("a directory of the machine", "directory: /etc\n", "absolute"),
    ("an artifact of the machine", "artifacts: [{name: a, paths: [/etc/passwd]}]\n", "absolute"),
    ("an artifact that climbs", "artifacts: [{name: a, paths: ['src/../../**']}]\n", "`..`"),
    ("a cache that climbs", "cache: [{name: c, paths: [..], key: k}]\n", "`..`"),
    ("a cache of the machine", "cache: [{name: c, paths: [/etc/ssh], key: k}]\n", "absolute"),
    ("a cache of a home", "cache: [{name: c, paths: [~/.ssh], key: k}]\n", "`~"),
    (
        "a key of the machine's files",
        "cache: [{name: c, paths: [a], key_files: [/etc/shadow]}]\n",
        "absolute",
    ),
    ("a secret's file that climbs", "secrets: [{name: token, file: ../evil}]\n", "`..`"),
    ("a secret's file of the machine", "secrets: [{name: token, file: /etc/cron.d/evil}]\n", "workspace"),
    ("a path with a line", "artifacts: [{name: a, paths: [\"a\\nb\"]}]\n", "U+000A"),
    ("a path with a letter that turns around", "artifacts: [{name: a, paths: [\"a\\u202eb\"]}]\n", "U+202E"),
    ("a variable of ours", "env: {OCELOT_WORKSPACE: /etc}\n", "OCELOT_"),
    ("a directory by a template that climbs", "directory: '${branch}/../..'\n", "`..`"),
    ("a template that is no word of ours", "directory: '${file:/etc/passwd}'\n", "${file"),
];

pub(super) async fn cases(scene: &Scene) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let file = |rest: &str| format!("runtime: process\n{rest}stages: [{{name: work, script: 'true'}}]\n");
    for (name, rest, word) in ROWS {
        cases.push(Case::new(name, &file(rest), &["refused", word]));
    }
    let bomb: String = (0..12)
        .map(|level| {
            let below = if level == 0 { "word".to_owned() } else { format!("*a{}", level - 1) };
            format!("x-{level}: &a{level} [{}]\n", [below.as_str(); 12].join(", "))
        })
        .collect();
    let more = [
        ("a file that unfolds", file(&format!("{bomb}env: {{A: word}}\n")), "keys and values"),
        ("a file without a bottom", format!("x-a: {}{}\n", "[".repeat(5000), "]".repeat(5000)), "levels"),
        ("an image that is an option", "image: '--privileged x'\ncommand: [a]\n".to_owned(), "image"),
        (
            "a service whose name climbs",
            "image: a\ncommand: [a]\nservices: {../x: {image: a}}\n".to_owned(),
            "name",
        ),
        ("a task whose name climbs", "tasks: {../x: {image: a, command: [a]}}\n".to_owned(), "name"),
    ];
    for (name, file, word) in more {
        cases.push(Case::new(name, &file, &["refused", word]));
    }
    for case in &cases {
        repositories::ordinary(scene, case).await?;
    }
    Ok(cases)
}
