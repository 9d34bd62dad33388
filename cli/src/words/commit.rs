//! The words for a commit: where it stands, and what it says.

use ocelot_proto::wire;

/// Letters of a commit's id that people read.
const SHORT: usize = 7;

/// The beginning of an id, which people can tell from others.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

/// Where a commit stands, in one word: its branch, its tag, or its pull request.
pub(crate) fn place(commit: &wire::Commit) -> String {
    match (commit.pull_request, commit.tag.as_str()) {
        (0, "") => commit.branch.clone(),
        (0, tag) => tag.to_owned(),
        (number, _) => format!("#{number} {}", commit.branch),
    }
}

/// What kind of place that is, and all that is known of it.
pub(crate) fn standing(commit: &wire::Commit) -> (&'static str, String) {
    let fork = if commit.fork { ", from a fork: it is given no secrets" } else { "" };
    match (commit.pull_request, commit.tag.as_str()) {
        (0, "") => ("Branch", format!("{}{fork}", commit.branch)),
        (0, tag) => ("Tag", tag.to_owned()),
        (number, _) => ("Pull", format!("#{number}, {} into {}{fork}", commit.branch, commit.target_branch)),
    }
}

/// A commit in one line: `1a2b3c4 Mend the cart, by Ada`.
pub(crate) fn line(commit: &wire::Commit) -> String {
    let by = if commit.author.is_empty() { String::new() } else { format!(", by {}", commit.author) };
    format!("{} {}{by}", short(&commit.id), commit.subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_told_by_where_it_stands() {
        let pushed = wire::Commit {
            id: "1a2b3c4d5e6f".into(),
            branch: "topic".into(),
            subject: "Mend the cart".into(),
            author: "Ada".into(),
            ..wire::Commit::default()
        };
        let tagged = wire::Commit { branch: String::new(), tag: "v1".into(), ..pushed.clone() };
        let asked =
            wire::Commit { pull_request: 12, target_branch: "main".into(), fork: true, ..pushed.clone() };
        let said: Vec<String> = [pushed, tagged, asked]
            .iter()
            .map(|commit| format!("{} | {:?} | {}", place(commit), standing(commit), line(commit)))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r##"
        topic | ("Branch", "topic") | 1a2b3c4 Mend the cart, by Ada
        v1 | ("Tag", "v1") | 1a2b3c4 Mend the cart, by Ada
        #12 topic | ("Pull", "#12, topic into main, from a fork: it is given no secrets") | 1a2b3c4 Mend the cart, by Ada
        "##);
    }
}
