//! A push becomes a build, and the forge hears of it: real pushes, a hook that signs, and a double of
//! the forge that checks what it is told.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_controller::forge::testing::Fault;
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_e2e::engine::{IMAGE, docker};
use ocelot_e2e::fleet::forge::{PROJECT, Site, TARGET};
use ocelot_e2e::fleet::{Build, Fleet, Newcomer, RunId, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_forge::Forge;
use ocelot_proto::wire::outcome::Outcome;
use ocelot_proto::wire::project_event::Decision;

const NOBODY: &str = "0000000000000000000000000000000000000000";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("pipelines::push::a_push_is_built_in_containers_and_the_forge_hears_of_it", in_containers),
        trial("pipelines::push::a_failure_and_what_fixed_it_are_told_to_forge_and_room", failed_and_fixed),
        trial("pipelines::push::a_file_that_is_wrong_is_told_to_the_forge_with_its_fault", rejected),
        trial("pipelines::push::a_forge_in_trouble_has_the_last_state_in_the_end", through_trouble),
        trial("pipelines::push::a_push_outlives_the_controller_that_answered_it", outlives),
        trial("pipelines::push::a_tag_is_built_under_its_own_name", tagged),
        trial("pipelines::push::what_asks_for_no_run_makes_none", asks_for_none),
        trial("pipelines::push::a_fork_is_built_without_secrets", from_a_fork),
        trial("pipelines::push::deliveries_are_counted_by_what_was_decided", counted),
    ];
    for kind in [Forge::GitLab, Forge::Gitea, Forge::Bitbucket] {
        let name = format!("pipelines::push::{kind}_tells_of_a_push_and_hears_of_its_end");
        trials.push(trial(&name, move || at_another_forge(kind)));
    }
    for point in ["outbox.claimed", "outbox.posted"] {
        for (time, word) in [(1, "beginning"), (2, "end")] {
            let at = point.replace('.', "_");
            let name = format!("pipelines::push::a_kill_at_{at}_of_the_{word}_leaves_the_forge_right");
            trials.push(trial(&name, move || killed_while_telling(point, time)));
        }
    }
    trials
}

/// A site with an executor of plain processes.
async fn site(kind: Forge, settings: Settings) -> Result<Site> {
    let mut site = Site::start(kind, settings).await?;
    site.ground.add_executor(Newcomer { name: "one", slots: 2, ..Newcomer::default() }).await?;
    site.ground.fleet.caller(0)?.online(1).await?;
    Ok(site)
}

/// Returns what the newest attempt of a run's task printed.
async fn printed(fleet: &Fleet, run: RunId, task: u32) -> Result<String> {
    use ocelot_proto::wire::ReadLogRequest;
    let reference = Some(ocelot_e2e::fleet::reference(run));
    let request = ReadLogRequest { run: reference, task, ..ReadLogRequest::default() };
    let mut stream = fleet.caller(0)?.runs().read_log(request).await?.into_inner();
    let mut decoder = Decoder::at(Offset(0));
    let mut printed = Vec::new();
    while let Some(piece) = stream.message().await? {
        decoder.push(&piece.frames);
        while let Some(frame) = decoder.next_frame()? {
            if let Body::Stdout(bytes) | Body::Stderr(bytes) | Body::Platform(bytes) = frame.body {
                printed.extend_from_slice(bytes);
            }
        }
    }
    Ok(String::from_utf8(printed)?)
}

async fn ended(site: &Site, run: RunId) -> Result<Outcome> {
    let outcome = site.ground.fleet.caller(0)?.outcome(run).await;
    outcome.with_context(|| site.ground.fleet.last_words())
}

async fn in_containers() -> Result<()> {
    let mut site = Site::start(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    for name in ["one", "two"] {
        let more = ["--runtime", "docker"];
        site.ground.add_executor(Newcomer { name, slots: 1, more: &more, ..Newcomer::default() }).await?;
    }
    site.ground.fleet.caller(0)?.online(2).await?;
    // The first task waits until it is told to go on, so that the forge hears of the beginning first.
    let definition = format!(
        "defaults: {{image: '{IMAGE}', pull: never}}\n\
         tasks:\n  \
           build: {{stages: [{{name: make, script: ['until [ -e /tmp/go ]; do sleep 0.1; done', 'cat README', 'echo built $OCELOT_COMMIT']}}]}}\n  \
           unit: {{needs: [build], stages: [{{name: test, script: echo unit is fine}}]}}\n  \
           lint: {{needs: [build], stages: [{{name: look, script: echo lint is fine}}]}}\n"
    );
    let (commit, pushed) = site.push_definition(&definition, "main")?;
    let run = pushed.run()?;
    site.told(&commit, "ocelot/push", "pending").await?;
    let container = wait_until("the build's container", || async {
        let all = site.ground.fleet.traces.containers(false)?;
        all.into_iter().next().context("none is there")
    });
    let container = container.await.with_context(|| site.ground.fleet.last_words())?;
    wait_until("the build to be let go on", || async { docker(&["exec", &container, "touch", "/tmp/go"]) })
        .await?;
    let outcome = ended(&site, run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}\n{}", site.ground.fleet.last_words());
    let fleet = &site.ground.fleet;
    let seen = fleet.caller(0)?.run(run).await?;
    let names: Vec<_> = seen.tasks.iter().map(|task| task.name.as_str()).collect();
    for (task, line) in [
        ("build", format!("A shop.\nbuilt {commit}")),
        ("unit", "unit is fine".into()),
        ("lint", "lint is fine".into()),
    ] {
        let index = names.iter().position(|name| *name == task).context("the task is there")?;
        let said = printed(fleet, run, index.try_into()?).await?;
        ensure!(said.contains(&line), "{task} said {said:?}");
    }
    let end = site.told(&commit, "ocelot/push", "success").await?;
    ensure!(end.url.ends_with(&format!("/runs/{}", ocelot_core::id::RunId::from_bytes(run))), "{end:?}");
    ensure!(end.description.starts_with("#1 succeeded after "), "{end:?}");
    let states: Vec<_> = site.said(&commit, "ocelot/push").into_iter().map(|said| said.state).collect();
    ensure!(states == ["pending", "success"], "{states:?}");
    site.judge()
}

fn of_processes(script: &str) -> String {
    format!("runtime: process\nnotify: [{{to: {TARGET}}}]\nstages: [{{name: work, script: '{script}'}}]\n")
}

async fn failed_and_fixed() -> Result<()> {
    let site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    let mut ends = Vec::new();
    for (script, state) in [("exit 3", "failure"), ("echo fine", "success"), ("echo fine too", "success")] {
        let (commit, pushed) = site.push_definition(&of_processes(script), "main")?;
        ended(&site, pushed.run()?).await?;
        ends.push(site.told(&commit, "ocelot/push", state).await?.description);
    }
    ensure!(ends[0].starts_with("#1 failed after "), "{ends:?}");
    // The third run is nobody's news: it ended before its status was told.
    let notices = wait_until("two notifications", || async {
        let notices = site.notices()?;
        ensure!(notices.len() >= 2, "{notices:?}");
        anyhow::Ok(notices)
    });
    let notices = notices.await?;
    let told: Vec<_> = notices
        .iter()
        .map(|notice| (notice["run"]["number"].as_u64(), notice["run"]["outcome"].as_str()))
        .collect();
    ensure!(told == [(Some(1), Some("failure")), (Some(2), Some("fixed"))], "{told:?}");
    ensure!(notices[0]["run"]["project"] == PROJECT, "{notices:?}");
    site.judge()
}

async fn rejected() -> Result<()> {
    let site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    let (commit, pushed) = site.push_definition("runtime: process\nstagse: []\n", "main")?;
    let outcome = ended(&site, pushed.run()?).await?;
    ensure!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
    let said = site.told(&commit, "ocelot/push", "error").await?;
    let begins = "#1 was rejected: ocelot.yml:2:1: ";
    ensure!(said.description.starts_with(begins) && said.description.contains("stagse"), "{said:?}");
    site.judge()
}

async fn through_trouble() -> Result<()> {
    let site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    site.weather(Some(Fault::Status(500)));
    let (commit, pushed) = site.push_definition(&of_processes("echo fine"), "main")?;
    ended(&site, pushed.run()?).await?;
    for (more, next) in [(2, Some(Fault::Limited { seconds: 1 })), (2, Some(Fault::Mute)), (1, None)] {
        let enough = site.double.seen().struck + more;
        wait_until("the forge to be tried again", || async {
            let struck = site.double.seen().struck;
            ensure!(struck >= enough, "it was struck {struck} times");
            Ok(())
        })
        .await?;
        site.weather(next);
    }
    site.told(&commit, "ocelot/push", "success").await?;
    site.judge()
}

async fn outlives() -> Result<()> {
    let mut site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    for number in 1..=3 {
        let (commit, pushed) = site.push_definition(&of_processes(&format!("echo {number}")), "main")?;
        site.ground.fleet.controllers[0].kill_and_start()?;
        site.ground.fleet.ready().await?;
        let outcome = ended(&site, pushed.run()?).await?;
        ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
        site.told(&commit, "ocelot/push", "success").await?;
        let runs = site.runs().await?;
        ensure!(runs.len() == number, "{number} pushes made {} runs: {runs:?}", runs.len());
    }
    site.judge()
}

async fn tagged() -> Result<()> {
    let site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    let definition =
        "runtime: process\ntags: [\"v*\"]\nstages: [{name: work, script: echo tag $OCELOT_TAG}]\n";
    let (commit, pushed) = site.push_definition(definition, "main")?;
    ended(&site, pushed.run()?).await?;
    site.repository.git(&["tag", "--annotate", "--message", "One", "v1.0"])?;
    let run = site.push("v1.0")?.run()?;
    let outcome = ended(&site, run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    let said = printed(&site.ground.fleet, run, 0).await?;
    ensure!(said.contains("tag v1.0"), "it said {said:?}");
    // Of the tag's commit, not of the tag's own object, and beside the status of the branch.
    site.told(&commit, "ocelot/tag", "success").await?;
    site.told(&commit, "ocelot/push", "success").await?;
    site.judge()
}

async fn asks_for_none() -> Result<()> {
    let site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    let (_, pushed) = site.push_definition(&of_processes("echo fine"), "main:topic")?;
    ended(&site, pushed.run()?).await?;
    site.repository.commit("Correct a word [skip ci]")?;
    let skipped = site.push("main")?.run()?;
    let deleted = site.push(":topic")?.run()?;
    for (event, word) in [(skipped, "skip ci"), (deleted, "deleted")] {
        wait_until("the decision", || async {
            let events = site.events().await?;
            let found =
                events.iter().find(|found| *found.id == event).and_then(|found| found.decision.clone());
            let why = match found {
                Some(Decision::Ignored(why)) => why,
                other => anyhow::bail!("it is {other:?}"),
            };
            ensure!(why.contains(word), "it is ignored because {why}");
            Ok(())
        })
        .await?;
    }
    let runs = site.runs().await?;
    ensure!(runs.len() == 1, "{runs:?}");
    site.judge()
}

async fn from_a_fork() -> Result<()> {
    let site = site(Forge::GitHub, Settings::embedded(Build::Plain)).await?;
    let canary = "canary-of-the-deploy-key-51b73ad";
    site.secret("deploy", canary).await?;
    let definition = format!(
        "runtime: process\nnotify: [{{to: {TARGET}, on: [always]}}]\n\
         stages: [{{name: work, secrets: [{{name: deploy, env: DEPLOY}}], script: 'echo \"deploy has ${{#DEPLOY}} letters\"; env'}}]\n"
    );
    let (_, pushed) = site.push_definition(&definition, "main")?;
    let own = pushed.run()?;
    ended(&site, own).await?;
    let said = printed(&site.ground.fleet, own, 0).await?;
    ensure!(said.contains(&format!("deploy has {} letters", canary.len())), "it said {said:?}");
    site.repository.write("theirs", "From outside.\n")?;
    let commit = site.repository.commit("Take this")?;
    let theirs = site.push("main:refs/pull/7/head")?.run()?;
    let outcome = ended(&site, theirs).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    let said = printed(&site.ground.fleet, theirs, 0).await?;
    ensure!(said.contains("deploy has 0 letters") && !said.contains(canary), "it said {said:?}");
    ensure!(said.contains("no secrets"), "it does not say that secrets are withheld: {said:?}");
    site.told(&commit, "ocelot/pull-request", "success").await?;
    let notices = site.notices()?;
    ensure!(notices.iter().all(|notice| notice["run"]["number"] == 1), "a fork spoke: {notices:?}");
    site.judge()
}

async fn at_another_forge(kind: Forge) -> Result<()> {
    let site = site(kind, Settings::embedded(Build::Plain)).await?;
    let (good, bad) = match kind {
        Forge::GitHub | Forge::Gitea => ("success", "failure"),
        Forge::GitLab => ("success", "failed"),
        Forge::Bitbucket => ("SUCCESSFUL", "FAILED"),
    };
    for (script, state) in [("echo fine", good), ("exit 1", bad)] {
        let (commit, pushed) = site.push_definition(&of_processes(script), "main")?;
        ended(&site, pushed.run()?).await?;
        site.told(&commit, "ocelot/push", state).await?;
    }
    site.judge()
}

async fn counted() -> Result<()> {
    let settings = Settings { more: vec!["--metrics-open".into()], ..Settings::embedded(Build::Plain) };
    let site = site(Forge::GitHub, settings).await?;
    let (commit, pushed) = site.push_definition(&of_processes("echo fine"), "main")?;
    ended(&site, pushed.run()?).await?;
    site.push("main:other")?;
    let replayed = site.deliver("refs/heads/other", (NOBODY, &commit), None)?;
    ensure!(replayed.body["existed"] == true, "{replayed:?}");
    let note = site.deliver("refs/notes/commits", (NOBODY, &commit), None)?;
    ensure!(note.status == 200, "{note:?}");
    let forged =
        site.deliver("refs/heads/main", (NOBODY, &commit), Some("no secret of this project at all"))?;
    ensure!(forged.status == 401, "{forged:?}");
    let url = format!("{}/metrics", site.ground.fleet.url(0));
    let text = ocelot_e2e::fleet::forge::get(&url)?;
    for (decision, count) in [("accepted", 3), ("ignored", 1), ("not_proved", 1)] {
        let series =
            |order: [&str; 2]| format!("ocelot_hook_deliveries_total{{{}}} {count}\n", order.join(","));
        let (forge, decision) = ("forge=\"github\"".to_owned(), format!("decision=\"{decision}\""));
        ensure!(
            text.contains(&series([&forge, &decision])) || text.contains(&series([&decision, &forge])),
            "{count} {decision}: {text}"
        );
    }
    Ok(())
}

/// The controller dies in the middle of the first or the second word of a run.
async fn killed_while_telling(point: &'static str, time: u32) -> Result<()> {
    let mut site = site(Forge::GitHub, Settings::embedded(Build::Chaos)).await?;
    let go = site.ground.fleet.path("go");
    let controller = &mut site.ground.fleet.controllers[0];
    controller.kill()?;
    controller.start_with(Build::Chaos, &format!("kill:{point}:{time}"))?;
    site.ground.fleet.ready().await?;
    let script = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let (commit, pushed) = site.push_definition(&of_processes(&script), "main")?;
    let run = pushed.run()?;
    if time > 1 {
        site.told(&commit, "ocelot/push", "pending").await?;
        std::fs::write(&go, "")?;
    }
    let controller = &mut site.ground.fleet.controllers[0];
    let status = controller.ended().await;
    let status = status.with_context(|| format!("nothing passed {point}: {}", controller.last_words()))?;
    ensure!(!status.success(), "it ended by itself: {status}");
    controller.start_with(Build::Chaos, "")?;
    site.ground.fleet.ready().await?;
    if time == 1 {
        site.told(&commit, "ocelot/push", "pending").await?;
        std::fs::write(&go, "")?;
    }
    let outcome = ended(&site, run).await?;
    ensure!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    site.told(&commit, "ocelot/push", "success").await?;
    let runs = site.runs().await?;
    ensure!(runs.len() == 1, "{runs:?}");
    site.judge()
}
