//! How a branch goes on, as pure decisions; the stories with real repositories are the reconciler's.

use ocelot_core::id::RunId;
use ocelot_domain::task::state::Timestamp;
use ocelot_forge::event::EventKind;
use ocelot_git::{Advertised, CommitId, Reference};
use proptest::prelude::*;

use super::steps::{Found, Known, Sight, Step, compare, step, tag_number};
use crate::records::HeadRecord;

fn id(number: u8) -> RunId {
    RunId::derived([number; 16])
}

fn head(commit: &str, event: Option<RunId>) -> HeadRecord {
    HeadRecord {
        project: "acme/widget".parse().unwrap(),
        reference: "refs/heads/main".into(),
        commit: commit.into(),
        event,
        seen_at: Timestamp { unix_ms: 0 },
        success: None,
    }
}

fn told(
    before: Option<&str>,
    after: &str,
    head: Option<&HeadRecord>,
    tip: Option<&str>,
    is_past: bool,
) -> Step {
    step(id(1), before, after, Sight { head, tip, is_past })
}

#[test]
fn a_push_goes_on_from_where_the_branch_is() {
    let at_a = head("a", Some(id(9)));
    assert_eq!(told(None, "a", None, None, false), Step::Forward, "a new branch");
    assert_eq!(told(Some("a"), "b", Some(&at_a), Some("b"), false), Step::Forward);
    assert_eq!(
        told(Some("a"), "b", Some(&at_a), Some("a"), true),
        Step::Forward,
        "forced back, even if the tip is old news"
    );
    assert_eq!(told(Some("x"), "b", Some(&at_a), Some("b"), false), Step::Forward, "a step was missed");
}

#[test]
fn a_commit_that_another_event_brought_is_known_and_one_that_was_only_seen_is_not() {
    assert_eq!(told(None, "a", Some(&head("a", Some(id(9)))), None, false), Step::Known(id(9)));
    assert_eq!(
        told(None, "a", Some(&head("a", Some(id(1)))), None, false),
        Step::Forward,
        "the event itself"
    );
    assert_eq!(told(None, "a", Some(&head("a", None)), None, false), Step::Forward);
}

#[test]
fn a_late_event_moves_no_branch_back() {
    let at_c = head("c", Some(id(9)));
    assert_eq!(told(Some("a"), "b", Some(&at_c), None, true), Step::Late);
    assert_eq!(told(Some("x"), "y", Some(&at_c), Some("c"), false), Step::Late, "it was forced away since");
}

fn advertised(references: &[(&str, char)]) -> Advertised {
    let one = |(name, digit): &(&str, char)| {
        let commit = CommitId::parse(&digit.to_string().repeat(40)).unwrap();
        (Reference::parse(name).unwrap(), commit)
    };
    Advertised { head: None, references: references.iter().map(one).collect() }
}

fn shown(found: &Found) -> Vec<String> {
    let events = found.events.iter().map(|event| match event {
        EventKind::Push(push) => {
            let before = push.before.as_ref().map_or("new", |before| &before.as_str()[..1]);
            format!("{} {before}..{}", push.branch, &push.after.as_str()[..1])
        }
        EventKind::Tag(tag) => format!("tag {}", tag.tag),
        EventKind::BranchDeleted { branch, .. } => format!("deleted {branch}"),
        EventKind::TagDeleted { .. } | EventKind::PullRequest(_) => panic!("no look finds this"),
    });
    let noted = found.noted.iter().map(|(reference, _)| format!("noted {reference}"));
    events.chain(noted).collect()
}

#[test]
fn a_look_finds_what_changed_since() {
    let there = advertised(&[
        ("refs/heads/main", 'b'),
        ("refs/heads/new", 'b'),
        ("refs/heads/same", 'a'),
        ("refs/pull/7/head", 'c'),
        ("refs/tags/v0", 'a'),
        ("refs/tags/v1", 'b'),
    ]);
    let a = "a".repeat(40);
    let heads = ["main", "same", "old"].map(|branch| (format!("refs/heads/{branch}"), a.clone()));
    let known = Known { heads: heads.into(), tags: [tag_number("v0", &a)].into(), is_known: true };
    assert_eq!(shown(&compare(&there, &known, "main")), ["main a..b", "new new..b", "tag v1", "deleted old"]);
    let first = compare(&there, &Known::default(), "main");
    assert_eq!(shown(&first), ["main new..b", "noted refs/heads/new", "noted refs/heads/same"]);
    assert_eq!(first.tags.len(), 2);
}

#[test]
fn a_repository_of_too_many_branches_is_looked_at_in_part_and_says_so() {
    let commit = CommitId::parse(&"a".repeat(40)).unwrap();
    let branch = |number: usize| (Reference::branch(&format!("b{number:05}")).unwrap(), commit.clone());
    let mut references: Vec<_> = (0..5_001).map(branch).collect();
    references.push((Reference::branch("main").unwrap(), commit.clone()));
    let there = Advertised { head: None, references };
    let found = compare(&there, &Known { is_known: true, ..Known::default() }, "main");
    assert_eq!(found.events.len(), 5_001, "the default branch is never left out");
    assert_eq!(found.trouble.as_deref(), Some("of 5002 branches only the first 5000 are looked at"));
}

proptest! {
    /// Whatever a look finds, a second one right behind it finds nothing.
    #[test]
    fn a_look_that_was_taken_in_finds_nothing_more(
        there in prop::collection::btree_map("[a-c]", prop::sample::select(vec!['a', 'b', 'c']), 0..4),
        known in prop::collection::btree_map("[a-c]", prop::sample::select(vec!['a', 'b', 'c']), 0..4),
        is_known: bool,
    ) {
        let names: Vec<(String, char)> = there.iter().map(|(name, digit)| (format!("refs/heads/{name}"), *digit)).collect();
        let names: Vec<(&str, char)> = names.iter().map(|(name, digit)| (name.as_str(), *digit)).collect();
        let there = advertised(&names);
        let full = |digit: &char| digit.to_string().repeat(40);
        let mut known = Known {
            heads: known.iter().map(|(name, digit)| (format!("refs/heads/{name}"), full(digit))).collect(),
            tags: [].into(),
            is_known,
        };
        let found = compare(&there, &known, "a");
        for event in &found.events {
            match event {
                EventKind::Push(push) => {
                    known.heads.insert(format!("refs/heads/{}", push.branch), push.after.to_string());
                }
                EventKind::BranchDeleted { branch, .. } => drop(known.heads.remove(&format!("refs/heads/{branch}"))),
                EventKind::Tag(_) | EventKind::TagDeleted { .. } | EventKind::PullRequest(_) => {}
            }
        }
        known.heads.extend(found.noted);
        known.is_known = true;
        prop_assert_eq!(compare(&there, &known, "a").events, vec![]);
    }
}
