//! Stories of what a task keeps and needs.

use std::fs;
use std::path::PathBuf;

use ocelot_core::plan::{Artifact, ArtifactWhen, Cache, Need};
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;
use ocelot_proto::wire::outcome::failed::Failure;

use super::*;

impl World {
    /// The workspace of the only container there is.
    fn workspace(&self) -> PathBuf {
        let facts = self.machine.facts();
        facts.containers.keys().next().unwrap().parent().unwrap().join("workspace")
    }

    /// Waits until a stage runs that has done nothing yet.
    async fn working(&self) -> PathBuf {
        self.machine.runs_a_stage().await;
        self.workspace()
    }

    fn lines(&self, about: &str) -> Vec<String> {
        let facts = self.machine.facts();
        let lines = facts.lines.iter().filter(|line| line.starts_with(about));
        // How long it took is another each time.
        lines.map(|line| line.split(" in ").next().unwrap().to_owned()).collect()
    }
}

fn artifact(name: &str, when: ArtifactWhen) -> Artifact {
    Artifact {
        name: name.to_owned(),
        paths: vec!["out".to_owned()],
        when,
        expires: Duration::from_secs(3600),
        optional: false,
    }
}

fn keeping(artifacts: Vec<Artifact>) -> TaskPlan {
    let mut plan = plan(vec![stage("a")]);
    plan.environment.artifacts = artifacts;
    plan
}

fn npm() -> Cache {
    Cache {
        name: "npm".to_owned(),
        paths: vec![".npm".to_owned()],
        key_files: vec!["lock".to_owned()],
        key: "node".to_owned(),
        fallback: true,
    }
}

fn policy(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(wire::outcome::Failed { failure: Some(Failure::Policy(why)), .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_task_keeps_is_found_by_the_next_and_its_cache_is_warm() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let mut first = keeping(vec![artifact("site", ArtifactWhen::Success)]);
    first.environment.caches = vec![npm()];
    world.offer(&first);
    let workspace = world.working().await;
    fs::create_dir_all(workspace.join("out/deep")).unwrap();
    fs::write(workspace.join("out/deep/page"), "hello").unwrap();
    fs::create_dir(workspace.join(".npm")).unwrap();
    fs::write(workspace.join(".npm/left-pad"), "x".repeat(3000)).unwrap();
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    {
        let model = world.controller.model();
        let kept = &model.completed[0].artifacts;
        assert_eq!((kept[0].name.as_str(), kept[0].files), ("site", 1));
        assert_eq!(kept[0].sha256, Sha256::digest(&model.artifacts["site"])[..]);
        let place = |call| model.calls.iter().position(|known| *known == call).unwrap();
        assert!(place("push") < place("complete"), "it is seen with the completion, so it is there before");
        assert!(model.caches.keys().all(|key| key.starts_with("node-")));
    }
    world.clean().await;
    insta::assert_snapshot!(world.lines("artifact").join("\n"), @"artifact site: 1 file, 5 B");
    insta::assert_snapshot!(world.lines("cache").join("\n"), @r"
    cache npm: there is none for node-e3b0c44298fc yet
    cache npm: saved 2.9 KiB as node-e3b0c44298fc
    ");

    world.controller.set(|model| {
        model.completed.clear();
        model.calls.clear();
    });
    world.machine.set(|facts| {
        facts.held_stages = true;
        facts.lines.clear();
    });
    // An object that breaks off goes on from there.
    world.controller.fault("fetch", &[Fault::Cut(20), Fault::Unavailable]);
    let mut second = plan(vec![stage("a")]);
    second.needs = vec![Need { task: 3, optional: false, artifacts: true }];
    second.environment.caches = vec![npm()];
    world.offer(&second);
    let workspace = world.working().await;
    assert_eq!(fs::read_to_string(workspace.join("out/deep/page")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(workspace.join(".npm/left-pad")).unwrap().len(), 3000);
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert!(world.controller.model().offsets.contains(&20), "{:?}", world.controller.model().offsets);
    assert!(!world.controller.model().calls.contains(&"push"), "the state of this key is there already");
    insta::assert_snapshot!(world.lines("artifact").join("\n"), @"artifact site of web: 1 file, 5 B unpacked");
    insta::assert_snapshot!(world.lines("cache").join("\n"), @"cache npm: restored 2.9 KiB from node-e3b0c44298fc");
    world.clean().await;
}

#[tokio::test]
async fn an_artifact_of_which_nothing_is_there_fails_its_task_unless_it_is_optional() {
    let world = World::started().await;
    world.offer(&keeping(vec![artifact("site", ArtifactWhen::Always)]));
    assert_eq!(policy(world.outcome().await), "artifact site: nothing matches out");
    world.clean().await;
    world.controller.set(|model| model.completed.clear());
    let optional = Artifact { optional: true, ..artifact("site", ArtifactWhen::Always) };
    world.offer(&keeping(vec![optional, artifact("report", ArtifactWhen::Failure)]));
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    assert!(world.controller.model().artifacts.is_empty());
}

#[tokio::test]
async fn a_failed_task_keeps_what_is_for_failures_and_no_cache() {
    let world = World::started().await;
    world.machine.set(|facts| {
        facts.held_stages = true;
        facts.exits.insert(0, 3);
    });
    let mut plan = keeping(vec![
        artifact("site", ArtifactWhen::Success),
        artifact("report", ArtifactWhen::Failure),
        artifact("trace", ArtifactWhen::Always),
    ]);
    plan.environment.caches = vec![npm()];
    world.offer(&plan);
    let workspace = world.working().await;
    fs::write(workspace.join("out"), "why").unwrap();
    fs::create_dir(workspace.join(".npm")).unwrap();
    fs::write(workspace.join(".npm/x"), "x").unwrap();
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Failed(_)));
    let model = world.controller.model();
    assert_eq!(model.artifacts.keys().collect::<Vec<_>>(), ["report", "trace"]);
    assert!(model.caches.is_empty());
}

#[tokio::test]
async fn a_push_that_breaks_is_made_anew_and_one_that_is_missed_comes_again() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.controller.fault("push", &[Fault::Unavailable, Fault::Lost]);
    world.controller.fault("complete", &[Fault::ArtifactMissing("site")]);
    world.offer(&keeping(vec![artifact("site", ArtifactWhen::Success)]));
    fs::write(world.working().await.join("out"), "x").unwrap();
    world.machine.release_stages();
    world.controller.until("a second completion", |model| model.completed.len() == 2).await;
    let model = world.controller.model();
    assert_eq!(model.completed[0].artifacts, model.completed[1].artifacts);
    assert!(model.artifacts.contains_key("site"));
    assert_eq!(model.calls.iter().filter(|call| **call == "push").count(), 4);
}

#[tokio::test]
async fn a_fence_while_an_artifact_is_pushed_ends_the_attempt_without_a_word() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.controller.fault("push", &[Fault::Fenced]);
    let id = world.offer(&keeping(vec![artifact("site", ArtifactWhen::Success)]));
    fs::write(world.working().await.join("out"), "x").unwrap();
    world.machine.release_stages();
    world.controller.until("a confirmation", |model| model.confirmed == [id]).await;
    assert!(world.controller.model().completed.is_empty());
    world.clean().await;
}

#[tokio::test]
async fn an_attempt_beats_while_it_pushes_and_a_cancel_ends_it() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.controller.set(|model| model.held_push = true);
    let id = world.offer(&keeping(vec![artifact("site", ArtifactWhen::Success)]));
    fs::write(world.working().await.join("out"), "x").unwrap();
    world.machine.release_stages();
    world.controller.until("a push", |model| model.pushes_begun == 1).await;
    let finishing = wire::held::Phase::Finishing as i32;
    let beats = |model: &controller::Model| {
        model.heartbeats.last().is_some_and(|beat| beat.held.iter().any(|held| held.phase == finishing))
    };
    world.controller.until("a beat", beats).await;
    world.controller.set(|model| model.directives.push(cancel(id)));
    assert!(matches!(world.outcome().await, Outcome::Cancelled(_)));
    assert!(world.controller.model().completed[0].artifacts.is_empty());
}

#[tokio::test]
async fn an_executor_that_is_killed_while_it_pushes_keeps_it_after_its_start() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.controller.set(|model| model.held_push = true);
    world.offer(&keeping(vec![artifact("site", ArtifactWhen::Success)]));
    fs::write(world.working().await.join("out"), "x").unwrap();
    world.machine.release_stages();
    world.controller.until("a push", |model| model.pushes_begun == 1).await;
    world.killed().await;
    world.controller.set(|model| model.held_push = false);
    world.start().await;
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    let model = world.controller.model();
    assert_eq!(model.completed[0].artifacts[0].name, "site");
    assert!(model.artifacts.contains_key("site"));
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_controllers_is_told_as_the_disk() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    world.controller.fault("push", &[Fault::Full]);
    world.offer(&keeping(vec![artifact("site", ArtifactWhen::Success)]));
    fs::write(world.working().await.join("out"), "x").unwrap();
    world.machine.release_stages();
    let outcome = world.outcome().await;
    let Outcome::Failed(wire::outcome::Failed { failure: Some(Failure::Disk(why)), .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(why, "artifact site: as the story says");
}
