use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::RunId;
use ocelot_core::plan::{Notify, NotifyOn, Plan};
use ocelot_domain::outcome::Actor;
use ocelot_domain::run::RunOutcome;
use ocelot_forge::Forge;
use ocelot_forge::secret::Secret;
use ocelot_spec::Event;
use zeroize::Zeroizing;

use super::*;
use crate::forge::testing::{Double, Fault, IMPATIENCE, PATIENCE, egress};
use crate::hooks::tests::bench::{Bench, Controller};
use crate::records::{Digest, RunRecord, SourceRecord, Stage, Subject, Trigger, TriggerKind, Trust};
use crate::service::Draft;
use crate::store::codec::encode;

const PROJECT: &str = "acme/widget";
const COMMIT: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

/// A project with a token at a double, and a controller that tells.
struct Site {
    bench: Bench,
    double: Double,
    one: Controller,
    outside: Outside,
    pace: Pace,
}

impl Site {
    async fn new(kind: Forge) -> Self {
        Self::within(PATIENCE, kind).await
    }

    /// One whose controller waits so long for each answer.
    async fn within(deadline: Duration, kind: Forge) -> Self {
        let bench = Bench::new();
        let double = Double::start(kind).await;
        let line = double.line_within(deadline, bench.clock.clone());
        let one = bench.controller("one", Some(line)).await;
        one.project(PROJECT, kind).await;
        one.give_token(PROJECT).await;
        let outside = Outside { egress: Arc::new(egress()), targets: targets(&double) };
        Self { bench, double, one, outside, pace: Pace::default() }
    }

    async fn accept(&self, number: u8, trust: Trust, notify: &[(&str, NotifyOn)]) -> (RunRecord, Plan) {
        let notify = notify.iter().map(|(to, on)| Notify { to: (*to).into(), on: vec![*on] }).collect();
        let plan = Plan { tasks: Vec::new(), concurrency: None, notify, group: None };
        let run = self.one.service.accept(draft(number, trust, None), plan.clone()).await.unwrap().run;
        self.one.settle().await;
        (run, plan)
    }

    /// Accepts a run that is rejected with its acceptance.
    async fn reject(&self, why: &str) {
        let plan = Plan { tasks: Vec::new(), concurrency: None, notify: Vec::new(), group: None };
        self.one.service.accept(draft(1, Trust::Own, Some(why)), plan).await.unwrap();
        self.one.settle().await;
    }

    /// Ends a run as the duty of runs does.
    async fn end(&self, (run, plan): &(RunRecord, Plan), outcome: RunOutcome) {
        let at = self.one.service.timestamp();
        let ended = RunRecord { stage: Stage::Finished { outcome, at }, ..run.clone() };
        let owed = self.one.service.owed_at_end(&ended, plan, outcome);
        let txn = Txn::new().put(Key::Run(run.id), encode(&ended, None)).and(owed);
        assert!(self.one.service.commit_duty(txn).await.unwrap());
        self.one.settle().await;
    }

    async fn once(&mut self) -> usize {
        self.one.settle().await;
        let told = once(&self.one.service, &self.outside, &mut self.pace).await;
        self.one.settle().await;
        told
    }

    /// Lets time pass until nothing is owed.
    async fn empty(&mut self) {
        for _ in 0..400 {
            self.once().await;
            if self.one.service.outbox().is_empty() {
                return;
            }
            self.bench.clock.advance(Duration::from_secs(5));
        }
        panic!("still owed: {:?}", self.one.service.outbox());
    }

    fn states(&self) -> Vec<String> {
        self.double.seen().statuses.values().flatten().cloned().collect()
    }

    fn trouble(&self) -> Option<String> {
        self.one.service.word_back_trouble(&PROJECT.parse().unwrap())
    }
}

fn draft(number: u8, trust: Trust, rejected: Option<&str>) -> Draft {
    let source = SourceRecord {
        url: "https://github.com/Codertocat/Hello-World".into(),
        commit: COMMIT.into(),
        reference: "refs/heads/main".into(),
        event: Event::Push { branch: "main".into() },
        message: "Fix <!channel> @here\n\nmore".into(),
        author: "Ana <ana@example.org>".into(),
        previous_success: None,
        trust,
    };
    Draft {
        id: RunId::derived([number; 16]),
        payload: Digest::of(&[number]),
        subject: Subject::Project { name: PROJECT.into() },
        trigger: Trigger { kind: TriggerKind::Webhook, by: Actor("ana".into()), schedule: None },
        retry: None,
        source: Some(source),
        rejected: rejected.map(str::to_owned),
    }
}

fn targets(double: &Double) -> Targets {
    let url = || Zeroizing::new(format!("http://{}/notify", double.address));
    let secret = Secret::new("n".repeat(32)).unwrap();
    BTreeMap::from([
        ("chat".to_owned(), Channel::Slack { url: url() }),
        ("audit".to_owned(), Channel::Generic { url: url(), secret }),
    ])
}

#[tokio::test]
async fn each_forge_hears_of_the_beginning_and_of_the_end_and_is_asked_once_more() {
    for (kind, words) in [
        (Forge::GitHub, ["pending", "success"]),
        (Forge::GitLab, ["pending", "success"]),
        (Forge::Gitea, ["pending", "success"]),
        (Forge::Bitbucket, ["INPROGRESS", "SUCCESSFUL"]),
    ] {
        let mut site = Site::new(kind).await;
        let run = site.accept(1, Trust::Own, &[]).await;
        assert_eq!(site.once().await, 1);
        assert_eq!(site.states(), [words[0]]);
        assert_eq!(site.one.service.outbox().len(), 0, "a beginning is not looked at");
        site.bench.clock.advance(Duration::from_secs(75));
        site.end(&run, RunOutcome::Succeeded).await;
        assert_eq!(site.once().await, 1);
        assert_eq!(site.once().await, 0, "it is looked at later");
        site.empty().await;
        assert_eq!(site.states(), words);
        let seen = site.double.seen();
        let words: Vec<&str> = seen.said.iter().map(|said| said.description.as_str()).collect();
        assert_eq!(words, ["#1 has begun", "#1 succeeded after 1 min 15 s"]);
        assert_eq!(seen.wrong, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_rejected_run_tells_each_forge_what_is_wrong_with_its_file() {
    for (kind, word) in [
        (Forge::GitHub, "error"),
        (Forge::GitLab, "failed"),
        (Forge::Gitea, "error"),
        (Forge::Bitbucket, "FAILED"),
    ] {
        let mut site = Site::new(kind).await;
        site.reject("ocelot.yml:2:1: there is no key `imge`\n2 | imge: alpine\nhint: did you mean `image`?")
            .await;
        site.empty().await;
        let seen = site.double.seen();
        let told: Vec<_> =
            seen.said.iter().map(|said| (said.state.as_str(), said.description.as_str())).collect();
        assert_eq!(told, [(word, "#1 was rejected: ocelot.yml:2:1: there is no key `imge`")]);
        assert_eq!(seen.wrong, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_forge_that_fails_in_every_way_for_a_while_has_the_last_state_in_the_end() {
    let mut site = Site::within(IMPATIENCE, Forge::GitHub).await;
    let run = site.accept(1, Trust::Own, &[]).await;
    let faults = [
        Fault::Status(500),
        Fault::Status(401),
        Fault::Limited { seconds: 30 },
        Fault::Status(502),
        Fault::Mute,
        Fault::Status(503),
        Fault::Status(429),
        Fault::Status(401),
    ];
    site.double.seen().faults.extend(faults);
    site.once().await;
    assert!(site.trouble().unwrap().contains("500"), "{:?}", site.trouble());
    site.bench.clock.advance(Duration::from_secs(5));
    site.once().await;
    assert!(site.trouble().unwrap().contains("token (401)"), "{:?}", site.trouble());
    site.end(&run, RunOutcome::Failed).await;
    site.empty().await;
    assert_eq!(site.double.last("ocelot/push").as_deref(), Some("failure"));
    assert!(site.double.seen().faults.is_empty(), "each fault was met");
    assert_eq!(site.trouble(), None);
}

#[tokio::test]
async fn what_was_told_by_a_controller_that_died_is_told_again_by_another() {
    let mut site = Site::new(Forge::GitHub).await;
    let run = site.accept(1, Trust::Own, &[]).await;
    site.once().await;
    site.end(&run, RunOutcome::Succeeded).await;
    // It is told, and the one who told it never learns.
    site.double.seen().faults.push_back(Fault::Mute);
    let two = site.bench.controller("two", Some(site.double.line(site.bench.clock.clone()))).await;
    let mut pace = Pace::default();
    let until_told = async {
        while site.double.seen().statuses.values().all(|states| states.len() < 2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = until_told => {}
        _ = once(&site.one.service, &site.outside, &mut pace) => panic!("it has no answer"),
    }
    two.settle().await;
    let mut pace = Pace::default();
    assert_eq!(once(&two.service, &site.outside, &mut pace).await, 0, "the claim is heeded for a while");
    site.bench.clock.advance(Duration::from_secs(31));
    assert_eq!(once(&two.service, &site.outside, &mut pace).await, 1);
    assert_eq!(site.states(), ["pending", "success", "success"]);
}

#[tokio::test]
async fn an_old_word_on_a_slow_way_is_not_the_last_one() {
    let mut site = Site::new(Forge::GitHub).await;
    let run = site.accept(1, Trust::Own, &[]).await;
    site.double.seen().faults.push_back(Fault::Hold);
    let two = site.bench.controller("two", Some(site.double.line(site.bench.clock.clone()))).await;
    let mut pace = Pace::default();
    let slow = once(&site.one.service, &site.outside, &mut pace);
    let meanwhile = async {
        while site.double.seen().calls == 0 {
            tokio::task::yield_now().await;
        }
        site.end(&run, RunOutcome::Failed).await;
        two.settle().await;
        let mut pace = Pace::default();
        assert_eq!(once(&two.service, &site.outside, &mut pace).await, 1);
        assert_eq!(site.states(), ["failure"]);
        site.double.seen().gate.notify_one();
    };
    tokio::join!(slow, meanwhile);
    assert_eq!(site.states()[..2], ["failure", "pending"], "the old word came last");
    site.empty().await;
    assert_eq!(site.double.last("ocelot/push").as_deref(), Some("failure"));
}

#[tokio::test]
async fn a_run_that_was_followed_by_another_of_the_commit_does_not_speak_over_it() {
    let mut site = Site::new(Forge::GitHub).await;
    let first = site.accept(1, Trust::Own, &[]).await;
    site.end(&first, RunOutcome::Failed).await;
    let second = site.accept(2, Trust::Own, &[]).await;
    site.end(&second, RunOutcome::Succeeded).await;
    site.empty().await;
    assert_eq!(site.states(), ["success"]);
}

#[tokio::test]
async fn a_status_that_somebody_took_back_is_said_once_more_and_no_more() {
    let mut site = Site::new(Forge::GitHub).await;
    let run = site.accept(1, Trust::Own, &[]).await;
    site.end(&run, RunOutcome::Succeeded).await;
    site.once().await;
    for states in site.double.seen().statuses.values_mut() {
        states.push("pending".into());
    }
    site.empty().await;
    assert_eq!(site.states(), ["success", "pending", "success"]);
}

#[tokio::test]
async fn a_word_is_given_up_when_it_cannot_be_told_and_the_project_shows_why() {
    let mut site = Site::new(Forge::GitHub).await;
    let first = site.accept(1, Trust::Own, &[]).await;
    site.double.seen().faults.push_back(Fault::Status(403));
    site.once().await;
    let trouble = site.one.service.see_project(&PROJECT.parse().unwrap(), false).trouble.unwrap();
    assert!(trouble.contains("lacks a right"), "{trouble}");
    assert_eq!(site.once().await, 0, "it is not tried again");
    site.end(&first, RunOutcome::Succeeded).await;
    site.empty().await;
    assert_eq!(site.trouble(), None, "a later word went through");

    let second = site.accept(2, Trust::Own, &[]).await;
    site.end(&second, RunOutcome::Succeeded).await;
    site.double.seen().faults.extend([Fault::Status(401); 1]);
    site.once().await;
    site.bench.clock.advance(Duration::from_secs(24 * 3600));
    site.once().await;
    assert!(site.trouble().unwrap().contains("for a day"), "{:?}", site.trouble());
    // It goes with its run.
    let txn = Txn::new().delete(Key::Run(second.0.id).to_string());
    assert!(site.one.service.commit_duty(txn).await.unwrap());
    site.one.settle().await;
    forget(&site.one.service).await.unwrap();
    site.one.settle().await;
    assert!(site.one.service.outbox().is_empty());
}

#[tokio::test]
async fn rooms_hear_what_they_asked_for_and_nothing_of_a_fork() {
    let mut site = Site::new(Forge::GitHub).await;
    let wants = [("chat", NotifyOn::Fixed), ("audit", NotifyOn::Failure), ("nobody", NotifyOn::Success)];
    for (number, outcome, trust) in [
        (1, RunOutcome::Failed, Trust::Own),
        (2, RunOutcome::Cancelled, Trust::Own),
        (3, RunOutcome::Failed, Trust::Fork),
        (4, RunOutcome::Succeeded, Trust::Own),
        (5, RunOutcome::Succeeded, Trust::Own),
    ] {
        let run = site.accept(number, trust, &wants).await;
        site.end(&run, outcome).await;
        site.once().await;
    }
    let nobody = site.one.service.outbox();
    let trouble: Vec<_> = nobody.iter().filter_map(|owed| owed.entry.step.trouble()).collect();
    assert_eq!(trouble.len(), 2, "{nobody:?}");
    assert!(trouble[0].contains("no target \"nobody\""), "{trouble:?}");
    let seen = site.double.seen();
    assert_eq!(seen.notices.len(), 2);
    let failed = &seen.notices[0];
    assert_eq!(
        (&failed.body["run"]["outcome"], &failed.body["run"]["number"]),
        (&"failure".into(), &1.into())
    );
    assert!(
        failed.header("x-ocelot-signature-256").is_some() && failed.header("x-ocelot-delivery").is_some()
    );
    let chat = seen.notices[1].body.to_string();
    assert!(chat.contains("#4") && chat.contains("is fixed"), "{chat}");
    assert!(!chat.contains("<!channel>") && !chat.contains("@here"), "{chat}");
}

#[test]
fn a_host_that_is_down_is_tried_by_one_at_a_time_and_bars_no_other() {
    let owed = |number: u8, host: &str| {
        let run = RunId::derived([number; 16]);
        let target = OutboxTarget::Status(Forge::GitHub);
        let entry = crate::records::OutboxEntry {
            run,
            subject: PROJECT.into(),
            target: target.clone(),
            wanted: crate::records::Wanted::Pending,
            number: 1,
            owed_at: ocelot_domain::task::state::Timestamp { unix_ms: 0 },
            step: OutboxStep::owed(),
        };
        let key = Key::Outbox { run, target: target.key() }.to_string();
        Seen { owed: Owed { key, revision: crate::store::Revision(1), entry }, host: host.into() }
    };
    let mut pace = Pace::default();
    let mut all: Vec<Seen> = (0..20).map(|number| owed(number, "down")).collect();
    all.push(owed(99, "up"));
    let second = Duration::from_secs(1);
    let due = pace.due(all.clone(), "one", second);
    assert_eq!(due.len(), 5, "four at a host, and the other");
    for seen in due {
        let end = match seen.host.as_str() {
            "up" => pace::End::Done,
            _ => pace::End::Later { wait: None, is_hosts: true },
        };
        pace.done(pace::Told { key: seen.owed.key, host: seen.host, end }, second, 0.0);
    }
    let hosts = |due: Vec<Seen>| due.into_iter().map(|seen| seen.host).collect::<Vec<_>>();
    assert_eq!(hosts(pace.due(all.clone(), "one", second)), ["up"], "the host that is down has a pause");
    let later = second * 60;
    assert_eq!(hosts(pace.due(all, "one", later)), ["down"], "then one tries");
}
