//! What happens to a repository becomes a run, exactly once: real repositories, a real store, and
//! controllers that race, stop and start.

mod forgotten;
mod lists;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ocelot_core::id::RunId;
use ocelot_domain::outcome::Actor;
use ocelot_domain::run::RunOutcome;
use ocelot_forge::Forge;
use ocelot_forge::event::{self, CommitId, Event, EventKind, Push, RepositoryId, RepositoryIdentity};
use ocelot_git::Allowed;
use tokio::task::JoinSet;

use super::world::{Controller, Executor, World, run_id, trigger};
use crate::reconcile::{projects, runs};
use crate::records::{EventDecision, ProjectName, RunRecord, Stage, Subject, TriggerKind, Trust};
use crate::seal::SealKey;
use crate::service::*;
use crate::store::Store;
use crate::store::keys::SecretScope;

const FILE: &str = "image: alpine\ncommand: [make]\n";
const SECRET: &str = "ana:t0ken-t0ken";

/// A repository that someone pushes to.
struct Origin {
    directory: tempfile::TempDir,
}

impl Origin {
    fn new() -> Self {
        let origin = Self { directory: tempfile::tempdir().unwrap() };
        origin.git(&["init", "--quiet", "--initial-branch=main"]);
        origin.git(&["config", "uploadpack.allowFilter", "true"]);
        origin.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        origin
    }

    fn with(file: &str) -> Self {
        let origin = Self::new();
        origin.commit("first", &[("ocelot.yml", file)]);
        origin
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.directory.path().display())
    }

    fn git(&self, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        }
        let output = command.arg("-C").arg(self.directory.path()).args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            std::fs::write(self.path(path), text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.head()
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}

fn name(text: &str) -> ProjectName {
    text.parse().unwrap()
}

fn widget() -> ProjectName {
    name("acme/widget")
}

fn ana() -> Actor {
    Actor("ana".into())
}

async fn controller(world: &World, called: &str, mirrors: &std::path::Path) -> Controller {
    let controller = world.controller(called).await;
    controller.service.set_seal(SealKey::new([7; 32]));
    let allowed = Allowed { http: false, file: true };
    controller.service.set_mirrors(Mirrors::new(mirrors.join(called), allowed, MIRRORS_BYTES));
    controller.service.set_url("https://ci.example.org");
    controller
}

/// One controller, one repository and its project.
struct Site {
    world: World,
    mirrors: tempfile::TempDir,
    controller: Controller,
    origin: Origin,
}

impl Site {
    async fn new(file: &str) -> Self {
        Self::of(Origin::with(file), ProjectChange::default()).await
    }

    async fn of(origin: Origin, change: ProjectChange) -> Self {
        let (world, mirrors) = (World::new(), tempfile::tempdir().unwrap());
        let controller = controller(&world, "a", mirrors.path()).await;
        let site = Self { world, mirrors, controller, origin };
        site.put(change).await;
        site
    }

    async fn put(&self, change: ProjectChange) -> PutProject {
        let change = ProjectChange { url: Some(self.origin.url()), ..change };
        let put =
            self.controller.service.put_project(&widget(), change, (false, false), &ana()).await.unwrap();
        self.controller.settle().await;
        put
    }

    async fn receive(&self, event: Event) -> Received {
        receive(&self.controller, &widget(), event).await
    }

    /// Receives and decides; returns what was decided.
    async fn decided(&self, event: Event) -> EventDecision {
        let id = self.receive(event).await.id;
        decide(&self.controller).await;
        self.controller.service.event(&widget(), id).await.unwrap().decision
    }

    async fn run_of(&self, event: Event) -> RunRecord {
        match self.decided(event).await {
            EventDecision::Run { run } => self.controller.run(run).await,
            decision => panic!("no run: {decision:?}"),
        }
    }

    async fn why_not(&self, event: Event) -> String {
        match self.decided(event).await {
            EventDecision::Ignored { why } => why,
            decision => panic!("not ignored: {decision:?}"),
        }
    }

    async fn look(&self) -> Vec<(String, EventDecision)> {
        look(&self.controller).await
    }

    async fn runs(&self) -> Vec<RunRecord> {
        all_runs(&self.controller).await
    }

    async fn commits(&self) -> Vec<String> {
        self.runs().await.into_iter().map(|run| run.source.unwrap().commit).collect()
    }
}

async fn receive(controller: &Controller, project: &ProjectName, event: Event) -> Received {
    let told = Told { project: project.clone(), source: TriggerKind::Webhook, event, delivery: None };
    controller.service.receive(told).await.unwrap()
}

async fn decide(controller: &Controller) {
    controller.settle().await;
    projects::once(&controller.service).await.unwrap();
    controller.settle().await;
}

/// Looks, decides what was found, and tells both.
async fn look(controller: &Controller) -> Vec<(String, EventDecision)> {
    let found = controller.service.look_at(&widget()).await.unwrap();
    decide(controller).await;
    let mut told = Vec::new();
    for event in found {
        let decided = controller.service.event(&widget(), event.id).await.unwrap();
        told.push((summary(&decided.event), decided.decision));
    }
    told
}

/// Returns all runs, in the order of their numbers.
async fn all_runs(controller: &Controller) -> Vec<RunRecord> {
    controller.settle().await;
    let mut runs = controller.service.runs(&RunFilter::default(), None, 500).runs;
    runs.sort_by_key(|run| (run.subject.name().to_owned(), run.number));
    runs
}

fn event(kind: EventKind) -> Event {
    Event {
        forge: None,
        repository: RepositoryIdentity {
            id: RepositoryId::from_text(""),
            full_name: "acme/widget".into(),
            clone_url_https: None,
            clone_url_ssh: None,
            default_branch: None,
            web_url: None,
            private: true,
        },
        actor: event::Actor { id: None, login: "ana".into() },
        kind,
    }
}

fn commit(text: &str) -> CommitId {
    CommitId::new(text).unwrap()
}

fn push(branch: &str, before: Option<&str>, after: &str) -> Event {
    event(EventKind::Push(Push {
        branch: branch.into(),
        before: before.map(commit),
        after: commit(after),
        forced: None,
        commits: Vec::new(),
        commits_total: 1,
        head_message: None,
    }))
}

fn pull_request(head: &str, from: &str) -> Event {
    let author = event::Actor { id: None, login: "eve".into() };
    let kind = EventKind::PullRequest(event::PullRequest {
        number: 7,
        title: "mine".into(),
        action: event::PullRequestAction::Opened,
        author,
        head_commit: commit(head),
        head_ref: "topic".into(),
        head_repository_id: Some(RepositoryId::from_text(from)),
        head_clone_url: None,
        base_ref: "main".into(),
        base_commit: None,
        base_repository_id: Some(RepositoryId::from_text("42")),
    });
    let mut event = event(kind);
    event.forge = Some(Forge::GitHub);
    event.repository.id = RepositoryId::from_text("42");
    event
}

#[tokio::test]
async fn a_push_becomes_one_run_however_often_it_is_told() {
    let site = Site::new(FILE).await;
    let told = push("main", None, &site.origin.head());
    let run = site.run_of(told.clone()).await;
    assert_eq!((run.number, run.trigger.kind, run.trigger.by.0.as_str()), (1, TriggerKind::Webhook, "ana"));
    let source = run.source.unwrap();
    assert_eq!((source.commit.as_str(), source.title()), (site.origin.head().as_str(), "first"));
    assert_eq!((source.reference.as_str(), source.author.as_str()), ("refs/heads/main", "Ada"));
    assert_eq!(source.trust, Trust::Own);
    let revision = site.world.embedded.health().await.unwrap().revision;
    for _ in 0..100 {
        let again = site.receive(told.clone()).await;
        assert_eq!(
            (again.id, again.existed, again.decision),
            (run.id, true, EventDecision::Run { run: run.id })
        );
        decide(&site.controller).await;
    }
    assert_eq!(site.world.embedded.health().await.unwrap().revision, revision, "a replay writes nothing");
    assert_eq!(site.runs().await.len(), 1);
}

#[tokio::test]
async fn two_controllers_that_are_told_the_same_make_one_run() {
    let site = Site::new(FILE).await;
    let other = controller(&site.world, "b", site.mirrors.path()).await;
    let mut before = None;
    for round in 0..5 {
        let after = site.origin.commit(&format!("change {round}"), &[]);
        let told = push("main", before.as_deref(), &after);
        let name = widget();
        let (one, two) = tokio::join!(site.receive(told.clone()), receive(&other, &name, told.clone()));
        assert_eq!(one.id, two.id);
        assert!(one.existed ^ two.existed, "one of them put it");
        site.controller.settle().await;
        other.settle().await;
        let both = tokio::join!(projects::once(&site.controller.service), projects::once(&other.service));
        // Who lost the race is told to try again, which finds it decided.
        both.0.unwrap();
        both.1.unwrap();
        decide(&site.controller).await;
        before = Some(after);
    }
    let numbers: Vec<u64> = site.runs().await.iter().map(|run| run.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_was_received_is_decided_by_whoever_comes_next() {
    let site = Site::new(FILE).await;
    let received = site.receive(push("main", None, &site.origin.head())).await;
    let Site { world, mirrors, controller: first, origin: _origin } = site;
    drop(first);
    let next = controller(&world, "b", mirrors.path()).await;
    decide(&next).await;
    let decision = next.service.event(&widget(), received.id).await.unwrap().decision;
    assert_eq!(decision, EventDecision::Run { run: received.id });
}

#[tokio::test]
async fn an_event_is_decided_as_soon_as_it_is_there_and_again_once_its_server_is_back() {
    let site = Site::new(FILE).await;
    let service = std::sync::Arc::clone(&site.controller.service);
    let mut loops = JoinSet::new();
    loops.spawn(async move { projects::follow(&service).await });
    let mut news = site.controller.service.view.changes();
    let mut until = async |id: RunId, wanted: &dyn Fn(&EventDecision) -> bool| {
        let reached = async {
            loop {
                let decision = site.controller.service.event(&widget(), id).await.unwrap().decision;
                if wanted(&decision) {
                    return;
                }
                news.next().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("it is decided");
    };
    let first = site.receive(push("main", None, &site.origin.head())).await;
    until(first.id, &|decision| *decision == EventDecision::Run { run: first.id }).await;

    let before = site.origin.head();
    let after = site.origin.commit("second", &[]);
    let away = site.origin.directory.path().with_extension("away");
    std::fs::rename(site.origin.directory.path(), &away).unwrap();
    let second = site.receive(push("main", Some(&before), &after)).await;
    let is_stuck = |decision: &EventDecision| matches!(decision, EventDecision::Pending { tries: 1.., .. });
    until(second.id, &is_stuck).await;
    site.controller.settle().await;
    assert!(site.controller.service.see_project(&widget(), false).trouble.is_some(), "the project tells why");
    std::fs::rename(&away, site.origin.directory.path()).unwrap();
    let advancing = async {
        loop {
            site.controller.advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
    };
    let is_decided = |decision: &EventDecision| *decision == EventDecision::Run { run: second.id };
    tokio::select! {
        () = until(second.id, &is_decided) => {}
        () = advancing => {}
    }
}

#[tokio::test]
async fn a_repository_is_looked_at_when_its_time_has_come() {
    let change = ProjectChange { poll_every_ms: Some(60_000), ..ProjectChange::default() };
    let site = Site::of(Origin::with(FILE), change).await;
    let service = std::sync::Arc::clone(&site.controller.service);
    let mut loops = JoinSet::new();
    loops.spawn(async move { projects::follow(&service).await });
    let reach = async |count: usize| {
        let reached = async {
            while site.runs().await.len() < count {
                site.controller.advance(Duration::from_secs(1)).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("it is looked at");
    };
    let first = site.origin.head();
    reach(1).await;
    let second = site.origin.commit("second", &[]);
    reach(2).await;
    assert_eq!(site.commits().await, [first, second]);
}

#[tokio::test]
async fn of_ten_projects_one_whose_server_is_down_holds_up_nobody() {
    let site = Site::new(FILE).await;
    let (head, url) = (site.origin.head(), site.origin.url());
    for number in 0..10 {
        let project = name(&format!("acme/p{number}"));
        let url = if number == 3 { "file:///nowhere/at/all".to_owned() } else { url.clone() };
        let change =
            ProjectChange { url: Some(url), default_branch: Some("main".into()), ..ProjectChange::default() };
        site.controller.service.put_project(&project, change, (true, false), &ana()).await.unwrap();
        receive(&site.controller, &project, push("main", None, &head)).await;
        receive(&site.controller, &project, push("other", None, &head)).await;
    }
    decide(&site.controller).await;
    for number in 0..10 {
        let project = name(&format!("acme/p{number}"));
        let events = site.controller.service.events(&project, None, 10).events;
        let pending = events.iter().filter(|event| event.is_pending()).count();
        assert_eq!((events.len(), pending), (2, if number == 3 { 2 } else { 0 }), "{project}");
    }
    let trouble = site.controller.service.see_project(&name("acme/p3"), false).trouble.unwrap();
    assert!(trouble.contains("git"), "{trouble}");
}

#[tokio::test]
async fn paths_are_compared_as_the_event_says() {
    let file = "tasks:\n  a: {image: alpine, command: [make], when: {paths: [src.c]}}\n";
    let site = Site::new(file).await;
    let origin = &site.origin;
    let first = origin.head();
    let is_skipped = async |event: Event| {
        let run = site.run_of(event).await;
        let plan = site.controller.service.plan(&run).await.unwrap();
        matches!(plan.tasks[0].gate, ocelot_core::plan::Gate::Skip { .. })
    };
    assert!(!is_skipped(push("main", None, &first)).await, "nothing to compare with");
    let docs = origin.commit("docs", &[("README", "x")]);
    assert!(is_skipped(push("main", Some(&first), &docs)).await, "the former head");
    let source = origin.commit("source", &[("src.c", "x")]);
    assert!(!is_skipped(push("main", Some(&docs), &source)).await);
    origin.git(&["checkout", "--quiet", "-b", "topic", &first]);
    let topic = origin.commit("topic", &[("README", "y")]);
    assert!(is_skipped(push("topic", None, &topic)).await, "a new branch: the merge base");
    origin.git(&["reset", "--quiet", "--hard", &first]);
    let forced = origin.commit("forced", &[("README", "z")]);
    assert!(!is_skipped(push("topic", Some(&topic), &forced)).await, "a forced push compares nothing");
}

#[tokio::test]
async fn what_starts_no_run_says_why() {
    let site = Site::new("image: alpine\ncommand: [make]\nbranches: [main]\n").await;
    let origin = &site.origin;
    let first = origin.head();
    origin.git(&["branch", "topic"]);
    let mut told = vec![site.why_not(push("topic", None, &first)).await];
    let skip = origin.commit("docs [skip ci]", &[]);
    told.push(site.why_not(push("main", Some(&first), &skip)).await);
    std::fs::remove_file(origin.path("ocelot.yml")).unwrap();
    let none = origin.commit("no file", &[]);
    told.push(site.why_not(push("main", Some(&skip), &none)).await.replace(&none[..7], "COMMIT"));
    let tag = event::Tag { tag: "v1".into(), before: None, object: commit(&first), commit: commit(&first) };
    origin.git(&["tag", "v1", &first]);
    told.push(site.why_not(event(EventKind::Tag(tag))).await);
    let gone = event(EventKind::BranchDeleted { branch: "topic".into(), before: Some(commit(&first)) });
    told.push(site.why_not(gone).await);
    site.put(ProjectChange { enabled: Some(false), ..ProjectChange::default() }).await;
    told.push(site.why_not(push("main", Some(&none), &first)).await);
    insta::assert_snapshot!(told.join("\n"), @r"
    branch topic does not match main
    the message contains [skip ci]
    there is no ocelot.yml at COMMIT
    tags start no runs here: there is no `tags`
    the branch was deleted
    the project is disabled
    ");
    assert!(site.runs().await.is_empty());
    let head = format!("{}refs%2Fheads%2Ftopic", widget().heads_folder());
    assert!(site.controller.service.view.get(&head).is_none(), "a deleted branch is forgotten");
}

#[tokio::test]
async fn a_wrong_definition_makes_a_run_that_is_rejected_and_says_what_is_wrong() {
    let site = Site::new("imge: alpine\ncommand: [make]\n").await;
    let origin = &site.origin;
    let first = origin.head();
    let engine = origin.commit("engine", &[("ocelot.yml", "image: alpine\ncommand: [make]\nengine: true\n")]);
    std::fs::remove_file(origin.path("ocelot.yml")).unwrap();
    let misnamed = origin.commit("misnamed", &[("ocelot.yaml", FILE)]);
    for (told, says) in [
        (push("main", None, &first), "imge"),
        (push("main", Some(&first), &engine), "not yet here"),
        (push("main", Some(&engine), &misnamed), "rename it to ocelot.yml"),
    ] {
        let id = site.receive(told).await.id;
        decide(&site.controller).await;
        let decision = site.controller.service.event(&widget(), id).await.unwrap().decision;
        assert!(matches!(&decision, EventDecision::Rejected { why } if why.contains(says)), "{decision:?}");
        let run = site.controller.run(id).await;
        assert!(run.rejected.as_ref().unwrap().contains(says));
        assert!(matches!(run.stage, Stage::Finished { outcome: RunOutcome::Rejected, .. }));
        assert_eq!(run.plan.tasks(), 0);
        let retry = RetryRequest { id: run_id(99), run: id, failed_only: false, by: ana() };
        assert!(matches!(site.controller.service.retry(retry).await, Err(Error::Conflict { .. })));
    }
}

#[tokio::test]
async fn a_fork_is_built_only_if_the_project_says_so_and_is_never_trusted() {
    let change = ProjectChange { forge: Some("github".into()), ..ProjectChange::default() };
    let site = Site::of(Origin::with(FILE), change).await;
    let origin = &site.origin;
    origin.git(&["checkout", "--quiet", "-b", "theirs"]);
    let head = origin.commit("theirs", &[("src.c", "x")]);
    origin.git(&["update-ref", "refs/pull/7/head", &head]);
    let why = site.why_not(pull_request(&head, "666")).await;
    assert!(why.contains("forks"), "{why}");
    site.put(ProjectChange { builds_forks: Some(true), ..ProjectChange::default() }).await;
    let next = origin.commit("more", &[]);
    origin.git(&["update-ref", "refs/pull/7/head", &next]);
    let run = site.run_of(pull_request(&next, "666")).await;
    assert!(!run.is_trusted());
    assert_eq!(run.source.unwrap().reference, "refs/pull/7/head");
    let last = origin.commit("own", &[]);
    origin.git(&["update-ref", "refs/pull/7/head", &last]);
    assert!(site.run_of(pull_request(&last, "42")).await.is_trusted(), "of the repository itself");
}

#[tokio::test]
async fn an_event_of_another_repository_is_refused() {
    let change = ProjectChange { forge: Some("github".into()), ..ProjectChange::default() };
    let site = Site::of(Origin::with(FILE), change).await;
    site.controller.service.learn_repository(&widget(), Forge::GitHub, "43").await.unwrap();
    let told = Told {
        project: widget(),
        source: TriggerKind::Webhook,
        event: pull_request(&site.origin.head(), "42"),
        delivery: None,
    };
    let revision = site.world.embedded.health().await.unwrap().revision;
    assert!(matches!(site.controller.service.receive(told).await, Err(Error::Conflict { .. })));
    assert_eq!(site.world.embedded.health().await.unwrap().revision, revision);
}

#[tokio::test]
async fn the_first_look_builds_the_default_branch_alone_and_later_ones_what_is_new() {
    let site = Site::new("image: alpine\ncommand: [make]\ntags: ['**']\n").await;
    let origin = &site.origin;
    origin.git(&["branch", "old"]);
    origin.git(&["tag", "v0"]);
    let first = origin.head();
    let words = |looked: Vec<(String, EventDecision)>| {
        let mut words: Vec<String> = looked.into_iter().map(|(words, _)| words).collect();
        words.sort();
        words
    };
    assert_eq!(words(site.look().await), ["push to main by poller"]);
    assert!(site.look().await.is_empty(), "nothing is new");

    origin.commit("second", &[]);
    let third = origin.commit("third", &[]);
    origin.git(&["branch", "topic"]);
    origin.git(&["branch", "-D", "old"]);
    origin.git(&["tag", "-a", "-m", "one", "v1"]);
    assert_eq!(
        words(site.look().await),
        [
            "deletion of branch old by poller",
            "push to main by poller",
            "push to topic by poller",
            "tag v1 by poller",
        ]
    );
    assert!(site.look().await.is_empty());
    origin.git(&["reset", "--quiet", "--hard", &first]);
    assert_eq!(words(site.look().await), ["push to main by poller"], "forced back");
    let mut commits = site.commits().await;
    commits.sort();
    let mut wanted = vec![first.clone(), first.clone(), third.clone(), third.clone(), third.clone()];
    wanted.sort();
    assert_eq!(commits, wanted, "main twice at the first, main, topic and the tag at the third");
    assert!(site.look().await.is_empty());
    // Forward and back once more: the same steps again are the same events, and no look tells them twice.
    origin.git(&["reset", "--quiet", "--hard", &third]);
    site.look().await;
    origin.git(&["reset", "--quiet", "--hard", &first]);
    site.look().await;
    assert!(site.look().await.is_empty());
}

#[tokio::test]
async fn a_webhook_and_a_look_never_build_a_commit_twice() {
    let site = Site::new(FILE).await;
    let origin = &site.origin;
    let first = origin.head();
    site.run_of(push("main", None, &first)).await;
    assert!(site.look().await.is_empty(), "a branch that an event has brought where it is");
    let second = origin.commit("second", &[]);
    let third = origin.commit("third", &[]);
    // The look sees one step where the webhooks tell of two, and it comes first.
    let looked = site.look().await;
    assert_eq!(looked.len(), 1);
    site.run_of(push("main", Some(&first), &second)).await;
    let why = site.why_not(push("main", Some(&second), &third)).await;
    assert!(why.contains("decided already"), "{why}");
    assert!(site.look().await.is_empty(), "a late event moves no branch back");
    // And the other way round: all is received, nothing decided, when the look comes.
    let fourth = origin.commit("fourth", &[]);
    let fifth = origin.commit("fifth", &[]);
    site.receive(push("main", Some(&third), &fourth)).await;
    site.receive(push("main", Some(&fourth), &fifth)).await;
    site.look().await;
    let mut commits = site.commits().await;
    let mut wanted = vec![first, second, third, fourth, fifth];
    commits.sort();
    wanted.sort();
    assert_eq!(commits, wanted);
}

#[tokio::test]
async fn two_controllers_that_look_at_once_make_one_run_of_each_commit() {
    let site = Site::new(FILE).await;
    let other = controller(&site.world, "b", site.mirrors.path()).await;
    other.settle().await;
    for round in 0..4 {
        let branch = format!("topic{round}");
        site.origin.git(&["branch", &branch]);
        site.origin.commit(&format!("change {round}"), &[]);
        let name = widget();
        let (one, two) = tokio::join!(site.controller.service.look_at(&name), other.service.look_at(&name));
        one.unwrap();
        two.unwrap();
        site.controller.settle().await;
        other.settle().await;
        let both = tokio::join!(projects::once(&site.controller.service), projects::once(&other.service));
        both.0.unwrap();
        both.1.unwrap();
        decide(&site.controller).await;
    }
    let mut built: Vec<(String, String)> = Vec::new();
    for run in site.runs().await {
        let source = run.source.unwrap();
        built.push((source.event.branch().unwrap().to_owned(), source.commit));
    }
    let count = built.len();
    built.sort();
    built.dedup();
    // Main at each of four commits, and three branches that were new after the first look.
    assert_eq!((count, built.len()), (7, 7));
}

#[tokio::test]
async fn a_run_on_request_is_of_the_commit_that_was_meant() {
    let site = Site::new("image: alpine\ncommand: [make]\ntags: ['**']\n").await;
    let origin = &site.origin;
    let first = origin.head();
    origin.git(&["tag", "v1"]);
    let second = origin.commit("second", &[]);
    let asked = |number: u8| BuildRequest {
        id: run_id(number),
        project: widget(),
        branch: None,
        commit: None,
        tag: None,
        env: BTreeMap::new(),
        definition: None,
        trigger: trigger(),
    };
    let service = &site.controller.service;
    let commit =
        async |request: BuildRequest| service.build(request).await.unwrap().run.source.unwrap().commit;
    assert_eq!(commit(asked(1)).await, second);
    assert_eq!(commit(BuildRequest { commit: Some(first[..8].into()), ..asked(2) }).await, first);
    assert_eq!(commit(BuildRequest { tag: Some("v1".into()), ..asked(3) }).await, first);
    let again = service.build(asked(1)).await.unwrap();
    assert_eq!((again.existed, again.run.number), (true, 1));
    let definition = Some("image: busybox\ncommand: [other]\n".to_owned());
    let given = service.build(BuildRequest { definition, ..asked(4) }).await.unwrap();
    assert_eq!(service.plan(&given.run).await.unwrap().tasks.len(), 1);
    let told = |error: Error| error.to_string();
    let wrong = BuildRequest { definition: Some("imge: x\n".into()), ..asked(5) };
    assert!(told(service.build(wrong).await.unwrap_err()).contains("imge"));
    let none = BuildRequest { branch: Some("nowhere".into()), ..asked(6) };
    assert!(matches!(service.build(none).await, Err(Error::Conflict { .. })));
    let hostile = BuildRequest { branch: Some("--upload-pack=x".into()), ..asked(7) };
    assert!(matches!(service.build(hostile).await, Err(Error::Invalid { .. })));
    let another = BuildRequest { branch: Some("main".into()), ..asked(1) };
    assert!(matches!(service.build(another).await, Err(Error::AlreadyExists { .. })));
    // A commit that no branch of the project holds may be a fork's: servers give it away as well.
    origin.git(&["checkout", "--quiet", "--detach", &first]);
    let theirs = origin.commit("theirs", &[]);
    origin.git(&["checkout", "--quiet", "main"]);
    let built = service.build(BuildRequest { commit: Some(theirs), ..asked(8) }).await.unwrap().run;
    assert!(!built.is_trusted());
}

#[tokio::test]
async fn the_last_success_of_a_branch_is_what_the_next_run_is_told() {
    let mut site = Site::new(FILE).await;
    let mut executor = Executor::ready(&site.controller, "x1", 4).await;
    let first = site.origin.head();
    let run = site.run_of(push("main", None, &first)).await;
    assert_eq!(run.source.unwrap().previous_success, None);
    let offered = executor.offered(&site.controller).await;
    assert_eq!(offered.source.as_ref().map(|source| source.commit.clone()), Some(first.clone()));
    assert_eq!(offered.env["OCELOT_BRANCH"], "main");
    assert!(!offered.needs_credentials);
    executor.acknowledge(&site.controller, offered.attempt).await.unwrap();
    executor.succeed(&site.controller, offered.attempt).await;
    site.controller.settle().await;
    runs::once(&site.controller.service).await.unwrap();
    site.controller.ended(run.id).await;
    site.controller.tick().await;
    let second = site.origin.commit("second", &[]);
    let next = site.run_of(push("main", Some(&first), &second)).await;
    assert_eq!(next.source.unwrap().previous_success, Some(first));
}

#[tokio::test]
async fn what_opens_the_repository_is_given_to_the_holder_of_the_attempt_alone() {
    let site = Site::new(FILE).await;
    let service = &site.controller.service;
    let scope = SecretScope::Project { owner: "acme".into(), name: "widget".into() };
    let new = NewSecret { scope, name: "reader".into(), value: SECRET.into(), allow_short: false };
    service.set_secret(new, &ana()).await.unwrap();
    site.put(ProjectChange { git_secret: Some("reader".into()), ..ProjectChange::default() }).await;
    let mut executor = Executor::ready(&site.controller, "x1", 4).await;
    let other = Executor::ready(&site.controller, "x2", 4).await;
    site.run_of(push("main", None, &site.origin.head())).await;
    let offered = executor.offered(&site.controller).await;
    assert!(offered.needs_credentials);
    let session = service.authenticate(&executor.token).await.unwrap();
    let stranger = service.authenticate(&other.token).await.unwrap();
    assert!(service.checkout_credentials(session, offered.attempt).await.is_err(), "not acknowledged");
    executor.acknowledge(&site.controller, offered.attempt).await.unwrap();
    assert!(service.checkout_credentials(stranger, offered.attempt).await.is_err());
    let Some(Opens::Login { user, password }) =
        service.checkout_credentials(session, offered.attempt).await.unwrap()
    else {
        panic!("no login");
    };
    assert_eq!((user.as_str(), password.as_str()), ("ana", "t0ken-t0ken"));
    for item in super::world::page(&site.world, "/ocelot/v1/").await.items {
        assert!(!item.value.windows(11).any(|bytes| bytes == b"t0ken-t0ken"), "{} shows it", item.key);
    }
}

#[tokio::test]
async fn a_project_is_put_once_and_its_hook_secret_is_shown_once() {
    let site = Site::new(FILE).await;
    let service = &site.controller.service;
    let same = ProjectChange { url: Some(site.origin.url()), ..ProjectChange::default() };
    assert!(!service.put_project(&widget(), same.clone(), (false, false), &ana()).await.unwrap().changed);
    let exists = service.put_project(&widget(), same.clone(), (true, false), &ana()).await;
    assert!(matches!(exists, Err(Error::AlreadyExists { .. })));
    let put = service.put_project(&widget(), same.clone(), (false, true), &ana()).await.unwrap();
    let secret = put.hook_secret.unwrap();
    assert!(put.changed && secret.len() == 64 && put.left_to_do[0].contains("/hooks/git/acme/widget"));
    let again = service.put_project(&widget(), same, (false, true), &ana()).await.unwrap();
    assert!(again.hook_secret.is_none() && !again.changed);
    let hour = Duration::from_secs(3600);
    let rotated = service.rotate_hook(&widget(), hour, &ana()).await.unwrap();
    let texts = async || {
        let secrets = service.hook_secrets(&service.project(&widget()).await.unwrap()).await.unwrap();
        secrets.iter().map(|secret| secret.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(texts().await, [rotated.secret.to_string(), secret.to_string()]);
    site.controller.advance(hour).await;
    assert_eq!(texts().await, [rotated.secret.to_string()]);
    for item in super::world::page(&site.world, "/ocelot/v1/").await.items {
        assert!(!item.value.windows(64).any(|bytes| bytes == secret.as_bytes()), "{} shows it", item.key);
    }
    let wrong = [
        ProjectChange { url: Some("ext::sh -c x".into()), ..ProjectChange::default() },
        ProjectChange { default_branch: Some("-x".into()), ..ProjectChange::default() },
        ProjectChange { forge: Some("svn".into()), ..ProjectChange::default() },
        ProjectChange { poll_every_ms: Some(1), ..ProjectChange::default() },
        ProjectChange { group: Some("a/b".into()), ..ProjectChange::default() },
    ];
    for change in wrong {
        let put = service.put_project(&widget(), change.clone(), (false, false), &ana()).await;
        assert!(matches!(put, Err(Error::Invalid { .. })), "{change:?}");
    }
}

#[tokio::test]
async fn a_removed_project_leaves_its_runs_and_nothing_else() {
    let site = Site::new(FILE).await;
    let run = site.run_of(push("main", None, &site.origin.head())).await;
    site.look().await;
    let service = &site.controller.service;
    assert!(service.remove_project(&widget()).await.unwrap().is_some());
    assert!(service.remove_project(&widget()).await.unwrap().is_none());
    for folder in ["projects", "events", "heads", "looks", "tags"] {
        let left = super::world::page(&site.world, &format!("/ocelot/v1/{folder}/")).await.items;
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    assert_eq!(site.controller.run(run.id).await.subject, Subject::Project { name: "acme/widget".into() });
    let filter =
        RunFilter { project: Some(ocelot_spec::Glob::compile("acme/*").unwrap()), ..RunFilter::default() };
    site.controller.settle().await;
    assert_eq!(service.runs(&filter, None, 10).runs.len(), 1);
}
