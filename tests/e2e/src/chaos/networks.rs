//! Networks that drop one direction, cut answers at every byte, or bring everyone back at once; and an
//! executor that lies.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Direction, Fleet, Light, LightSession, Network, Newcomer, Settings};
use ocelot_e2e::proxy::{Proxy, Way};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_until, within};
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire::outcome::Outcome;
use ocelot_proto::wire::{self, directive};

use super::oracle::Accepted;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("chaos::networks::nothing_from_the_executor_arrives_for_a_while", || one_way(Direction::Out)),
        trial("chaos::networks::nothing_to_the_executor_arrives_for_a_while", || one_way(Direction::In)),
        trial("chaos::networks::answers_cut_at_a_byte_lose_no_offer", || answers_cut(113)),
        trial("chaos::networks::two_hundred_executors_come_back_at_once", all_come_back),
        trial("chaos::networks::a_lying_executor_changes_nothing", a_lie),
    ]
}

async fn one_way(direction: Direction) -> Result<()> {
    let network = Network::new()?;
    let mut fleet = Fleet::start(Settings { beyond: true, ..Settings::embedded(Build::Plain) }).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 60, "")).await?;
    let url = format!("https://{}:{}", network.host(), fleet.port(0));
    let one =
        Newcomer { name: "one", slots: 1, urls: vec![url], network: Some(&network), ..Newcomer::default() };
    fleet.add(one).await?;
    caller.online(1).await.with_context(|| fleet.last_words())?;
    let run = caller.execute("normal", &[]).await?;
    let mut accepted = Accepted::default();
    accepted.add(run, "normal");
    let attempt = caller.running(run).await?;
    network.cut(direction)?;
    wait_until("packets to be dropped for some seconds", || async {
        let dropped = network.dropped(direction)?;
        ensure!(dropped >= 8, "{dropped} so far");
        Ok(())
    })
    .await?;
    network.mend(direction)?;
    let outcomes = accepted.judge(&fleet).await?;
    ensure!(matches!(outcomes[&run], Outcome::Succeeded(_)));
    let attempts = caller.run(run).await?.tasks[0].attempts.len();
    ensure!(attempts >= 1, "attempt {attempt} has no record");
    Ok(())
}

/// Cuts the executor's connection after more and more bytes of what it is answered.
async fn answers_cut(step: usize) -> Result<()> {
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 0, "")).await?;
    let proxy = Proxy::start(fleet.port(0)).await?;
    let urls = vec![proxy.endpoint()];
    fleet.add(Newcomer { name: "one", slots: 1, urls, ..Newcomer::default() }).await?;
    caller.online(1).await?;
    let mut accepted = Accepted::default();
    for bytes in (1..1500).step_by(step) {
        proxy.cut_after(Way::Answers, bytes);
        let run = caller.execute("normal", &[]).await?;
        accepted.add(run, "normal");
        caller.outcome(run).await.with_context(|| format!("cut after {bytes}\n{}", fleet.last_words()))?;
    }
    ensure!(proxy.cuts() > 8, "only {} answers were cut", proxy.cuts());
    accepted.judge(&fleet).await?;
    Ok(())
}

async fn all_come_back() -> Result<()> {
    const COUNT: usize = 200;
    let mut fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 0, "")).await?;
    let proxy = Proxy::start(fleet.port(0)).await?;
    let mut all = Vec::new();
    for index in 0..COUNT {
        let invitation: Invitation = fleet.registration(&[]).await?.parse()?;
        let light = Light::register(&proxy.endpoint(), &invitation.token, &format!("l{index}"), 1).await?;
        light.open().await?;
        all.push(light);
    }
    fleet.controllers[0].kill_and_start()?;
    proxy.hang_up();
    let mut back = tokio::task::JoinSet::new();
    for light in all {
        back.spawn(async move { wait_until("a session", || async { light.open().await.map(drop) }).await });
    }
    let returned = within("all to be back", back.join_all()).await?;
    returned.into_iter().collect::<Result<Vec<()>>>().with_context(|| fleet.last_words())?;
    fleet.add_executor("real", 1, &[]).await?;
    caller.online(1).await
}

/// What an executor holds and another one asks for.
async fn a_lie() -> Result<()> {
    let fleet = Fleet::embedded(Build::Plain).await?;
    let caller = fleet.caller(0)?;
    caller.put_job(&fleet.witness.job("normal", 0, "")).await?;
    let honest = session(&fleet, "honest").await?;
    let run = caller.execute("normal", &[]).await?;
    let offer = within("an offer", honest.poll(1, Vec::new())).await??;
    let attempt = offer.offers.first().and_then(|offer| offer.attempt.clone()).context("an offer")?;
    honest.acknowledge(attempt.clone(), 2).await?;
    let liar = session(&fleet, "liar").await?;
    let completion = liar.completion(attempt.clone(), 1);
    let lies = [
        liar.acknowledge(attempt.clone(), 2).await.map(drop),
        liar.client().complete(liar.with_token(completion)).await.map(drop),
        liar.client()
            .report(liar.with_token(wire::ReportRequest {
                attempt: Some(attempt.clone()),
                progress: Some(wire::Progress { sequence: 1, ..wire::Progress::default() }),
            }))
            .await
            .map(drop),
        liar.client()
            .fetch_secrets(liar.with_token(wire::FetchSecretsRequest {
                attempt: Some(attempt.clone()),
                names: Vec::new(),
                checkout: true,
            }))
            .await
            .map(drop),
    ];
    for lie in lies {
        let status = lie.err().context("a lie was believed")?;
        ensure!(status.code() == tonic::Code::Aborted, "a lie was answered {status:?}");
    }
    let held = vec![wire::Held {
        attempt: Some(attempt.clone()),
        phase: wire::held::Phase::Running.into(),
        log_end: 0,
    }];
    let answer = liar.heartbeat(1, held).await?;
    ensure!(answer.vouched.is_empty(), "it was vouched for");
    let killed =
        answer.directives.iter().any(|one| matches!(&one.directive, Some(directive::Directive::Kill(_))));
    ensure!(killed, "it may go on: {:?}", answer.directives);
    honest.complete(attempt, 2).await?;
    ensure!(matches!(caller.outcome(run).await?, Outcome::Succeeded(_)));
    Ok(())
}

async fn session(fleet: &Fleet, name: &str) -> Result<LightSession> {
    let invitation: Invitation = fleet.registration(&[]).await?.parse()?;
    Light::register(&fleet.url(0), &invitation.token, name, 1).await?.open().await
}
