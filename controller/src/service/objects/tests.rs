//! What is decided about caches, without a store.

use ocelot_core::id::RunId;
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::state::Timestamp;
use ocelot_spec::Event;
use proptest::prelude::*;
use std::sync::Arc;

use super::budget::too_many;
use super::scope::{Scopes, fits, is_state_of, part, prefix, scopes};
use super::*;
use crate::records::{CacheRecord, SourceRecord, Stage, StoredPlan, Subject, Trigger, TriggerKind, Trust};

fn run(subject: Subject, source: Option<(Event, Trust)>) -> RunRecord {
    let source = source.map(|(event, trust)| SourceRecord {
        url: "https://git.example/acme/site".into(),
        commit: "c".repeat(40),
        reference: "refs/heads/any".into(),
        event,
        message: String::new(),
        author: "ana".into(),
        previous_success: None,
        trust,
    });
    RunRecord {
        id: RunId::from_parts(1, [1; 10]),
        subject,
        number: 1,
        payload: Digest::of(b""),
        plan: StoredPlan::Inline(Arc::new(Plan {
            tasks: Vec::new(),
            concurrency: None,
            notify: Vec::new(),
            group: None,
        })),
        trigger: Trigger { kind: TriggerKind::Webhook, by: Actor("ana".into()), schedule: None },
        retry: None,
        accepted_at: Timestamp { unix_ms: 0 },
        stage: Stage::Active,
        cancel: None,
        source,
        rejected: None,
    }
}

fn of_project(event: Event, trust: Trust) -> Scopes {
    scopes(&run(Subject::Project { name: "acme/site".into() }, Some((event, trust))), Some("main"))
}

fn shown(scopes: &Scopes) -> String {
    format!("writes {}\nreads {}", scopes.write.as_deref().unwrap_or("-"), scopes.read.join(" | "))
}

fn push(branch: &str) -> Event {
    Event::Push { branch: branch.into() }
}

fn pull(number: u64) -> Event {
    Event::PullRequest { number, source: "main".into(), target: "release".into() }
}

#[test]
fn a_run_reads_its_own_scope_then_that_of_its_target_then_that_of_the_default_branch() {
    insta::assert_snapshot!(shown(&of_project(push("fix"), Trust::Own)), @r"
    writes project acme/site own branch fix
    reads project acme/site own branch fix | project acme/site own branch main
    ");
    insta::assert_snapshot!(shown(&of_project(push("main"), Trust::Own)), @r"
    writes project acme/site own branch main
    reads project acme/site own branch main
    ");
    insta::assert_snapshot!(shown(&of_project(pull(7), Trust::Own)), @r"
    writes project acme/site own pr 7
    reads project acme/site own pr 7 | project acme/site own branch release | project acme/site own branch main
    ");
    insta::assert_snapshot!(shown(&of_project(Event::Tag { tag: "v1".into() }, Trust::Own)), @r"
    writes project acme/site own tag v1
    reads project acme/site own tag v1 | project acme/site own branch main
    ");
    insta::assert_snapshot!(shown(&of_project(pull(7), Trust::Fork)), @r"
    writes project acme/site fork pr 7
    reads project acme/site fork pr 7 | project acme/site own branch release | project acme/site own branch main
    ");
    insta::assert_snapshot!(shown(&of_project(push("main"), Trust::Fork)), @r"
    writes -
    reads project acme/site own branch main
    ");
    let job = scopes(&run(Subject::Job { name: "nightly".into(), version: 3 }, None), None);
    insta::assert_snapshot!(shown(&job), @r"
    writes job nightly
    reads job nightly
    ");
}

fn event() -> impl Strategy<Value = Event> {
    let branch = || "main|[a-z0-9/-]{1,9}|pr [0-9]|fork pr 7";
    prop_oneof![
        branch().prop_map(|branch| Event::Push { branch }),
        branch().prop_map(|tag| Event::Tag { tag }),
        branch().prop_map(|branch| Event::Schedule { branch }),
        branch().prop_map(|branch| Event::Upstream { branch }),
        (0..9_u64, branch(), branch()).prop_map(|(number, source, target)| Event::PullRequest {
            number,
            source,
            target
        }),
        proptest::option::of(branch()).prop_map(|branch| Event::Manual { branch, tag: None }),
    ]
}

proptest! {
    #[test]
    fn nothing_that_a_fork_writes_is_read_by_the_projects_own_runs(
        strange in event(),
        own in event(),
        default in proptest::option::of("main|fork pr [0-9]"),
    ) {
        let project = || Subject::Project { name: "acme/site".into() };
        let strange = scopes(&run(project(), Some((strange, Trust::Fork))), default.as_deref());
        let own = scopes(&run(project(), Some((own, Trust::Own))), default.as_deref());
        if let Some(written) = strange.write {
            prop_assert!(!own.read.contains(&written), "{written}");
            prop_assert!(!own.read.iter().any(|read| part(read) == part(&written)));
        }
    }

    #[test]
    fn a_shortened_name_is_as_unique_as_the_whole_one(one in "\\PC{0,300}", other in "\\PC{0,300}") {
        prop_assert!(part(&one).len() <= 128);
        prop_assert_eq!(one == other, part(&one) == part(&other));
    }

    #[test]
    fn what_stays_is_within_the_budget_and_nothing_older_stays_instead_of_a_newer_one(
        caches in proptest::collection::vec((0..3_u8, 0..50_u64, 0..100_u64), 0..30),
    ) {
        let limits = ObjectLimits { caches_bytes: 200, owner_caches_bytes: 90, ..ObjectLimits::default() };
        let caches: Vec<_> =
            caches.into_iter().map(|(owner, size, used)| cache(&owner.to_string(), size, used)).collect();
        let leaving = too_many(&caches, &limits);
        let stays = |place: &usize| !leaving.contains(place);
        let staying: Vec<usize> = (0..caches.len()).filter(stays).collect();
        let sum = |owner: Option<&str>| -> u64 {
            let counted = staying.iter().map(|place| &caches[*place]);
            counted.filter(|one| owner.is_none_or(|owner| one.owner == owner)).map(|one| one.kept.size_bytes).sum()
        };
        prop_assert!(sum(None) <= 200);
        prop_assert!(["0", "1", "2"].iter().all(|owner| sum(Some(owner)) <= 90));
        if caches.iter().map(|one| one.kept.size_bytes).sum::<u64>() <= 90 {
            prop_assert!(leaving.is_empty());
        }
    }
}

fn cache(owner: &str, size_bytes: u64, used: u64) -> CacheRecord {
    let at = Timestamp { unix_ms: used };
    let kept = Kept { digest: Digest::of(b""), size_bytes };
    let (scope, key) = (String::new(), String::new());
    CacheRecord { owner: owner.into(), scope, key, kept, files: 0, created_at: at, used_at: at }
}

#[test]
fn the_cache_that_was_used_longest_ago_goes_first() {
    let limits = ObjectLimits { caches_bytes: 100, owner_caches_bytes: 100, ..ObjectLimits::default() };
    let caches = [cache("a", 60, 1), cache("a", 60, 3), cache("b", 30, 2)];
    assert_eq!(too_many(&caches, &limits), [0]);
}

#[test]
fn a_key_is_the_planned_one_with_a_digest_or_without() {
    let digest = "0".repeat(64);
    assert!(fits("node-20", "node-20") && fits(&format!("node-20-{digest}"), "node-20"));
    assert!(fits(&digest, "") && !fits("node-20-old", "node-20") && !fits("other", "node-20"));
    assert!(is_state_of(&format!("node-20-{digest}"), &prefix("node-20")));
    assert!(!is_state_of(&format!("node-20-x-{digest}"), &prefix("node-20")), "another planned key");
}
