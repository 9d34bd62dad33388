use std::path::PathBuf;

use ocelot_core::frame::Exit;
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};

use super::*;
use crate::attempt::{Failure, LogDigest, LogLoss, Timeout};
use crate::journal::{Accepted, Container, Entry, Phase};

mod world;

const GUARD: Duration = Duration::from_secs(60);

fn id() -> AttemptId {
    let task = TaskId { run: RunId::from_parts(1, [7; 10]), index: 0 };
    AttemptId { task, number: Attempt::FIRST, epoch: Epoch(0) }
}

fn stage(name: &str) -> Stage {
    Stage { name: name.into(), skipped: false, always: false, allow_failure: Tolerance::None }
}

fn always(name: &str) -> Stage {
    Stage { always: true, ..stage(name) }
}

fn spec(stages: Vec<Stage>) -> Spec {
    Spec { id: id(), guard: GUARD, secrets: true, setup: false, keep: Keep::Never, stages }
}

/// A task whose container is up, and whose first stage waits for more.
fn setting_up(stages: Vec<Stage>) -> Step {
    let spec = Spec { setup: true, ..spec(stages) };
    after(AttemptState::accepting(spec), opened())
}

fn container() -> Container {
    Container { id: "c1".into(), control: PathBuf::from("control") }
}

fn log(length: u64) -> LogDigest {
    LogDigest { length: Offset(length), sha256: [1; 32] }
}

fn accepted() -> Accepted {
    Accepted { plan_sha256: [0; 32], directory: PathBuf::from("a"), completion: [9; 16] }
}

/// Feeds events at second 1, and returns the state with the effects of the last one.
fn after(state: AttemptState, events: impl IntoIterator<Item = Event>) -> Step {
    events.into_iter().fold((state, vec![]), |(state, _), event| state.step(event, BootTime(1_000)))
}

fn code(index: u16, code: i32) -> Event {
    Event::StageEnded { index, end: StageEnd::Exit(Exit::Code(code)) }
}

fn opened() -> [Event; 6] {
    [
        Event::Journalled(Written::Accepted),
        Event::Acknowledged(Answer::Yes),
        Event::SecretsFetched(Answer::Yes),
        Event::Prepared,
        Event::Journalled(Written::Starting),
        Event::Launched(container()),
    ]
}

/// A task whose first stage runs.
fn running(stages: Vec<Stage>) -> AttemptState {
    after(AttemptState::accepting(spec(stages)), opened()).0
}

/// Ends what is left of the task, and returns the outcome that is journalled.
fn outcome(state: AttemptState) -> Outcome {
    let sealed = Event::Sealed { log: log(5), loss: None };
    let (_, effects) = after(state, [Event::Collected(Ok(vec![])), sealed]);
    match effects.as_slice() {
        [Effect::Journal(Entry::Ended(ended))] => ended.outcome.clone(),
        other => panic!("no result but {other:?}"),
    }
}

fn failed(stage: &str, failure: Failure) -> Outcome {
    Outcome::Failed { stage: Some(stage.into()), failure }
}

#[test]
fn a_good_attempt_goes_from_offer_to_nothing_left() {
    let mut state = AttemptState::accepting(spec(vec![stage("build")]));
    let events = opened().into_iter().chain([
        code(0, 0),
        Event::Collected(Ok(vec![])),
        Event::Sealed { log: log(5), loss: None },
        Event::Journalled(Written::Ended),
        Event::Completed(CompleteAnswer::Recorded),
        Event::Durable(Offset(5)),
        Event::SpoolDropped,
        Event::ContainerRemoved,
        Event::Journalled(Written::Done),
    ]);
    let mut lines = Vec::new();
    for event in events {
        let (next, effects) = state.step(event, BootTime(1_000));
        let names = effects.iter().map(|effect| {
            let text = format!("{effect:?}");
            let words: Vec<_> = text.split([' ', '(', '{']).filter(|word| !word.is_empty()).collect();
            words
                .iter()
                .take(if words[0] == "Journal" { 2 } else { 1 })
                .copied()
                .collect::<Vec<_>>()
                .join(" ")
        });
        lines.push(names.collect::<Vec<_>>().join(", "));
        state = next;
    }
    assert!(state.is_done());
    insta::assert_snapshot!(lines.join("\n"), @r"
    Acknowledge
    FetchSecrets, Prepare

    Journal Starting)
    StartContainer
    Journal Started, RunStage
    Collect
    SealLog
    Journal Ended
    RemoveContainer, PushLog, Complete

    DropSpool

    Journal Done)
    ");
}

#[test]
fn the_first_failure_is_the_tasks_and_only_always_stages_follow() {
    let stages = vec![stage("build"), stage("test"), always("clean"), stage("push"), always("report")];
    let (state, effects) = after(running(stages), [code(0, 0), code(1, 2)]);
    assert_eq!(effects, [Effect::RunStage { index: 2 }]);
    let (state, effects) = after(state, [code(2, 1)]);
    assert_eq!(effects, [Effect::RunStage { index: 4 }]);
    let (state, effects) = after(state, [code(4, 0)]);
    assert_eq!(effects, [Effect::Collect { success: false }]);
    assert_eq!(outcome(state), failed("test", Failure::Exit(2)));
}

#[test]
fn a_skipped_stage_is_told_and_passed() {
    let stages =
        vec![Stage { skipped: true, ..stage("a") }, stage("b"), Stage { skipped: true, ..always("c") }];
    let (state, effects) = after(AttemptState::accepting(spec(stages)), opened());
    let started = Effect::Journal(Entry::Started(container()));
    assert_eq!(effects, [started, Effect::TellSkipped { index: 0 }, Effect::RunStage { index: 1 }]);
    let (state, effects) = after(state, [code(1, 0)]);
    assert_eq!(effects, [Effect::TellSkipped { index: 2 }, Effect::Collect { success: true }]);
    assert_eq!(outcome(state), Outcome::Succeeded);
}

#[test]
fn an_allowed_failure_counts_as_good_and_a_tasks_limit_never_does() {
    let any = || Stage { allow_failure: Tolerance::Any, ..stage("a") };
    let some = || Stage { allow_failure: Tolerance::ExitCodes(vec![3]), ..stage("a") };
    let ends =
        |stage: Stage, end| outcome(after(running(vec![stage]), [Event::StageEnded { index: 0, end }]).0);
    let signal = StageEnd::Exit(Exit::Signal(9));
    let memory = StageEnd::OutOfMemory { limit_bytes: Some(7) };
    let limit = |limit| StageEnd::TimedOut(limit);
    assert_eq!(ends(any(), signal), Outcome::Succeeded);
    assert_eq!(ends(any(), memory), Outcome::Succeeded);
    assert_eq!(ends(any(), limit(Limit::Stage)), Outcome::Succeeded);
    assert_eq!(ends(any(), limit(Limit::Quiet)), Outcome::TimedOut(Timeout::Quiet));
    assert_eq!(ends(any(), limit(Limit::Run)), Outcome::TimedOut(Timeout::Run));
    assert_eq!(ends(some(), StageEnd::Exit(Exit::Code(3))), Outcome::Succeeded);
    assert_eq!(ends(some(), StageEnd::Exit(Exit::Code(4))), failed("a", Failure::Exit(4)));
    assert_eq!(ends(some(), signal), failed("a", Failure::Signal(9)));
    assert_eq!(ends(stage("a"), memory), failed("a", Failure::OutOfMemory { limit_bytes: Some(7) }));
    let timed_out = Outcome::TimedOut(Timeout::Stage { stage: "a".into() });
    assert_eq!(ends(stage("a"), limit(Limit::Stage)), timed_out);
}

#[test]
fn nothing_runs_after_the_limit_of_the_whole_attempt() {
    let state = running(vec![stage("a"), always("clean")]);
    let end = StageEnd::TimedOut(Limit::Run);
    let (_, effects) = after(state, [Event::StageEnded { index: 0, end }]);
    assert_eq!(effects, [Effect::Collect { success: false }]);
}

#[test]
fn a_cancel_ends_the_stage_and_lets_the_cleaning_run() {
    let state = running(vec![stage("build"), stage("test"), always("clean")]);
    let (state, effects) = after(state, [Event::Cancel]);
    assert_eq!(effects, [Effect::CancelStage { index: 0 }]);
    let end = StageEnd::Exit(Exit::Signal(15));
    let (state, effects) = after(state, [Event::StageEnded { index: 0, end }]);
    assert_eq!(effects, [Effect::RunStage { index: 2 }]);
    let (state, effects) = after(state, [Event::Cancel]);
    assert_eq!(effects, [], "a repeated cancel takes the cleaning");
    assert_eq!(outcome(after(state, [code(2, 0)]).0), Outcome::Cancelled);
}

#[test]
fn a_cancel_before_the_container_starts_nothing() {
    for cut in 0..5 {
        let events =
            opened().into_iter().take(cut).chain([Event::Cancel]).chain(opened().into_iter().skip(cut));
        let (mut state, mut started) = (AttemptState::accepting(spec(vec![stage("a")])), false);
        for event in events {
            let (next, effects) = state.step(event, BootTime(1_000));
            started |= effects.iter().any(|effect| matches!(effect, Effect::RunStage { .. }));
            state = next;
        }
        assert!(!started, "cancelled after {cut} events, and a stage ran");
        assert_eq!(outcome(state), Outcome::Cancelled);
    }
}

#[test]
fn nothing_is_started_when_less_than_five_seconds_of_the_guard_are_left() {
    for (at, starts) in [(56_000, true), (56_001, false), (70_000, false)] {
        let mut state =
            after(AttemptState::accepting(spec(vec![stage("a")])), opened().into_iter().take(4)).0;
        let (next, effects) = state.step(Event::Journalled(Written::Starting), BootTime(at));
        state = next;
        let deadline = BootTime(61_000);
        match starts {
            true => assert_eq!(effects, [Effect::StartContainer { deadline }]),
            false => {
                assert_eq!(effects, [Effect::SealLog]);
                assert!(matches!(outcome(state), Outcome::Lost { .. }));
            }
        }
    }
}

#[test]
fn the_guard_counts_from_the_first_sending_and_only_grows() {
    let state = AttemptState::accepting(spec(vec![stage("a")]));
    let (state, effects) = state.step(Event::Journalled(Written::Accepted), BootTime(1_000));
    assert_eq!(effects, [Effect::Acknowledge { sent: BootTime(1_000), repeat: 0 }]);
    let (state, effects) = state.step(Event::Acknowledged(Answer::Unknown), BootTime(30_000));
    assert_eq!(effects, [Effect::Acknowledge { sent: BootTime(1_000), repeat: 1 }]);
    let (state, _) = state.step(Event::Acknowledged(Answer::Yes), BootTime(40_000));
    let (state, _) = after(state, opened().into_iter().skip(2));
    let (state, effects) = after(state, [Event::Vouched { sent: BootTime(5_000) }]);
    assert_eq!(effects, [Effect::SetGuard { deadline: BootTime(65_000) }]);
    let (_, effects) = after(state, [Event::Vouched { sent: BootTime(4_000) }]);
    assert_eq!(effects, [Effect::SetGuard { deadline: BootTime(65_000) }]);
}

#[test]
fn a_container_that_ends_under_its_stages_says_why() {
    let gone = |gone| {
        let (state, effects) = after(running(vec![stage("a"), always("b")]), [Event::ContainerGone(gone)]);
        assert_eq!(effects, [Effect::Collect { success: false }]);
        outcome(state)
    };
    let memory = Gone::OutOfMemory { limit_bytes: None };
    assert_eq!(gone(memory), failed("a", Failure::OutOfMemory { limit_bytes: None }));
    assert_eq!(gone(Gone::GuardOver), guard_over());
    assert_eq!(gone(Gone::Died { why: "x".into() }), Outcome::Lost { why: "x".into() });
}

#[test]
fn what_cannot_be_made_ready_ends_the_attempt_with_its_cause() {
    let image = || Cause::Failed(Failure::Image { why: "no such image".into() });
    let prepared = opened().into_iter().take(3);
    let state =
        after(AttemptState::accepting(spec(vec![stage("a")])), prepared.chain([Event::NotPrepared(image())]));
    let expected = Outcome::Failed { stage: None, failure: Failure::Image { why: "no such image".into() } };
    assert_eq!(outcome(state.0), expected);
    let launching = opened().into_iter().take(5);
    let broken = Event::NotLaunched(Cause::Platform { why: "engine".into() });
    let state = after(AttemptState::accepting(spec(vec![stage("a")])), launching.chain([broken]));
    assert_eq!(outcome(state.0), Outcome::Lost { why: "engine".into() });
}

fn held(phase: Phase) -> Held {
    Held { id: id(), accepted: accepted(), sequence: crate::journal::Sequence(2), phase }
}

fn recovered(phase: Phase, found: Option<Found>, event: Event) -> Step {
    let stages = vec![stage("a"), stage("b"), always("c")];
    after(AttemptState::recovering(spec(stages), held(phase), found), [event])
}

fn found(ended: Vec<(u16, StageEnd)>, running: Option<u16>) -> Option<Found> {
    Some(Found { container: container(), ended, running, cancelled: None })
}

#[test]
fn recovery_goes_on_where_the_journal_and_the_engine_say() {
    let kept = |phase, found| recovered(phase, found, Event::Kept).1;
    let good = StageEnd::Exit(Exit::Code(0));
    assert_eq!(kept(Phase::Accepted, None), [Effect::Acknowledge { sent: BootTime(1_000), repeat: 0 }]);
    assert_eq!(kept(Phase::Starting, None), [Effect::SealLog]);
    assert_eq!(kept(Phase::Started(container()), None), [Effect::SealLog]);
    let started = Effect::Journal(Entry::Started(container()));
    assert_eq!(kept(Phase::Starting, found(vec![], None)), [started, Effect::RunStage { index: 0 }]);
    assert_eq!(kept(Phase::Started(container()), found(vec![], Some(0))), []);
    assert_eq!(kept(Phase::Started(container()), found(vec![(0, good)], Some(1))), []);
    assert_eq!(
        kept(Phase::Started(container()), found(vec![(0, good)], None)),
        [Effect::RunStage { index: 1 }]
    );
    let all = vec![(0, good), (1, good), (2, good)];
    assert_eq!(kept(Phase::Started(container()), found(all, None)), [Effect::Collect { success: true }]);
    let (state, _) = recovered(Phase::Starting, None, Event::Kept);
    let why = "the executor stopped, and the container is gone".to_owned();
    assert_eq!(outcome(state), Outcome::Lost { why });
}

#[test]
fn what_ends_while_the_session_is_opened_is_not_forgotten() {
    let good = StageEnd::Exit(Exit::Code(0));
    let ended = |index| Event::StageEnded { index, end: good };
    let gone = || Event::ContainerGone(Gone::Died { why: "gone".into() });
    let running = |stages| {
        AttemptState::recovering(spec(stages), held(Phase::Started(container())), found(vec![], Some(0)))
    };
    let two = || running(vec![stage("a"), stage("b")]);
    assert_eq!(after(two(), [ended(0), Event::Kept]).1, [Effect::RunStage { index: 1 }]);
    let one = || running(vec![stage("a")]);
    assert_eq!(after(one(), [ended(0), Event::Kept]).1, [Effect::Collect { success: true }]);
    assert_eq!(after(one(), [ended(0), gone(), Event::Kept]).1, [Effect::Collect { success: true }]);
    for events in [vec![gone(), Event::Kept], vec![ended(0), gone(), Event::Kept]] {
        let (state, effects) = after(two(), events);
        assert_eq!(effects, [Effect::Collect { success: false }]);
        assert_eq!(outcome(state), Outcome::Lost { why: "gone".into() });
    }
}

#[test]
fn a_cancel_that_the_supervisor_knows_survives_a_restart() {
    let (signal, good) = (StageEnd::Exit(Exit::Signal(15)), StageEnd::Exit(Exit::Code(0)));
    for (ended, running, asked) in [
        (vec![], Some(0), vec![]),
        (vec![(0, signal)], None, vec![Effect::RunStage { index: 2 }]),
        (vec![(0, good)], None, vec![Effect::RunStage { index: 2 }]),
        (vec![(0, good), (2, StageEnd::Exit(Exit::Code(1)))], None, vec![Effect::Collect { success: false }]),
    ] {
        let done = asked == [Effect::Collect { success: false }];
        let found = Found { container: container(), ended, running, cancelled: Some(0) };
        let (state, effects) = recovered(Phase::Started(container()), Some(found), Event::Kept);
        assert_eq!(effects, asked);
        assert!(!done || outcome(state) == Outcome::Cancelled);
    }
}

#[test]
fn until_the_session_decided_nothing_is_said_or_started() {
    for event in [Event::Cancel, Event::Prepared, Event::Vouched { sent: BootTime(1) }, Event::GuardLow] {
        assert_eq!(recovered(Phase::Accepted, None, event).1, []);
    }
    let fenced = recovered(Phase::Started(container()), found(vec![], Some(0)), Event::Fenced).1;
    assert_eq!(fenced, [Effect::KillContainer, Effect::Journal(Entry::Fenced), Effect::DropSpool]);
    let again = recovered(Phase::Fenced, None, Event::Fenced).1;
    assert_eq!(again, [Effect::KillContainer, Effect::DropSpool]);
}

#[test]
fn an_incomplete_log_is_sent_again_and_the_result_repeated() {
    let sealed = [code(0, 0), Event::Collected(Ok(vec![])), Event::Sealed { log: log(9), loss: None }];
    let (state, effects) =
        after(running(vec![stage("a")]), sealed.into_iter().chain([Event::Journalled(Written::Ended)]));
    let [
        Effect::RemoveContainer { keep: false },
        Effect::PushLog { .. },
        Effect::Complete { ended, repeat: 0 },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    let incomplete = Event::Completed(CompleteAnswer::LogIncomplete { expected: Offset(4) });
    let (state, effects) = after(state, [incomplete]);
    let again = Effect::Complete { ended: ended.clone(), repeat: 1 };
    assert_eq!(effects, [Effect::PushLog { from: Offset(4) }, again]);
    let (state, effects) =
        after(state, [Event::Completed(CompleteAnswer::Recorded), Event::Durable(Offset(8))]);
    assert_eq!(effects, [], "the spool goes before all of it is durable");
    let (_, effects) = after(state, [Event::LogBroken(LogLoss { at: Offset(8), why: "x".into() })]);
    assert_eq!(effects, [Effect::DropSpool]);
}

fn closing(failed: bool) -> AttemptState {
    let (state, effects) = after(running(vec![stage("a")]), [code(0, i32::from(failed))]);
    assert_eq!(effects, [Effect::Collect { success: !failed }]);
    state
}

#[test]
fn a_cancel_ends_what_is_being_kept_unless_it_is_kept_for_a_cancel() {
    let (state, effects) = after(closing(false), [Event::Cancel]);
    assert_eq!(effects, [Effect::StopCollecting, Effect::SealLog]);
    let (_, effects) = after(state, [Event::Sealed { log: log(9), loss: None }]);
    let [Effect::Journal(Entry::Ended(ended))] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((&ended.outcome, ended.artifacts.len()), (&Outcome::Cancelled, 0));

    let (state, effects) = after(running(vec![stage("a")]), [Event::Cancel, code(0, 143)]);
    assert_eq!(effects, [Effect::Collect { success: false }]);
    let (state, effects) = after(state, [Event::Cancel]);
    assert_eq!(effects, [], "the cancel is told again with each heartbeat");
    let (_, effects) = after(state, [Event::Collected(Ok(vec![world::artifact("report")]))]);
    assert_eq!(effects, [Effect::SealLog]);
}

#[test]
fn a_fence_ends_what_is_being_kept() {
    let (_, effects) = after(closing(false), [Event::Fenced]);
    let expected =
        [Effect::StopCollecting, Effect::KillContainer, Effect::Journal(Entry::Fenced), Effect::DropSpool];
    assert_eq!(effects, expected);
}

#[test]
fn what_could_not_be_kept_is_the_outcome_of_a_task_that_did_not_fail_before() {
    let end = |failed, cause| {
        let (_, effects) =
            after(closing(failed), [Event::Collected(Err(cause)), Event::Sealed { log: log(9), loss: None }]);
        let [Effect::Journal(Entry::Ended(ended))] = &effects[..] else { panic!("{effects:?}") };
        ended.outcome.clone()
    };
    let disk = Failure::Disk { why: "full".into() };
    let failed = Outcome::Failed { stage: None, failure: disk.clone() };
    assert_eq!(end(false, Cause::Failed(disk.clone())), failed);
    let lost = Outcome::Lost { why: "no controller".into() };
    assert_eq!(end(false, Cause::Platform { why: "no controller".into() }), lost);
    let exit = Outcome::Failed { stage: Some("a".into()), failure: Failure::Exit(1) };
    assert_eq!(end(true, Cause::Failed(disk)), exit);
}

#[test]
fn an_artifact_that_the_controllers_miss_is_pushed_again_and_the_result_repeated() {
    let kept = world::artifact("site");
    let ended = [
        Event::Collected(Ok(vec![kept.clone()])),
        Event::Sealed { log: log(0), loss: None },
        Event::Journalled(Written::Ended),
    ];
    let (state, effects) = after(closing(false), ended);
    let [.., Effect::Complete { ended, repeat: 0 }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(ended.artifacts, std::slice::from_ref(&kept));
    let ended = ended.clone();
    let missing = Event::Completed(CompleteAnswer::ArtifactMissing { index: 0 });
    let (state, effects) = after(state, [missing]);
    assert_eq!(effects, [Effect::PushArtifact { artifact: Box::new(kept), repeat: 1 }]);
    let (state, effects) = after(state, [Event::PushedAgain]);
    assert_eq!(effects, [Effect::Complete { ended, repeat: 1 }]);
    let (_, effects) = after(state, [Event::Completed(CompleteAnswer::Recorded), Event::PushedAgain]);
    assert_eq!(effects, [], "what is recorded is told no more");
}

#[test]
fn the_first_stage_waits_for_services_and_checkout() {
    let (state, effects) = setting_up(vec![stage("a")]);
    assert_eq!(effects, [Effect::Journal(Entry::Started(container())), Effect::SetUp]);
    let (state, effects) = after(state, [Event::Vouched { sent: BootTime(2_000) }]);
    assert!(matches!(effects.as_slice(), [Effect::SetGuard { .. }]), "{effects:?}");
    let (state, effects) = after(state, [Event::GuardLow]);
    assert_eq!(effects, [Effect::HeartbeatNow]);
    let (_, effects) = after(state, [Event::SetUp]);
    assert_eq!(effects, [Effect::RunStage { index: 0 }]);
}

#[test]
fn without_its_services_no_stage_runs_not_even_one_that_always_does() {
    let why = || Failure::Setup { why: "service db exited with 1".into() };
    let (state, _) = setting_up(vec![stage("a"), always("clean")]);
    let (state, effects) = after(state, [Event::NotSetUp(Cause::Failed(why()))]);
    assert_eq!(effects, [Effect::SealLog]);
    assert_eq!(outcome(state), Outcome::Failed { stage: None, failure: why() });
    let (state, _) = setting_up(vec![stage("a")]);
    let (state, effects) = after(state, [Event::Cancel, Event::SetUp]);
    assert_eq!(effects, []);
    assert_eq!(outcome(state), Outcome::Cancelled);
    let (state, _) = setting_up(vec![stage("a")]);
    let gone = Event::ContainerGone(Gone::Died { why: "gone".into() });
    let (state, effects) = after(state, [gone]);
    assert_eq!(effects, [Effect::SealLog]);
    assert_eq!(outcome(state), Outcome::Lost { why: "gone".into() });
}

#[test]
fn after_a_restart_services_are_waited_for_only_if_no_stage_began() {
    let spec = || Spec { setup: true, ..spec(vec![stage("a"), stage("b")]) };
    let held = |phase| {
        let mut journal = crate::journal::State::default();
        for entry in [Entry::Accepted(accepted()), Entry::Starting, phase] {
            journal.apply(&crate::journal::Record::Attempt { id: id(), entry }).unwrap();
        }
        journal.attempt(id()).unwrap().clone()
    };
    let started = || held(Entry::Started(container()));
    let found = Found { container: container(), ended: vec![], running: None, cancelled: None };
    let state = AttemptState::recovering(spec(), started(), Some(found.clone()));
    let (state, effects) = after(state, [Event::Kept]);
    assert_eq!(effects, [Effect::SetUp]);
    assert_eq!(after(state, [Event::SetUp]).1, [Effect::RunStage { index: 0 }]);
    let running = Found { running: Some(0), ..found.clone() };
    let state = AttemptState::recovering(spec(), started(), Some(running));
    assert_eq!(after(state, [Event::Kept]).1, []);
    let ended = Found { ended: vec![(0, StageEnd::Exit(Exit::Code(0)))], ..found };
    let state = AttemptState::recovering(spec(), started(), Some(ended));
    assert_eq!(after(state, [Event::Kept]).1, [Effect::RunStage { index: 1 }]);
}

#[test]
fn a_log_that_was_safe_before_the_result_is_dropped_as_well() {
    let state = running(vec![stage("a")]);
    let events = [
        code(0, 0),
        Event::Durable(Offset(5)),
        Event::Collected(Ok(vec![])),
        Event::Sealed { log: log(5), loss: None },
        Event::Journalled(Written::Ended),
        Event::Completed(CompleteAnswer::Recorded),
    ];
    assert_eq!(after(state, events).1, [Effect::DropSpool]);
}
