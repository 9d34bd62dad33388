//! What tasks keep: seen only of the winner, only whole, and for as long as something names it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ocelot_core::plan::*;
use ocelot_domain::task::event::Report;
use ocelot_domain::task::state::TaskState;

use super::graphs::{one, plan, task};
use super::world::*;
use crate::bytes::{Home, Identity, LocalHome, Room};
use crate::records::{Digest, Kept, RetryOf, SourceRecord, Subject, Trust};
use crate::service::objects::*;
use crate::service::{AttemptRef, CompleteAnswer, Draft, Error, Result};
use crate::store::Txn;
use crate::store::codec::encode;
use crate::store::keys::{Folder, Key};
use ocelot_spec::Event as Happened;

const HOUR: Duration = Duration::from_secs(3600);

/// A world with one home of bytes for all its controllers.
struct Kitchen {
    world: World,
    directory: tempfile::TempDir,
}

impl Kitchen {
    fn new() -> Self {
        Self { world: World::new(), directory: tempfile::tempdir().unwrap() }
    }

    fn home(&self) -> LocalHome {
        LocalHome::open(self.directory.path(), Identity([1; 16])).unwrap()
    }

    async fn controller(&self, name: &str) -> Controller {
        self.controller_with(name, ObjectLimits::default()).await
    }

    async fn controller_with(&self, name: &str, limits: ObjectLimits) -> Controller {
        let controller = self.world.controller(name).await;
        controller.service.set_objects(Objects::new(Arc::new(self.home()) as Arc<dyn Home>, limits));
        controller
    }

    fn files(&self, folder: &str) -> usize {
        fn count(path: &std::path::Path) -> usize {
            let Ok(entries) = std::fs::read_dir(path) else { return 0 };
            let entries = entries.map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.directory.path().join(folder))
    }
}

fn artifact(name: &str) -> Artifact {
    Artifact {
        name: name.into(),
        paths: vec!["out/**".into()],
        when: ArtifactWhen::Success,
        expires: 24 * HOUR,
        optional: false,
    }
}

fn keeping(name: &str, artifacts: &[&str]) -> TaskPlan {
    let mut task = task(name);
    task.environment.artifacts = artifacts.iter().map(|name| artifact(name)).collect();
    task
}

fn caching(key: &str) -> TaskPlan {
    let mut task = task("build");
    let (name, key) = ("npm".to_owned(), key.to_owned());
    task.environment.caches =
        vec![Cache { name, paths: vec![".npm".into()], key_files: vec![], key, fallback: true }];
    task
}

fn kept(bytes: &'static [u8]) -> Kept {
    Kept { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
}

fn named(name: &str) -> Pushed {
    Pushed::Artifact(name.into())
}

fn state(key: &str) -> Pushed {
    Pushed::Cache { name: "npm".into(), key: key.into() }
}

fn wanted(key: &str, fallback: Option<&str>) -> WantedCache {
    WantedCache { name: "npm".into(), key: key.into(), fallback: fallback.map(str::to_owned) }
}

/// A key as an executor makes it.
fn with_digest(key: &str, of: u8) -> String {
    format!("{key}-{}", Digest::of(&[of]))
}

impl Executor {
    async fn push(
        &self,
        controller: &Controller,
        attempt: AttemptRef,
        what: Pushed,
        bytes: &'static [u8],
    ) -> Result<bool> {
        let session = controller.service.authenticate(&self.token).await?;
        let mut incoming = controller.service.begin_push(session, attempt, what, 1).await?;
        for piece in bytes.chunks(2) {
            controller.service.push_piece(&mut incoming, Bytes::from_static(piece)).await?;
        }
        controller.service.end_push(incoming, kept(bytes)).await
    }

    async fn complete_with(
        &mut self,
        controller: &Controller,
        attempt: AttemptRef,
        (result, artifacts): (Report, &[(&str, &'static [u8])]),
    ) -> Result<CompleteAnswer> {
        let session = controller.service.authenticate(&self.token).await?;
        let claimed = |(name, bytes): &(&str, &'static [u8])| ClaimedArtifact {
            name: (*name).to_owned(),
            kept: kept(bytes),
            files: 1,
        };
        let mut request = completion(attempt, result);
        request.artifacts = artifacts.iter().map(claimed).collect();
        let answer = controller.service.complete(session, request).await?;
        if answer == CompleteAnswer::Recorded {
            self.held.retain(|held| *held != attempt);
        }
        Ok(answer)
    }

    async fn cached(
        &self,
        controller: &Controller,
        attempt: AttemptRef,
        wanted: &WantedCache,
    ) -> Result<Bytes> {
        let session = controller.service.authenticate(&self.token).await?;
        let found = controller.service.find_cache(session, attempt, wanted).await?;
        controller.service.read_object(&found.kept, 0).await
    }
}

/// Accepts a plan as a run of a project at this event.
async fn built(controller: &Controller, number: u8, plan: Plan, event: Happened, trust: Trust) {
    let source = SourceRecord {
        url: "https://git.example/acme/site".into(),
        commit: "c".repeat(40),
        reference: "refs/heads/any".into(),
        event,
        message: String::new(),
        author: "ana".into(),
        previous_success: None,
        trust,
    };
    let draft = Draft {
        id: run_id(number),
        payload: Digest::of(&[number]),
        subject: Subject::Project { name: "acme/site".into() },
        source: Some(source),
        rejected: None,
        trigger: trigger(),
        retry: None,
    };
    controller.service.accept(draft, plan).await.unwrap();
}

fn names(artifacts: &[KeptArtifact]) -> Vec<(u32, &str)> {
    artifacts.iter().map(|artifact| (artifact.index, artifact.name.as_str())).collect()
}

#[tokio::test]
async fn an_artifact_is_seen_with_the_end_of_its_task_and_by_who_needs_it() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 4).await;
    let mut after = task("after");
    after.needs = vec![Need { task: 0, optional: false, artifacts: true }];
    let mut blind = task("blind");
    blind.needs = vec![Need { task: 0, optional: false, artifacts: false }];
    let run = controller.execute_plan(1, plan(vec![keeping("build", &["site"]), after, blind])).await;
    let attempt = executor.take(&controller).await;
    assert!(!executor.push(&controller, attempt, named("site"), b"12345").await.unwrap());
    assert!(executor.push(&controller, attempt, named("site"), b"12345").await.unwrap(), "it was there");
    assert!(controller.service.artifacts(run).await.unwrap().is_empty(), "nothing names it yet");
    let ended =
        executor.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"12345")])).await;
    assert_eq!(ended.unwrap(), CompleteAnswer::Recorded);
    let seen = controller.service.artifacts(run).await.unwrap();
    assert_eq!(names(&seen), [(0, "site")]);
    assert_eq!((seen[0].record.task.as_str(), seen[0].record.kept), ("build", kept(b"12345")));

    let (one, other) = (executor.take(&controller).await, executor.take(&controller).await);
    let (after, blind) = if one.task.index == 1 { (one, other) } else { (other, one) };
    let session = executor.session(&controller).await;
    let needed = controller.service.needed(session, after).await.unwrap();
    assert_eq!(names(&needed), [(0, "site")]);
    let found = controller.service.find_needed(session, after, (0, "site")).await.unwrap();
    assert_eq!(controller.service.read_object(&found, 3).await.unwrap(), "45");
    assert!(controller.service.needed(session, blind).await.unwrap().is_empty());
    let refused = controller.service.find_needed(session, blind, (0, "site")).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_a_fenced_attempt_kept_is_never_seen_and_the_second_attempt_wins() {
    let kitchen = Kitchen::new();
    let mut controller = kitchen.controller("a").await;
    let mut first = Executor::ready(&controller, "x1", 1).await;
    let mut second = Executor::ready(&controller, "x2", 1).await;
    let run = controller.execute_plan(1, one(keeping("build", &["site"]))).await;
    let attempt = tokio::select! {
        attempt = first.take(&controller) => attempt,
        attempt = second.take(&controller) => { std::mem::swap(&mut first, &mut second); attempt }
    };
    first.push(&controller, attempt, named("site"), b"first").await.unwrap();
    // Its executor falls silent until another one has the task.
    for _ in 0..200 {
        if !matches!(controller.state(run).await, TaskState::Running { .. }) {
            break;
        }
        second.heartbeat(&controller).await.unwrap();
        controller.pass(1).await;
    }
    let again = second.take(&controller).await;
    assert!(again.attempt > attempt.attempt);
    let late = first.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"first")])).await;
    assert!(late.is_err(), "{late:?}");
    assert!(controller.service.artifacts(run).await.unwrap().is_empty());
    second.push(&controller, again, named("site"), b"second").await.unwrap();
    second.complete_with(&controller, again, (Report::Succeeded, &[("site", b"second")])).await.unwrap();
    let seen = controller.service.artifacts(run).await.unwrap();
    assert_eq!(seen[0].record.kept, kept(b"second"));
    assert_eq!(seen[0].record.attempt, again.attempt.number());
}

#[tokio::test]
async fn what_is_kept_by_a_try_that_is_repeated_is_not_seen() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let mut build = keeping("build", &["site"]);
    build.retry = Retry { limit: 1, on: vec![Cause::Exit], exit_codes: vec![], delay: Duration::ZERO };
    let run = controller.execute_plan(1, one(build)).await;
    let attempt = executor.take(&controller).await;
    executor.push(&controller, attempt, named("site"), b"first").await.unwrap();
    executor.complete_with(&controller, attempt, (failed(), &[("site", b"first")])).await.unwrap();
    assert!(controller.service.artifacts(run).await.unwrap().is_empty());
    let again = executor.take(&controller).await;
    executor.push(&controller, again, named("site"), b"second").await.unwrap();
    executor.complete_with(&controller, again, (failed(), &[("site", b"second")])).await.unwrap();
    assert_eq!(controller.service.artifacts(run).await.unwrap()[0].record.kept, kept(b"second"));
}

#[tokio::test]
async fn only_what_is_whole_and_planned_is_taken() {
    let kitchen = Kitchen::new();
    let limits = ObjectLimits { object_bytes: 8, ..ObjectLimits::default() };
    let controller = kitchen.controller_with("a", limits).await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    controller.execute_plan(1, one(keeping("build", &["site"]))).await;
    let attempt = executor.take(&controller).await;
    let session = executor.session(&controller).await;
    let service = &controller.service;

    let other = executor.push(&controller, attempt, named("other"), b"x").await;
    assert!(matches!(other, Err(Error::Conflict { .. })), "not in its plan: {other:?}");
    let mut incoming = service.begin_push(session, attempt, named("site"), 1).await.unwrap();
    let twice = service.begin_push(session, attempt, named("site"), 1).await;
    assert!(matches!(twice, Err(Error::NotNow { .. })), "one stream at a time: {twice:?}");
    service.push_piece(&mut incoming, Bytes::from_static(b"123")).await.unwrap();
    let differs = service.end_push(incoming, kept(b"124")).await;
    assert!(matches!(differs, Err(Error::Invalid { .. })), "{differs:?}");
    let mut incoming = service.begin_push(session, attempt, named("site"), 1).await.unwrap();
    service.push_piece(&mut incoming, Bytes::from_static(b"12")).await.unwrap();
    let cut = service.end_push(incoming, kept(b"123")).await;
    assert!(matches!(cut, Err(Error::Invalid { .. })), "{cut:?}");
    let long = executor.push(&controller, attempt, named("site"), b"123456789").await;
    assert!(matches!(long, Err(Error::Invalid { .. })), "{long:?}");
    service.floor().note(Room::Backpressure);
    let full = executor.push(&controller, attempt, named("site"), b"1").await;
    assert!(matches!(full, Err(Error::NoRoom { .. })), "{full:?}");
    service.floor().note(Room::Enough);
    assert_eq!((kitchen.files("objects"), kitchen.files("parts")), (0, 0), "something was left");

    let missing =
        executor.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"123")])).await;
    assert_eq!(missing.unwrap(), CompleteAnswer::ArtifactMissing { name: "site".into() });
    executor.push(&controller, attempt, named("site"), b"123").await.unwrap();
    let strange = executor.complete_with(&controller, attempt, (Report::Succeeded, &[("x", b"123")])).await;
    assert!(matches!(strange, Err(Error::Conflict { .. })), "{strange:?}");
    let ended = executor.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"123")])).await;
    assert_eq!(ended.unwrap(), CompleteAnswer::Recorded);
    let again = executor.push(&controller, attempt, named("site"), b"123").await;
    assert!(matches!(again, Err(Error::Conflict { .. })), "after its end: {again:?}");
}

#[tokio::test]
async fn a_retry_of_the_failed_tasks_sees_what_the_others_kept() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    let mut after = task("after");
    after.needs = vec![Need { task: 0, optional: false, artifacts: true }];
    let graph = plan(vec![keeping("build", &["site"]), after]);
    controller.execute_plan(1, graph.clone()).await;
    let attempt = executor.take(&controller).await;
    executor.push(&controller, attempt, named("site"), b"x").await.unwrap();
    executor.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"x")])).await.unwrap();
    let attempt = executor.take(&controller).await;
    executor.complete(&controller, attempt, failed()).await.unwrap();
    controller.ended(run_id(1)).await;
    let draft = Draft {
        id: run_id(2),
        payload: Digest::of(&[2]),
        subject: Subject::Job { name: "graph".into(), version: 1 },
        source: None,
        rejected: None,
        trigger: trigger(),
        retry: Some(RetryOf { run: run_id(1), succeeded: vec![0] }),
    };
    controller.service.accept(draft, graph).await.unwrap();
    let attempt = executor.take(&controller).await;
    assert_eq!((attempt.task.run, attempt.task.index), (run_id(2), 1));
    let session = executor.session(&controller).await;
    assert_eq!(names(&controller.service.needed(session, attempt).await.unwrap()), [(0, "site")]);
}

#[tokio::test]
async fn the_first_state_of_a_key_stays_and_the_newest_of_a_prefix_will_do() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 1).await;
    controller.execute_plan(1, one(caching("node"))).await;
    let attempt = executor.take(&controller).await;
    let (old, new) = (with_digest("node", 1), with_digest("node", 2));
    let none = executor.cached(&controller, attempt, &wanted(&old, Some("node-"))).await;
    assert!(matches!(none, Err(Error::NotFound { .. })), "{none:?}");
    assert!(!executor.push(&controller, attempt, state(&old), b"old").await.unwrap());
    assert!(executor.push(&controller, attempt, state(&old), b"other").await.unwrap(), "the first one stays");
    controller.advance(Duration::from_secs(1)).await;
    executor.push(&controller, attempt, state(&new), b"new").await.unwrap();
    let get = async |key: &str, fallback| executor.cached(&controller, attempt, &wanted(key, fallback)).await;
    assert_eq!(get(&old, Some("node-")).await.unwrap(), "old");
    assert_eq!(get(&with_digest("node", 3), Some("node-")).await.unwrap(), "new");
    assert!(matches!(get(&with_digest("node", 3), None).await, Err(Error::NotFound { .. })));
    assert!(matches!(get("other", None).await, Err(Error::Conflict { .. })), "a key that is not its own");
    let strange = executor.push(&controller, attempt, state("other"), b"x").await;
    assert!(matches!(strange, Err(Error::Conflict { .. })), "{strange:?}");
}

#[tokio::test]
async fn what_a_fork_keeps_is_for_its_pull_request_alone_and_it_reads_its_target() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 8).await;
    let main = || Happened::Push { branch: "main".into() };
    let pull = |number| Happened::PullRequest { number, source: "main".into(), target: "main".into() };
    let begin = async |executor: &mut Executor, number, event, trust| {
        built(&controller, number, one(caching("node")), event, trust).await;
        executor.take(&controller).await
    };
    let fork = begin(&mut executor, 1, pull(7), Trust::Fork).await;
    executor.push(&controller, fork, state("node"), b"poison").await.unwrap();
    let own = begin(&mut executor, 2, main(), Trust::Own).await;
    let seen = executor.cached(&controller, own, &wanted("node", Some("node-"))).await;
    assert!(matches!(seen, Err(Error::NotFound { .. })), "{seen:?}");
    executor.push(&controller, own, state("node"), b"good").await.unwrap();
    let member = begin(&mut executor, 3, pull(7), Trust::Own).await;
    assert_eq!(executor.cached(&controller, member, &wanted("node", None)).await.unwrap(), "good");
    let other = begin(&mut executor, 4, pull(8), Trust::Fork).await;
    assert_eq!(executor.cached(&controller, other, &wanted("node", None)).await.unwrap(), "good");
    assert_eq!(executor.cached(&controller, fork, &wanted("node", None)).await.unwrap(), "poison");
    assert_eq!(executor.cached(&controller, own, &wanted("node", None)).await.unwrap(), "good");
    let pushed = begin(&mut executor, 5, main(), Trust::Fork).await;
    let refused = executor.push(&controller, pushed, state("node"), b"poison").await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_sweep_takes_what_nothing_names_in_two_passes_and_nothing_else() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let other = kitchen.controller("b").await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    controller.execute_plan(1, one(keeping("build", &["site", "junk"]))).await;
    let attempt = executor.take(&controller).await;
    executor.push(&controller, attempt, named("junk"), b"junk").await.unwrap();
    executor.push(&controller, attempt, named("site"), b"site").await.unwrap();
    executor.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"site")])).await.unwrap();
    let left = || (kitchen.files("objects/objects"), kitchen.files("objects/leaving"));
    let sweep = async || {
        controller.service.sweep_objects().await.unwrap();
        left()
    };
    assert_eq!(sweep().await, (2, 0), "what is fresh stays");
    controller.clock_advance(HOUR + HOUR);
    assert_eq!(sweep().await, (1, 1), "what nothing names is laid apart");
    assert_eq!(sweep().await, (1, 0), "and then it goes");
    assert_eq!(controller.service.artifacts(run_id(1)).await.unwrap().len(), 1);
    controller.clock_advance(24 * HOUR);
    assert!(controller.service.artifacts(run_id(1)).await.unwrap().is_empty(), "it has expired");
    // Two controllers at once: one may find what the other has just laid apart, and no pass fails.
    for _ in 0..2 {
        let (one, two) = tokio::join!(controller.service.sweep_objects(), other.service.sweep_objects());
        one.and(two).unwrap();
    }
    assert_eq!(left(), (0, 0));
    assert!(page(&kitchen.world, &Folder::Artifacts.to_string()).await.items.is_empty());
}

#[tokio::test]
async fn an_object_that_is_wanted_again_comes_back() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    let run = controller.execute_plan(1, one(keeping("build", &["site"]))).await;
    let attempt = executor.take(&controller).await;
    executor.push(&controller, attempt, named("site"), b"site").await.unwrap();
    controller.clock_advance(HOUR + HOUR);
    controller.service.sweep_objects().await.unwrap();
    assert_eq!(kitchen.files("objects/leaving"), 1);
    // The completion of an executor that had no controller for two hours.
    executor.complete_with(&controller, attempt, (Report::Succeeded, &[("site", b"site")])).await.unwrap();
    controller.service.sweep_objects().await.unwrap();
    controller.service.sweep_objects().await.unwrap();
    let kept = controller.service.find_artifact(run, "", "site").await.unwrap();
    assert_eq!(controller.service.read_object(&kept, 0).await.unwrap(), "site");
}

#[tokio::test]
async fn an_object_that_is_named_while_it_is_laid_apart_is_read_and_comes_back() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    controller.execute_plan(1, one(caching("node"))).await;
    let attempt = executor.take(&controller).await;
    executor.push(&controller, attempt, state("node"), b"bytes").await.unwrap();
    let home = kitchen.home();
    let digest = Digest::of(b"bytes").to_string();
    let place = |shelf: &str| crate::bytes::Name::new(format!("{shelf}/{}/{digest}", &digest[..2])).unwrap();
    home.rename(&place("objects"), &place("leaving")).await.unwrap();
    assert_eq!(controller.service.read_object(&kept(b"bytes"), 0).await.unwrap(), "bytes");
    controller.clock_advance(2 * HOUR);
    assert_eq!(controller.service.sweep_objects().await.unwrap().back, 1);
    assert_eq!(kitchen.files("objects/objects"), 1);
}

#[tokio::test]
async fn caches_beyond_the_budget_leave_and_one_without_bytes_is_forgotten() {
    let kitchen = Kitchen::new();
    let limits = ObjectLimits { owner_caches_bytes: 5, ..ObjectLimits::default() };
    let controller = kitchen.controller_with("a", limits).await;
    let mut executor = Executor::ready(&controller, "x1", 2).await;
    controller.execute_plan(1, one(caching("node"))).await;
    let attempt = executor.take(&controller).await;
    for (number, bytes) in [(1, b"one"), (2, b"two")] {
        executor.push(&controller, attempt, state(&with_digest("node", number)), bytes).await.unwrap();
        controller.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(controller.service.sweep_objects().await.unwrap().evicted, 1);
    let gone = executor.cached(&controller, attempt, &wanted(&with_digest("node", 1), None)).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    let two = wanted(&with_digest("node", 2), None);
    assert_eq!(executor.cached(&controller, attempt, &two).await.unwrap(), "two");
    std::fs::remove_dir_all(kitchen.directory.path().join("objects/objects")).unwrap();
    let gone = executor.cached(&controller, attempt, &two).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    assert!(page(&kitchen.world, &Folder::Caches.to_string()).await.items.is_empty());
}

#[tokio::test]
async fn what_was_recorded_under_a_name_that_nobody_planned_is_listed_all_the_same() {
    let kitchen = Kitchen::new();
    let controller = kitchen.controller("a").await;
    let record = crate::records::ArtifactRecord {
        task: "gone".into(),
        kept: kept(b"x"),
        files: 1,
        attempt: 1,
        created_at: controller.service.timestamp(),
        expires_at: None,
    };
    let id = ocelot_core::id::TaskId { run: run_id(9), index: 0 };
    let txn = Txn::new().put(Key::Artifact(id, "a/b c".into()), encode(&record, None));
    crate::store::Store::commit(kitchen.world.embedded.as_ref(), txn).await.unwrap();
    // Its run has left the store long ago.
    let seen = controller.service.artifacts(run_id(9)).await.unwrap();
    assert_eq!(names(&seen), [(0, "a/b c")]);
}
