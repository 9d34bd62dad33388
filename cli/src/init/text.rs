//! The proposal as a file that people read and change.

use std::fmt::Write;

use crate::show::plain;

use super::{Artifact, Cache, Part, Stage};

const HEAD: &str = "\
# What the fleet does with each push.
# Check it: ocelot validate   Run it here: ocelot local   Why something runs or not: ocelot explain
";
const BRANCHES: &str = "\
# Every push to every branch, and every pull request, starts a run. To say which do:
# branches: [main, \"release/**\"]
";
const NOTHING: &str = "\
# Nothing was found here that says how it is built. Choose an image, and say what to run in it.
image: debian:bookworm
stages:
  - name: test
    script: echo \"say here how it is tested\"
";

/// Writes the file: one part is the whole file, several are its tasks.
pub(super) fn file(parts: &[Part], hints: &[String]) -> String {
    let mut text = HEAD.to_owned();
    for hint in hints {
        text.push_str("#\n");
        comment(hint, "", &mut text);
    }
    text.push('\n');
    text.push_str(BRANCHES);
    text.push('\n');
    match parts {
        [] => text.push_str(NOTHING),
        [part] => task(part, "", &mut text),
        parts => {
            text.push_str("tasks:\n");
            let mut names: Vec<String> = Vec::new();
            for part in parts {
                let name = name(part, &names);
                write(&mut text, format_args!("  {name}:\n"));
                task(part, "    ", &mut text);
                names.push(name);
            }
        }
    }
    text
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a string does not fail");
}

fn comment(what: &str, indent: &str, text: &mut String) {
    // A name may hold anything; a line break is ours alone.
    what.split('\n').for_each(|line| write(text, format_args!("{indent}# {}\n", plain(line))));
}

/// A task is called after its folder, or its kind.
fn name(part: &Part, taken: &[String]) -> String {
    let named = part.folder.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(part.kind);
    let lower = named.to_ascii_lowercase();
    let clean: String =
        lower.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let clean = clean.trim_matches('-').chars().take(40).collect::<String>();
    let clean = if clean.is_empty() { part.kind.to_ascii_lowercase() } else { clean };
    let more = |clean: String| (2..).map(move |count| format!("{clean}-{count}"));
    let mut names = std::iter::once(clean.clone()).chain(more(clean));
    names.find(|name| !taken.contains(name)).expect("there are more names than tasks")
}

fn task(part: &Part, indent: &str, text: &mut String) {
    comment(&plain(&format!("{}, by {}", part.kind, part.told_by)), indent, text);
    part.remarks.iter().for_each(|remark| comment(remark, indent, text));
    write(text, format_args!("{indent}image: {}\n", scalar(&part.image)));
    if !part.folder.is_empty() {
        write(text, format_args!("{indent}directory: {}\n", scalar(&part.folder)));
    }
    if !part.env.is_empty() {
        write(text, format_args!("{indent}env:\n"));
        for (name, value) in &part.env {
            write(text, format_args!("{indent}  {name}: {}\n", scalar(value)));
        }
    }
    if let Some(kept) = &part.cache {
        cache(kept, &part.folder, indent, text);
    }
    write(text, format_args!("{indent}stages:\n"));
    part.stages.iter().for_each(|one| stage(one, indent, text));
    if !part.artifacts.is_empty() {
        artifacts(&part.artifacts, &part.folder, indent, text);
    }
}

fn cache(cache: &Cache, folder: &str, indent: &str, text: &mut String) {
    write(text, format_args!("{indent}cache:\n{indent}  - name: {}\n", cache.name));
    write(text, format_args!("{indent}    paths: {}\n", list(&cache.paths, folder)));
    write(text, format_args!("{indent}    key: {}\n", scalar(&cache.key)));
    write(text, format_args!("{indent}    key_files: {}\n", list(&cache.key_files, folder)));
}

fn stage(stage: &Stage, indent: &str, text: &mut String) {
    let before = if stage.doubtful {
        comment(
            "Nothing here says that this passes; take the `#` away if it should:",
            &format!("{indent}  "),
            text,
        );
        format!("{indent}  # ")
    } else {
        format!("{indent}  ")
    };
    write(text, format_args!("{before}- name: {}\n", stage.name));
    match &stage.script[..] {
        [line] => write(text, format_args!("{before}  script: {}\n", scalar(line))),
        lines => {
            write(text, format_args!("{before}  script:\n"));
            lines.iter().for_each(|line| write(text, format_args!("{before}    - {}\n", scalar(line))));
        }
    }
}

fn artifacts(artifacts: &[Artifact], folder: &str, indent: &str, text: &mut String) {
    write(text, format_args!("{indent}artifacts:\n"));
    for artifact in artifacts {
        write(text, format_args!("{indent}  - name: {}\n", artifact.name));
        write(text, format_args!("{indent}    paths: {}\n", list(&artifact.paths, folder)));
        if artifact.always {
            write(text, format_args!("{indent}    when: always\n"));
        }
        write(text, format_args!("{indent}    optional: true\n"));
    }
}

/// Paths below a folder, written from the top.
fn list(paths: &[String], folder: &str) -> String {
    let from_the_top = |path: &String| match folder {
        "" => scalar(path),
        folder => scalar(&format!("{folder}/{path}")),
    };
    format!("[{}]", paths.iter().map(from_the_top).collect::<Vec<_>>().join(", "))
}

/// A text as YAML has it: bare where it can be nothing else, quoted otherwise.
fn scalar(text: &str) -> String {
    let first =
        text.chars().next().is_some_and(|letter| letter.is_ascii_alphabetic() || "./_".contains(letter));
    let bare = first
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || " ./_-:=$@+".contains(letter))
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { serde_json::to_string(text).expect("a text can be written") }
}
