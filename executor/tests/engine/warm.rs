//! Stories of containers that wait for tasks.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::controller::Fault;
use super::*;

/// Shows the container's own id, and what a task may see of what it runs in.
const LOOK: &str = "hostname; id -u; pwd; ls -A; echo $OF_PLAN; cat /proc/self/limits | wc -l; \
                    cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null; \
                    grep Cap /proc/self/status; wc -l < /proc/self/mountinfo; exit 3";
const WAIT: &str = "hostname; until [ -e go ]; do sleep 0.05; done; echo went";

/// A container that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    id: String,
    directory: PathBuf,
}

fn numbered(index: u32) -> AttemptId {
    AttemptId { task: TaskId { index, ..id().task }, ..id() }
}

impl World {
    /// Offers an attempt, after everything of those before it was told.
    fn begin(&self, index: u32, plan: &TaskPlan, source: Option<wire::Source>) {
        self.controller.set(|model| {
            model.completed.clear();
            model.log.clear();
        });
        self.offer_as(numbered(index), plan, source);
    }

    /// Waits for the end of an attempt, and until nothing of it is held.
    async fn end(&self) -> (Outcome, BTreeMap<String, String>) {
        let outcome = self.outcome().await;
        let said = self.said();
        self.controller.set(|model| model.heartbeats.clear());
        let is_free =
            |model: &controller::Model| model.heartbeats.last().is_some_and(|beat| beat.held.is_empty());
        self.controller.until("nothing held", is_free).await;
        (outcome, said)
    }

    async fn runs(&self, index: u32, plan: &TaskPlan) -> (Outcome, BTreeMap<String, String>) {
        self.begin(index, plan, None);
        self.end().await
    }

    /// Returns what waits, by the mark that is set when it can be taken.
    fn all_waiting(&self) -> Vec<Waiting> {
        let places = std::fs::read_dir(self.data.path().join("attempts")).unwrap();
        let places = places.map(|place| place.unwrap().path());
        let marked = places.filter(|place| place.join("control/waiting").exists());
        marked.map(|directory| Waiting { id: container_of(&directory), directory }).collect()
    }

    /// Waits until one waits that is not this.
    async fn one_waits(&self, not: Option<&Waiting>) -> Waiting {
        let others = || {
            let mut all = self.all_waiting();
            all.retain(|waiting| Some(waiting) != not && !waiting.id.is_empty());
            all
        };
        self.until("one waits", || others().len() == 1).await;
        others().remove(0)
    }

    /// The directory of the attempt that says these words.
    fn held(&self) -> PathBuf {
        let label = format!("label=ocelot.executor={}", self.controller.executor());
        let said = self.said();
        let own = said["0"].lines().next().unwrap().to_owned();
        let filters =
            ["ps", "--no-trunc", "--format", "{{.ID}} {{.Label \"ocelot.control\"}}", "--filter", &label];
        let all = docker(&filters);
        let line = all.lines().find(|line| line.starts_with(&own)).unwrap_or_else(|| panic!("{own}: {all}"));
        Path::new(line.split_once(' ').unwrap().1).parent().unwrap().to_owned()
    }

    fn go(&self) {
        std::fs::write(self.held().join("workspace/go"), "").unwrap();
    }

    fn all_containers(&self) -> BTreeSet<String> {
        let label = format!("label=ocelot.executor={}", self.controller.executor());
        docker(&["ps", "--all", "--no-trunc", "--quiet", "--filter", &label])
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn container_of(directory: &Path) -> String {
    let label = format!("label=ocelot.control={}", directory.join("control").display());
    docker(&["ps", "--no-trunc", "--quiet", "--filter", &label])
}

/// Who ran it, by the first line of what it said: the engine calls a container's host as the container.
fn ran_in(said: &BTreeMap<String, String>, waiting: &Waiting) -> bool {
    let own = said["0"].lines().next().unwrap();
    own.len() == 12 && waiting.id.starts_with(own)
}

fn without_first_line(said: &BTreeMap<String, String>) -> String {
    said["0"].lines().skip(1).collect::<Vec<_>>().join("\n")
}

fn limited(script: &str) -> TaskPlan {
    let mut plan = plan(script, vec![]);
    plan.resources.memory_bytes = Some(64 << 20);
    plan.resources.cpu_millis = Some(500);
    plan.environment.env = [("OF_PLAN".to_owned(), "told".to_owned())].into();
    plan
}

#[tokio::test]
async fn the_next_attempt_of_a_kind_finds_its_container_up_and_sees_no_difference() {
    let world = World::started_with(4).await;
    let (cold_end, cold) = world.runs(0, &limited(LOOK)).await;
    let first = world.one_waits(None).await;
    let (warm_end, warm) = world.runs(1, &limited(LOOK)).await;
    assert!(ran_in(&warm, &first), "{warm:?} {first:?}");
    assert!(!ran_in(&cold, &first));
    assert_eq!(cold_end, warm_end);
    assert_eq!(without_first_line(&cold), without_first_line(&warm));
    assert!(without_first_line(&warm).contains("/workspace\ntold\n"), "{warm:?}");
    let second = world.one_waits(Some(&first)).await;
    let (_, again) = world.runs(2, &limited(LOOK)).await;
    assert!(ran_in(&again, &second), "none is used twice");
    world.until("the used are gone", || !world.all_containers().contains(&first.id)).await;
    // What asks for something else gets something else.
    let third = world.one_waits(Some(&second)).await;
    let (_, other) = world.runs(3, &plan(LOOK, vec![])).await;
    assert!(!ran_in(&other, &third), "{other:?}");
    assert!(world.all_containers().contains(&third.id));
}

/// Takes what must differ from one container to the next out of what the engine shows of one.
fn shown(id: &str, directory: &Path) -> Value {
    let text = docker(&["inspect", id]);
    let mut all: Value = serde_json::from_str(&text).unwrap();
    let mut shown = all[0].take();
    let top = shown.as_object_mut().unwrap();
    for name in ["Id", "Created", "Name", "State", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath"] {
        top.remove(name).unwrap();
    }
    top.remove("GraphDriver").unwrap();
    shown["NetworkSettings"] = Value::Null;
    // The engine lists them in any order.
    let mounts = shown["Mounts"].as_array_mut().unwrap();
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    let host = shown["Config"]["Hostname"].take();
    // One engine tells it to the container in a variable as well.
    let host = format!("HOSTNAME={}", host.as_str().unwrap());
    shown["Config"]["Env"].as_array_mut().into_iter().for_each(|env| env.retain(|one| *one != *host));
    // The supervisor's first deadline.
    shown["Config"]["Entrypoint"][3].take();
    shown["Args"][2].take();
    let directory = directory.display().to_string();
    serde_json::from_str(&shown.to_string().replace(&directory, "DIRECTORY")).unwrap()
}

#[tokio::test]
async fn the_engine_shows_the_same_of_a_container_that_waited_and_it_belongs_to_its_attempt() {
    let world = World::started_with(1).await;
    world.begin(0, &limited(WAIT), None);
    world.until_said("0", "\n").await;
    let held = world.held();
    let cold = shown(&container_of(&held), &held);
    world.go();
    world.end().await;
    let waiting = world.one_waits(None).await;
    assert_eq!(shown(&waiting.id, &waiting.directory), cold);
    world.begin(1, &limited(WAIT), None);
    world.until_said("0", "\n").await;
    assert_eq!(world.held(), waiting.directory);
    assert_eq!(shown(&waiting.id, &waiting.directory), cold);
    let identity = std::fs::read_to_string(waiting.directory.join("control/identity")).unwrap();
    assert_eq!(identity.trim_end(), numbered(1).to_string());
    assert!(!waiting.directory.join("control/waiting").exists());
    world.go();
    let (outcome, said) = world.end().await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
}

#[tokio::test]
async fn what_waits_when_an_executor_dies_is_taken_away_at_the_next_start() {
    let mut world = World::started_with(4).await;
    world.runs(0, &plan("true", vec![])).await;
    let waiting = world.one_waits(None).await;
    world.killed().await;
    assert!(world.all_containers().contains(&waiting.id));
    world.start().await;
    world.clean().await;
}

#[tokio::test]
async fn a_container_that_waited_and_was_taken_is_found_again_by_the_next_executor() {
    let mut world = World::started_with(1).await;
    world.runs(0, &plan("true", vec![])).await;
    let waiting = world.one_waits(None).await;
    world.begin(1, &plan(WAIT, vec![]), None);
    world.until_said("0", "\n").await;
    world.killed().await;
    world.start().await;
    std::fs::write(waiting.directory.join("workspace/go"), "").unwrap();
    let (outcome, said) = world.end().await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    assert!(ran_in(&said, &waiting), "{said:?}");
    assert_eq!(without_first_line(&said), "went");
}

#[tokio::test]
async fn an_attempt_that_was_only_accepted_in_a_ready_place_begins_anew_there() {
    let mut world = World::started_with(1).await;
    world.runs(0, &plan("true", vec![])).await;
    let waiting = world.one_waits(None).await;
    world.controller.set(|model| model.calls.clear());
    world.controller.fault("acknowledge", &[Fault::Unavailable; 1000]);
    world.begin(1, &plan("hostname", vec![]), None);
    world.controller.until("an acknowledgement", |model| model.calls.contains(&"acknowledge")).await;
    world.killed().await;
    world.controller.set(|model| drop(model.faults.remove("acknowledge")));
    world.start().await;
    let (outcome, said) = world.end().await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    assert!(!ran_in(&said, &waiting), "{said:?}");
    assert!(!world.all_containers().contains(&waiting.id));
}

/// Makes a task with an image of its own.
fn moving(world: &World) -> (String, TaskPlan) {
    let image = format!("ocelot-test/moves:{}", world.controller.address.port());
    docker(&["tag", IMAGE, &image]);
    let mut plan = plan("hostname; cat /version 2>/dev/null || echo old", vec![]);
    plan.environment.runtime =
        Wanted::Container { image: image.clone(), pull: Pull::Never, pull_secret: None, engine: false };
    (image, plan)
}

/// Gives the name to another image.
fn renew(image: &str) {
    make_image("echo new > /version", &[], image);
}

#[tokio::test]
async fn what_waits_with_an_image_that_lost_its_name_is_replaced_before_it_is_asked_for() {
    let world = World::started_with(2).await;
    let (image, moved) = moving(&world);
    world.runs(0, &moved).await;
    let old = world.one_waits(None).await;
    renew(&image);
    // Whatever runs, all that waits is looked through.
    world.runs(1, &plan("true", vec![])).await;
    world.until("the old one is gone", || !world.all_containers().contains(&old.id)).await;
    world.until("two wait", || world.all_waiting().len() == 2).await;
    let waiting = world.all_waiting();
    let (_, said) = world.runs(2, &moved).await;
    assert_eq!(without_first_line(&said), "new");
    assert!(waiting.iter().any(|waiting| ran_in(&said, waiting)), "{said:?} {waiting:?}");
    drop(world);
    docker(&["rmi", "--force", &image]);
}

#[tokio::test]
async fn a_name_that_means_another_image_now_makes_a_container_of_that() {
    let world = World::started_with(1).await;
    let (image, plan) = moving(&world);
    let (_, said) = world.runs(0, &plan).await;
    assert_eq!(without_first_line(&said).lines().last(), Some("old"));
    let waiting = world.one_waits(None).await;
    renew(&image);
    let (outcome, said) = world.runs(1, &plan).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    assert_eq!(without_first_line(&said), "new");
    assert!(!ran_in(&said, &waiting));
    let next = world.one_waits(None).await;
    assert!(!world.all_containers().contains(&waiting.id));
    let (_, said) = world.runs(2, &plan).await;
    assert!(ran_in(&said, &next) && without_first_line(&said) == "new", "{said:?}");
    world.until("the container is gone", || !world.all_containers().contains(&next.id)).await;
    drop(world);
    docker(&["rmi", "--force", &image]);
}

#[tokio::test]
async fn a_container_that_died_while_it_waited_costs_an_attempt_nothing() {
    let world = World::started_with(1).await;
    world.runs(0, &plan("true", vec![])).await;
    for (index, how) in [(1, ["kill", "--signal=KILL"]), (2, ["rm", "--force"])] {
        let waiting = world.one_waits(None).await;
        docker(&[&how[..], &[&waiting.id]].concat());
        let (outcome, said) = world.runs(index, &plan("hostname", vec![])).await;
        assert!(matches!(outcome, Outcome::Succeeded(_)), "{how:?}: {outcome:?} {said:?}");
        assert!(!ran_in(&said, &waiting));
    }
}

#[tokio::test]
async fn files_of_secrets_and_a_commit_are_in_a_container_that_waited() {
    let world = World::started_with(1).await;
    let folder = tempfile::tempdir().unwrap();
    let source = repository(folder.path());
    let script = "hostname; cat file; echo; stat -c '%a' /run/own/key; cat /run/own/key; echo; test -w new || touch new";
    let mut plan = checked_out(script, vec![]);
    let delivery = SecretDelivery::File("/run/own/key".to_owned());
    plan.environment.secrets = vec![SecretUse { name: "key".to_owned(), delivery }];
    let mut all = Vec::new();
    let mut waiting = None;
    for index in 0..2 {
        world.begin(index, &plan, Some(source.clone()));
        let (outcome, said) = world.end().await;
        assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
        let was_warm = waiting.as_ref().is_some_and(|waiting| ran_in(&said, waiting));
        assert_eq!(was_warm, index > 0, "{said:?}");
        all.push(without_first_line(&said));
        waiting = Some(world.one_waits(waiting.as_ref()).await);
    }
    assert_eq!(all[0], "text\n600\n***");
    assert_eq!(all[0], all[1]);
    let name = waiting.unwrap().directory.file_name().unwrap().to_owned();
    let user = rustix::process::geteuid().as_raw();
    let memory = PathBuf::from(format!("/dev/shm/ocelot-{user}-{}", world.controller.executor())).join(name);
    assert_eq!(std::fs::metadata(&memory).unwrap().permissions().mode() & 0o777, 0o700);
    for file in std::fs::read_dir(memory.join("files")).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().len(), 0, "no value waits");
    }
}

#[tokio::test]
async fn want_of_memory_is_seen_in_a_container_that_waited() {
    let world = World::started_with(1).await;
    let mut greedy = plan("hostname; tail /dev/zero", vec![]);
    greedy.resources.memory_bytes = Some(32 << 20);
    let mut waiting = None;
    for index in 0..2 {
        let (outcome, said) = world.runs(index, &greedy).await;
        let Outcome::Failed(wire::outcome::Failed {
            failure: Some(failed::Failure::OutOfMemory(memory)),
            ..
        }) = outcome
        else {
            panic!("{outcome:?} {said:?}")
        };
        assert_eq!(memory.limit_bytes, 32 << 20);
        assert_eq!(waiting.as_ref().is_some_and(|waiting| ran_in(&said, waiting)), index > 0);
        waiting = Some(world.one_waits(waiting.as_ref()).await);
    }
}
