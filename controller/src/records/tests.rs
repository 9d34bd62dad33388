//! The stored shapes, as they are on disk: a change here needs a new version.

use std::sync::Arc;

use ocelot_core::id::{ExecutorId, Incarnation, RunId, SessionId};
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::Actor;
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::{Session, Timestamp};
use ocelot_forge::Forge;
use ocelot_forge::event::{self, CommitId, EventKind, Push, RepositoryId, RepositoryIdentity};

use super::executor::Past;
use super::*;
use crate::store::codec::assert_stored_shape;

fn at() -> Timestamp {
    Timestamp { unix_ms: 1_800_000_000_000 }
}

fn ana() -> Actor {
    Actor("ana".into())
}

fn executor() -> ExecutorId {
    ExecutorId::from_bytes([1; 16])
}

fn session() -> Session {
    Session { id: SessionId::from_bytes([2; 16]), executor: executor(), incarnation: Incarnation(3) }
}

fn run(plan: StoredPlan) -> RunRecord {
    let id = RunId::from_parts(1_700_000_000_000, [3; 10]);
    RunRecord {
        id,
        subject: Subject::Job { name: "build".into(), version: 2 },
        number: 42,
        payload: Digest::of(b"payload"),
        plan,
        trigger: Trigger { kind: TriggerKind::Retry, by: ana() },
        retry: Some(RetryOf { run: id, succeeded: vec![0] }),
        accepted_at: at(),
        stage: Stage::Finished { outcome: RunOutcome::Failed, at: at() },
        cancel: Some(Cancel { by: ana(), reason: Some("old".into()), force: true, at: at() }),
        source: None,
        rejected: None,
    }
}

#[test]
fn a_run_is_stored_as_the_one_on_file() {
    let plan = Plan { tasks: Vec::new(), concurrency: None, notify: Vec::new(), group: None };
    assert_stored_shape(&run(StoredPlan::Inline(Arc::new(plan))), include_bytes!("golden/run.v1"));
    let kept = StoredPlan::Kept { digest: Digest::of(b"plan"), tasks: 250 };
    assert_stored_shape(&run(kept), include_bytes!("golden/run_kept.v1"));
}

#[test]
fn a_job_is_stored_as_the_one_on_file() {
    let first = JobVersion { version: 1, text: "a".into(), by: ana(), at: at() };
    let job = JobRecord { name: "build".into(), versions: vec![first] }.with("b".into(), ana(), at());
    assert_stored_shape(&job, include_bytes!("golden/job.v1"));
    assert_stored_shape(&JobNumber(7), b"job_number/1\n7\n");
}

#[test]
fn an_executor_is_stored_as_the_one_on_file() {
    let notice = Notice { why: "disk".into(), by: ana(), at: at() };
    let runtime = RuntimeSupport { name: "docker".into(), version: "20".into(), whole_kill: true };
    let record = ExecutorRecord {
        id: executor(),
        name: "x1".into(),
        public_key: [9; 32],
        labels: vec!["!gpu".into()],
        slots: 4,
        machine: Machine { os: "linux".into(), runtimes: vec![runtime], ..Machine::default() },
        version: "0.1.0".into(),
        registered_with: Digest::of(b"token"),
        registered_at: at(),
        draining: Some(notice),
        quarantined: None,
    };
    assert_stored_shape(&record, include_bytes!("golden/executor.v1"));
    assert_stored_shape(&NameOf(executor()), b"executor_name/1\n\"01010101-0101-0101-0101-010101010101\"\n");
}

#[test]
fn a_session_and_its_epoch_are_stored_as_the_ones_on_file() {
    let token = Digest::of(b"token");
    let condition = Condition { refusing: Some("disk".into()), warm_images: vec!["alpine".into()] };
    let record = SessionRecord { session: session(), token, opened_at: at(), condition };
    assert_stored_shape(&record, include_bytes!("golden/session.v1"));
    let past = Past { session: session().id, incarnation: Incarnation(2), token };
    let epoch = ExecutorEpoch { past: vec![past], ..ExecutorEpoch::new(session(), token) };
    assert_stored_shape(&epoch, include_bytes!("golden/executor_epoch.v1"));
}

#[test]
fn an_executors_epoch_remembers_its_last_sessions_and_no_more() {
    let first = ExecutorEpoch::new(session(), Digest::of(b"0"));
    let many = (1..=9_u8).fold(first, |epoch, number| epoch.followed_by(session(), Digest::of(&[number])));
    let past: Vec<_> = many.past.iter().map(|past| past.token).collect();
    assert_eq!(past, [5, 6, 7, 8].map(|number| Digest::of(&[number])));
}

#[test]
fn only_a_long_time_to_live_is_written_down() {
    let epoch = ExecutorEpoch::new(session(), Digest::of(b"0"));
    let least = epoch.clone().with_session_ttl(std::time::Duration::from_secs(10));
    assert_eq!(least, epoch);
    let long = epoch.with_session_ttl(std::time::Duration::from_millis(13_500));
    assert_eq!(long.session_ttl_ms, Some(13_500));
    assert_eq!(long.followed_by(session(), Digest::of(b"1")).session_ttl().as_millis(), 13_500);
}

#[test]
fn a_jobs_history_is_bounded_and_never_loses_the_newest() {
    let first = JobVersion { version: 1, text: "a".into(), by: ana(), at: at() };
    let job = JobRecord { name: "build".into(), versions: vec![first] };
    let many = (0..200).fold(job.clone(), |job, number| job.with(number.to_string(), ana(), at()));
    assert_eq!((many.versions.len(), many.current().version), (50, 201));
    let heavy = job.with("x".repeat(300 * 1024), ana(), at());
    assert_eq!((heavy.versions.len(), heavy.current().version), (1, 2));
}

#[test]
fn what_an_attempt_went_through_is_stored_as_the_one_on_file() {
    let used = Used { user_cpu_us: 1, system_cpu_us: 2, max_rss_bytes: 3 };
    let exit = Some(StageExit::OutOfMemory { limit_bytes: Some(64) });
    let stage = StageRecord { index: 0, began_us: 4, ended_us: Some(5), exit, used: Some(used) };
    let told = Told {
        sequence: 6,
        up_us: Some(7),
        first_byte_us: Some(8),
        stages: vec![stage],
        preparing: String::new(),
    };
    let record = ProgressRecord {
        executor: executor(),
        log_at: Some("a".into()),
        offered_us: 9,
        acknowledged_us: 10,
        ended_us: Some(11),
        told,
    };
    assert_stored_shape(&record, include_bytes!("golden/progress.v1"));
}

fn project() -> ProjectRecord {
    let keys = crate::seal::SealKeys::from(crate::seal::SealKey::new([1; 32]));
    let fresh = crate::seal::Fresh::new([2; 56]);
    let sealed = |text: &str| keys.seal("context", text.as_bytes(), &fresh).unwrap();
    let hook = HookRecord {
        current: sealed("new"),
        previous: Some(PreviousSecret { secret: sealed("old"), until: at() }),
        registered: Some("17".into()),
        seen_at: Some(at()),
    };
    let link = ForgeLink { kind: Forge::GitHub, repository: Some("42".into()), api: None };
    ProjectRecord {
        name: "acme/widget".parse().unwrap(),
        url: "https://github.com/acme/widget".into(),
        forge: Some(link),
        default_branch: "main".into(),
        group: Some("web".into()),
        enabled: true,
        retention_ms: Some(86_400_000),
        poll_every_ms: None,
        git_secret: Some("reader".into()),
        forge_secret: None,
        builds_forks: true,
        hook: Some(hook),
        created_at: at(),
        updated_at: at(),
        updated_by: ana(),
    }
}

#[test]
fn a_project_is_stored_as_the_one_on_file() {
    assert_stored_shape(&project(), include_bytes!("golden/project.v1"));
}

fn push() -> event::Event {
    let repository = RepositoryIdentity {
        id: RepositoryId::from_text("42"),
        full_name: "acme/widget".into(),
        clone_url_https: None,
        clone_url_ssh: None,
        default_branch: Some("main".into()),
        web_url: None,
        private: true,
    };
    let push = Push {
        branch: "main".into(),
        before: None,
        after: CommitId::new(&"a1".repeat(20)).unwrap(),
        forced: Some(false),
        commits: Vec::new(),
        commits_total: 0,
        head_message: Some("add it".into()),
    };
    event::Event {
        forge: Some(Forge::GitHub),
        repository,
        actor: event::Actor { id: Some("7".into()), login: "ana".into() },
        kind: EventKind::Push(push),
    }
}

#[test]
fn an_event_is_stored_as_the_one_on_file() {
    let record = EventRecord {
        id: RunId::derived([4; 16]),
        project: project().name,
        source: TriggerKind::Webhook,
        event: push(),
        received_at: at(),
        deliveries: vec!["72d3162e".into()],
        decision: EventDecision::Pending { tries: 2, trouble: Some("the server did not answer".into()) },
    };
    assert_stored_shape(&record, include_bytes!("golden/event.v1"));
    let run = EventDecision::Run { run: record.id };
    assert_eq!(
        serde_json::to_string(&run).unwrap(),
        r#"{"run":{"run":"04040404-0404-8404-8404-040404040404"}}"#
    );
}

#[test]
fn an_event_remembers_its_first_delivery_and_no_replay_under_another_id() {
    let found_by_a_look = EventRecord {
        id: RunId::derived([4; 16]),
        project: project().name,
        source: TriggerKind::Poller,
        event: push(),
        received_at: at(),
        deliveries: Vec::new(),
        decision: EventDecision::Ignored { why: "tag".into() },
    };
    let delivered = found_by_a_look.delivered("0").unwrap();
    assert_eq!(delivered.deliveries, ["0"]);
    assert_eq!(delivered.delivered("0"), None);
    assert_eq!(delivered.delivered("1"), None);
}

#[test]
fn heads_looks_and_tags_are_stored_as_the_ones_on_file() {
    let head = HeadRecord {
        project: project().name,
        reference: "refs/heads/main".into(),
        commit: "a1".repeat(20),
        event: Some(RunId::derived([4; 16])),
        seen_at: at(),
        success: Some(SuccessRecord { commit: "b2".repeat(20), number: 41 }),
    };
    assert_stored_shape(&head, include_bytes!("golden/head.v1"));
    let look = LookRecord { at: at(), trouble: Some("the server did not answer".into()), is_known: true };
    assert_stored_shape(&look, include_bytes!("golden/look.v1"));
    let tags = TagsRecord { seen: [7, 9].into(), decided: [7].into() };
    assert_stored_shape(&tags, b"tags/1\n{\"seen\":[7,9],\"decided\":[7]}\n");
}

#[test]
fn an_old_hook_secret_works_until_its_time_is_over() {
    let hook = project().hook.unwrap();
    let works = |ms| hook.secrets(Timestamp { unix_ms: at().unix_ms + ms }).count();
    assert_eq!(hook.secrets(Timestamp { unix_ms: at().unix_ms - 1 }).count(), 2);
    assert_eq!((works(0), works(1)), (1, 1));
}

#[test]
fn a_project_is_named_by_owner_and_name() {
    let nested: ProjectName = "group/sub/app".parse().unwrap();
    assert_eq!((nested.owner(), nested.name()), ("group", "sub/app"));
    for wrong in ["", "acme", "/x", "acme/", "a//b", "../b", "a/..", "a/-b", "a/b c", "a/b\n", "a/.b"] {
        assert!(wrong.parse::<ProjectName>().is_err(), "{wrong:?}");
    }
    assert!(format!("a/{}", "b".repeat(300)).parse::<ProjectName>().is_err());
}

#[test]
fn secrets_are_stored_as_the_ones_on_file() {
    let key = crate::seal::SealKey::new([1; 32]);
    let fresh = crate::seal::Fresh::new([2; 56]);
    let sealed = crate::seal::SealKeys::from(key).seal("context", b"value", &fresh).unwrap();
    let about = SecretAbout { created_at: at(), updated_at: at(), updated_by: ana(), short: true };
    let record = SecretRecord { about, sealed: sealed.clone() };
    assert_stored_shape(&record, include_bytes!("golden/secret.v1"));
    let used = SecretUseRecord { at: at(), by: "build#42".into() };
    assert_stored_shape(&used, include_bytes!("golden/secret_use.v1"));
    assert_stored_shape(&RunSecretsRecord(sealed.clone()), include_bytes!("golden/sealed.v2"));
    let bare = BareSecrets { nonce: [1; 12], bytes: vec![1, 2] };
    assert_stored_shape(&bare, include_bytes!("golden/sealed.v1"));
    assert_stored_shape(&SealRecord(sealed), include_bytes!("golden/seal.v1"));
}

#[test]
fn what_is_kept_is_stored_as_the_ones_on_file() {
    let kept = Kept { digest: Digest::of(b"bytes"), size_bytes: 5 };
    let artifact = ArtifactRecord {
        task: "web".into(),
        kept,
        files: 12,
        attempt: 2,
        created_at: at(),
        expires_at: Some(Timestamp { unix_ms: at().unix_ms + 1 }),
    };
    assert_stored_shape(&artifact, include_bytes!("golden/artifact.v1"));
    let cache = CacheRecord {
        owner: "acme/site".into(),
        scope: "acme/site own branch main".into(),
        key: "node-20".into(),
        kept,
        files: 7,
        created_at: at(),
        used_at: at(),
    };
    assert_stored_shape(&cache, include_bytes!("golden/cache.v1"));
}
