//! The stored shapes, as they are on disk: a change here needs a new version.

use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch, ExecutorId, Incarnation, RunId, SessionId, TaskId};
use ocelot_core::plan::{Cause, Class, Plan};
use ocelot_domain::outcome::{Actor, Failure, Outcome, Timeout};
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::retry;
use ocelot_domain::task::state::{
    Approval, Completed, CompletionId, Ended, Failing, Group, JournalSequence, Live, LogEnd, Needs, Policy,
    Session, TaskState, Timestamp,
};
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
        trigger: Trigger { kind: TriggerKind::Retry, by: ana(), schedule: None },
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
    assert_stored_shape(&run(StoredPlan::Inline(Arc::new(plan))), "run.v1");
    let kept = StoredPlan::Kept { digest: Digest::of(b"plan"), tasks: 250 };
    assert_stored_shape(&run(kept), "run_kept.v1");
}

#[test]
fn a_job_is_stored_as_the_one_on_file() {
    let first = JobVersion { version: 1, text: "a".into(), by: ana(), at: at() };
    let job = JobRecord { name: "build".into(), versions: vec![first] }.with("b".into(), ana(), at());
    assert_stored_shape(&job, "job.v1");
    assert_stored_shape(&JobNumber(7), "job_number.v1");
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
    assert_stored_shape(&record, "executor.v1");
    assert_stored_shape(&NameOf(executor()), "executor_name.v1");
}

#[test]
fn a_session_and_its_epoch_are_stored_as_the_ones_on_file() {
    let token = Digest::of(b"token");
    let condition = Condition { refusing: Some("disk".into()), warm_images: vec!["alpine".into()] };
    let record = SessionRecord { session: session(), token, opened_at: at(), condition };
    assert_stored_shape(&record, "session.v1");
    let past = Past { session: session().id, incarnation: Incarnation(2), token };
    let epoch = ExecutorEpoch { past: vec![past], ..ExecutorEpoch::new(session(), token) };
    assert_stored_shape(&epoch, "executor_epoch.v1");
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
    assert_stored_shape(&record, "progress.v1");
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
    assert_stored_shape(&project(), "project.v1");
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
    assert_stored_shape(&record, "event.v1");
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
    assert_stored_shape(&head, "head.v1");
    let look = LookRecord { at: at(), trouble: Some("the server did not answer".into()), is_known: true };
    assert_stored_shape(&look, "look.v1");
    let tags = TagsRecord { seen: [7, 9].into(), decided: [7].into() };
    assert_stored_shape(&tags, "tags.v1");
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
    assert_stored_shape(&record, "secret.v1");
    let used = SecretUseRecord { at: at(), by: "build#42".into() };
    assert_stored_shape(&used, "secret_use.v1");
    assert_stored_shape(&RunSecretsRecord(sealed.clone()), "sealed.v2");
    let bare = BareSecrets { nonce: [1; 12], bytes: vec![1, 2] };
    assert_stored_shape(&bare, "sealed.v1");
    assert_stored_shape(&SealRecord(sealed), "seal.v1");
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
    assert_stored_shape(&artifact, "artifact.v1");
    let cache = CacheRecord {
        owner: "acme/site".into(),
        scope: "acme/site own branch main".into(),
        key: "node-20".into(),
        kept,
        files: 7,
        created_at: at(),
        used_at: at(),
    };
    assert_stored_shape(&cache, "cache.v1");
}

#[test]
fn the_schedules_of_a_job_are_stored_as_those_on_file() {
    use ocelot_core::schedule::{CatchUp, Overlap};
    use ocelot_domain::schedule::{Mark, Moment, Passed};

    let moment = Moment { unix_ms: 1_800_000_060_000 };
    let plain = ScheduleRecord {
        seed: 7,
        cron: "30 3 * * *".into(),
        timezone: "Europe/Berlin".into(),
        arguments: Digest::of(b"{}"),
        overlap: Overlap::Skip,
        catch_up: CatchUp::One,
        jitter_ms: 0,
        mark: Mark { until: moment, waiting: Vec::new() },
        runs: Vec::new(),
        passed: None,
        paused: None,
        trouble: None,
    };
    let full = ScheduleRecord {
        overlap: Overlap::Queue,
        catch_up: CatchUp::All,
        jitter_ms: 600_000,
        mark: Mark { until: moment, waiting: vec![moment] },
        runs: vec![
            ScheduledRun { run: plain.run_of(moment), moment: Some(moment) },
            ScheduledRun { run: RunId::from_parts(1_700_000_000_000, [3; 10]), moment: None },
        ],
        passed: Some(PassedMoment { moment, why: Passed::GoesOn }),
        paused: Some(Paused { by: ana(), at: at() }),
        trouble: Some("the argument `DB` is missing".into()),
        ..plain.clone()
    };
    let record = SchedulesRecord { job: "restore-check".into(), version: 2, schedules: vec![plain, full] };
    assert_stored_shape(&record, "schedules.v1");
}

#[test]
fn a_schedule_remembers_a_run_once_and_only_the_newest() {
    let mut schedule = ScheduleRecord {
        seed: 7,
        cron: "* * * * *".into(),
        timezone: "UTC".into(),
        arguments: Digest::of(b"{}"),
        overlap: ocelot_core::schedule::Overlap::Skip,
        catch_up: ocelot_core::schedule::CatchUp::One,
        jitter_ms: 0,
        mark: ocelot_domain::schedule::Mark {
            until: ocelot_domain::schedule::Moment { unix_ms: 0 },
            waiting: Vec::new(),
        },
        runs: Vec::new(),
        passed: None,
        paused: None,
        trouble: None,
    };
    for minute in [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] {
        let moment = ocelot_domain::schedule::Moment { unix_ms: minute * 60_000 };
        schedule.remember(ScheduledRun { run: schedule.run_of(moment), moment: Some(moment) });
    }
    let minutes: Vec<u64> = schedule.runs.iter().map(|run| run.moment.unwrap().unix_ms / 60_000).collect();
    assert_eq!(minutes, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

/// A task that has been through everything, in one state.
fn task(state: TaskState) -> Task {
    let outcome = |outcome| Ended {
        attempt: Attempt::FIRST,
        executor: executor(),
        outcome,
        completion: None,
        at: at(),
    };
    let whole = LogEnd::Whole { bytes: 5, sha256: [6; 32] };
    let cut = LogEnd::Truncated { at: 4, why: "gone".into() };
    let completed = |log| Some(Completed { id: CompletionId(7), log });
    let failed = |failure| Outcome::Failed { stage: Some("build".into()), failure };
    let ended = vec![
        Ended { completion: completed(whole), ..outcome(Outcome::Succeeded) },
        Ended { completion: completed(cut), ..outcome(failed(Failure::Exit(8))) },
        outcome(failed(Failure::Signal(9))),
        outcome(failed(Failure::OutOfMemory { limit_bytes: Some(10) })),
        outcome(failed(Failure::Image { why: "image".into() })),
        outcome(failed(Failure::Disk { why: "disk".into() })),
        outcome(failed(Failure::Policy { why: "policy".into() })),
        outcome(Outcome::Failed { stage: None, failure: Failure::Setup { why: "setup".into() } }),
        outcome(Outcome::TimedOut(Timeout::Queue)),
        outcome(Outcome::TimedOut(Timeout::Run)),
        outcome(Outcome::TimedOut(Timeout::Stage { stage: "build".into() })),
        outcome(Outcome::TimedOut(Timeout::Quiet)),
        outcome(Outcome::Cancelled { by: ana(), result: Some(Box::new(Outcome::Succeeded)) }),
        outcome(Outcome::Skipped { why: "skipped".into() }),
        outcome(Outcome::Rejected { why: "rejected".into() }),
        outcome(Outcome::Lost { why: "lost".into() }),
    ];
    let retry = retry::Policy {
        limit: 1,
        on: vec![Cause::Exit, Cause::Signal],
        exit_codes: vec![2],
        delay: Duration::from_millis(3),
    };
    let policy = Policy {
        class: Class::Exclusive,
        retry,
        queue_timeout: Duration::from_millis(11),
        approval_expires: Some(Duration::from_millis(12)),
        group: Some(Group { name: "/deploy".into(), limit: 13 }),
    };
    Task {
        id: TaskId { run: RunId::from_parts(1_700_000_000_000, [3; 10]), index: 14 },
        epoch: Epoch(15),
        policy,
        state,
        attempt: Some(Attempt::FIRST),
        tries: 16,
        waited: Duration::from_millis(17),
        failing: Some(Failing { deliveries: 18, since_waited: Duration::from_millis(19) }),
        avoided: vec![executor()],
        ended,
        changed_at: at(),
    }
}

#[test]
fn a_task_is_stored_in_each_state_as_the_one_on_file() {
    let live = Live { attempt: Attempt::FIRST, session: session() };
    let acknowledged = JournalSequence(20);
    let states = [
        ("task_waiting.v1", TaskState::Waiting { needs: Needs::Unmet, approval: Approval::Pending }),
        (
            "task_approved.v1",
            TaskState::Waiting { needs: Needs::Met, approval: Approval::Granted { by: ana() } },
        ),
        ("task_unapproved.v1", TaskState::Waiting { needs: Needs::Met, approval: Approval::NotNeeded }),
        ("task_queued.v1", TaskState::Queued { after: Duration::from_millis(21) }),
        ("task_offered.v1", TaskState::Offered { live }),
        ("task_running.v1", TaskState::Running { live, acknowledged }),
        ("task_cancelling.v1", TaskState::Cancelling { live, acknowledged, by: ana() }),
        ("task_finished.v1", TaskState::Finished { outcome: Outcome::Succeeded }),
    ];
    for (name, state) in states {
        assert_stored_shape(&task(state), name);
    }
}

#[test]
fn a_group_is_stored_as_the_one_on_file() {
    use ocelot_domain::placement::Holder;

    let run = RunId::from_parts(1_700_000_000_000, [3; 10]);
    let holders = [Holder::Run(run), Holder::Task(TaskId { run, index: 14 })].into();
    assert_stored_shape(&GroupRecord { holders }, "group.v1");
}

#[test]
fn what_is_to_be_told_is_stored_as_the_ones_on_file() {
    let owed = OutboxEntry {
        run: RunId::derived([4; 16]),
        subject: "acme/widget".into(),
        target: OutboxTarget::Status(Forge::GitHub),
        wanted: Wanted::Pending,
        number: 1,
        owed_at: at(),
        step: OutboxStep::Owed { claim: Some("c0".into()), trouble: Some("busy".into()), is_checked: true },
    };
    let ended = Wanted::Ended { outcome: RunOutcome::Failed, is_fixed: true };
    let posted = OutboxEntry {
        target: OutboxTarget::Notify("ops".into()),
        wanted: ended,
        step: OutboxStep::Posted,
        ..owed.clone()
    };
    let given_up = OutboxEntry { step: OutboxStep::GivenUp { why: "refused".into() }, ..posted.clone() };
    assert_stored_shape(&owed, "outbox_owed.v2");
    assert_stored_shape(&posted, "outbox_posted.v2");
    assert_stored_shape(&given_up, "outbox_given_up.v2");
}

#[test]
fn a_controller_is_stored_as_the_one_on_file() {
    let record = ControllerRecord {
        name: "c0".into(),
        life: 5,
        address: "https://c0:7070".into(),
        version: "0.1.0".into(),
        started_at: at(),
        certificate: Some([6; 32]),
        token: Digest::of(b"token"),
    };
    assert_stored_shape(&record, "controller.v1");
}
