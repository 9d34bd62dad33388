//! `ocelot why`: what each unfinished task waits for, executor by executor.

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::Why;
use crate::client::{Api, Repeat};
use crate::error::Result;
use crate::shape;
use crate::show::{Output, Tone, plain};
use crate::words;

#[derive(Debug, Serialize)]
struct Reasons {
    run: shape::Run,
    tasks: Vec<shape::Reason>,
}

pub(crate) async fn run(why: &Why, session: &Session) -> Result<()> {
    let client = session.client()?;
    let found = session.find(&client, why.run.run.as_deref()).await?;
    let run = found.run.unwrap_or_default();
    let reference = wire::run_reference::Reference::Id(run.id.clone());
    let request = wire::WhyRequest { run: Some(wire::RunReference { reference: Some(reference) }) };
    let call = async |api: Api, request| api.runs().why(request).await;
    let name = plain(&words::run_name(&run));
    let answer = client.call(&format!("ask why {name} is where it is"), Repeat::Safe, request, call).await?;
    let output = &session.output;
    let text = match words::run_outcome(&run) {
        Some(outcome) => format!("{name} {}\n", plain(&words::outcome(outcome))),
        None => text(&name, &found.tasks, &answer.tasks, output),
    };
    let tasks = answer.tasks.iter().map(shape::Reason::from).collect();
    output.result(text, &Reasons { run: shape::Run::from(&run), tasks })
}

fn text(name: &str, tasks: &[wire::Task], reasons: &[wire::TaskReason], output: &Output) -> String {
    let mut text = String::new();
    for reason in reasons {
        let what = if tasks.len() > 1 { format!("{name} {}", plain(&reason.name)) } else { name.to_owned() };
        text.push_str(&format!("{} {}\n", output.style.paint(Tone::Strong, what), plain(&reason.summary)));
        let width =
            reason.executors.iter().map(|executor| executor.executor.chars().count()).max().unwrap_or(0);
        for executor in &reason.executors {
            let says = match &executor.refusals[..] {
                [] => output.style.paint(Tone::Good, "would take it".to_owned()).to_string(),
                refusals => plain(&refusals.join("; ")),
            };
            text.push_str(&format!("  {:<width$}  {says}\n", plain(&executor.executor)));
        }
        let task = tasks.iter().find(|task| task.id == reason.task);
        if let Some(last) = task.and_then(|task| task.attempts.last()).filter(|last| last.outcome.is_none()) {
            text.push_str(&doing(last, output));
        }
    }
    text
}

/// What the attempt that goes on is doing.
fn doing(attempt: &wire::Attempt, output: &Output) -> String {
    if attempt.acknowledged_unix_us == 0 {
        return String::new();
    }
    let mut lines = format!("  taken {}\n", output.times.ago(attempt.acknowledged_unix_us));
    if !attempt.preparing.is_empty() {
        lines.push_str(&format!("  preparing: {}\n", plain(&attempt.preparing)));
    }
    lines.push_str(&format!("  log so far: {}\n", words::bytes(attempt.log_bytes)));
    lines
}
