//! `ocelot executor`: the machines that run jobs.

use std::fmt::Write;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use super::token::milliseconds;
use crate::args::{Drain, Executor, ExecutorList, ExecutorName, Quarantine, RegistrationToken, Remove};
use crate::client::{Api, Client, Repeat};
use crate::error::{Error, Result};
use crate::shape;
use crate::show::{Output, StatusLine, Table, Tone, plain, precise};
use crate::words;

/// How often somebody who waits for a drained executor looks again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Executors {
    executors: Vec<shape::Executor>,
}

#[derive(Debug, Serialize)]
struct NewToken {
    token: String,
    expires: Option<String>,
}

#[derive(Debug, Serialize)]
struct Kept {
    file: String,
    expires: Option<String>,
}

#[derive(Debug, Serialize)]
struct Removed<'a> {
    removed: &'a str,
}

pub(crate) async fn run(executor: &Executor, session: &Session) -> Result<()> {
    match executor {
        Executor::Token(token) => self::token(token, session).await,
        Executor::List(list) => self::list(list, session).await,
        Executor::Describe(name) => describe(name, session).await,
        Executor::Drain(drain) => self::drain(drain, session).await,
        Executor::Resume(name) => resume(name, session).await,
        Executor::Quarantine(quarantine) => self::quarantine(quarantine, session).await,
        Executor::Remove(remove) => self::remove(remove, session).await,
    }
}

fn named(name: &ExecutorName) -> Option<wire::ExecutorReference> {
    Some(wire::ExecutorReference { text: name.executor.clone() })
}

const SEE: &str = "see them: ocelot executor list";

async fn token(token: &RegistrationToken, session: &Session) -> Result<()> {
    let request = wire::CreateRegistrationTokenRequest {
        labels: token.label.clone(),
        uses: token.uses,
        expires_in_ms: milliseconds(Some(&token.expires))?,
    };
    let call = async |api: Api, request| api.admin().create_registration_token(request).await;
    let client = session.client()?;
    let made = client.call("make a registration token", Repeat::Never, request, call).await?;
    let output = &session.output;
    if let Some(file) = &token.file {
        let unwritable = |source| Error::Unwritable { file: file.clone(), source };
        keep(file, &made.token).map_err(unwritable)?;
        let kept = Kept { file: file.display().to_string(), expires: precise(made.expires_unix_us) };
        return output.result(format_args!("{}\n", kept.file), &kept);
    }
    let text = plain(&made.token);
    if !output.is_json() {
        let uses =
            if token.uses == 1 { "one machine".to_owned() } else { format!("{} machines", token.uses) };
        let until = output.times.ago(made.expires_unix_us);
        output.note(format_args!(
            "good for {uses}, ends {until}; on the new machine:\n  {}\n",
            register(&text)
        ));
    }
    let expires = precise(made.expires_unix_us);
    output.result(format_args!("{text}\n"), &NewToken { token: made.token, expires })
}

/// Puts a secret where its owner alone can read it; it has its name only when it is whole.
fn keep(file: &Path, secret: &str) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    // A temporary file is made for its owner alone.
    let mut draft = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    writeln!(draft, "{secret}")?;
    draft.as_file().sync_all()?;
    draft.persist(file).map(drop).map_err(|error| error.error)
}

/// What is typed on a new machine.
pub(crate) fn register(token: &str) -> String {
    format!("ocelot-executor register '{token}' && ocelot-executor start")
}

async fn list(list: &ExecutorList, session: &Session) -> Result<()> {
    let client = session.client()?;
    let mut request =
        wire::ListExecutorsRequest { labels: list.label.clone(), page_size: 500, page_token: String::new() };
    let mut executors = Vec::new();
    loop {
        let call = async |api: Api, request| api.admin().list_executors(request).await;
        let page = client.call("list executors", Repeat::Safe, request.clone(), call).await?;
        executors.extend(page.executors);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let output = &session.output;
    if executors.is_empty() && !output.is_json() {
        output.note("no executors fit; a token for a new machine: ocelot executor token");
        return Ok(());
    }
    let head = ["EXECUTOR", "STATE", "BUSY", "SEEN", "VERSION", "LABELS"];
    let mut table = Table::new(head, output.style, output.width);
    for executor in &executors {
        let (state, reason) = words::executor_state(executor);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        table.row([
            (Tone::Strong, executor.name.clone()),
            (state.tone(), format!("{}{reason}", state.word())),
            (Tone::Plain, format!("{}/{}", executor.attempts.len(), executor.slots)),
            (Tone::Plain, output.times.ago(executor.last_seen_unix_us)),
            (Tone::Plain, executor.version.clone()),
            (Tone::Dim, executor.labels.join(" ")),
        ]);
    }
    output.result(table, &Executors { executors: executors.iter().map(shape::Executor::from).collect() })
}

async fn get(client: &Client, name: &ExecutorName) -> Result<wire::Executor> {
    let request = wire::GetExecutorRequest { executor: named(name) };
    let call = async |api: Api, request| api.admin().get_executor(request).await;
    let doing = format!("describe the executor {}", plain(&name.executor));
    let answer = client.call(&doing, Repeat::Safe, request, call).await;
    Ok(answer.map_err(|error| error.with_hint(SEE))?.executor.unwrap_or_default())
}

async fn describe(name: &ExecutorName, session: &Session) -> Result<()> {
    let executor = get(&session.client()?, name).await?;
    let output = &session.output;
    output.result(text(&executor, output), &shape::Executor::from(&executor))
}

fn text(executor: &wire::Executor, output: &Output) -> String {
    let shape = shape::Executor::from(executor);
    let (state, reason) = words::executor_state(executor);
    let reason = reason.map(|reason| format!(": {}", plain(&reason))).unwrap_or_default();
    let busy = format!("{} of {}", executor.attempts.len(), executor.slots);
    let seen = format!(
        "{} (registered {})",
        output.times.ago(executor.last_seen_unix_us),
        output.times.ago(executor.registered_unix_us)
    );
    let rows = [
        ("Executor", plain(&executor.name)),
        ("Id", shape.id),
        ("State", format!("{}{reason}", output.style.paint(state.tone(), state.word()))),
        ("Slots", format!("{busy} busy")),
        ("Seen", seen),
        ("Version", plain(&executor.version)),
        ("Free disk", words::bytes(executor.disk_free_bytes)),
        ("Labels", plain(&executor.labels.join(" "))),
    ];
    let mut text = String::new();
    for (title, value) in rows {
        // Writing to a string cannot fail.
        let _always = writeln!(text, "{}{value}", output.style.paint(Tone::Dim, format!("{title:<11}")));
    }
    for held in shape.attempts {
        let _always = writeln!(text, "  runs task {} of {}, attempt {}", held.task, held.run, held.attempt);
    }
    text
}

async fn drain(drain: &Drain, session: &Session) -> Result<()> {
    let client = session.client()?;
    let reason = drain.reason.clone().unwrap_or_default();
    let request = wire::DrainExecutorRequest { executor: named(&drain.name), reason };
    let call = async |api: Api, request| api.admin().drain_executor(request).await;
    let doing = format!("drain the executor {}", plain(&drain.name.executor));
    let answer = client.call(&doing, Repeat::Safe, request, call).await;
    let mut executor = answer.map_err(|error| error.with_hint(SEE))?.executor.unwrap_or_default();
    let output = &session.output;
    let mut line = StatusLine::new(output.notes, output.width);
    while drain.wait && !executor.attempts.is_empty() {
        let left = executor.attempts.len();
        line.say(&format!("{} still runs {left}; it takes nothing new", plain(&executor.name)));
        SystemClock.sleep(LOOK_EVERY).await;
        executor = get(&client, &drain.name).await?;
    }
    drop(line);
    let says = match executor.attempts.len() {
        0 => "is drained".to_owned(),
        left => format!("takes nothing new, and still runs {left}"),
    };
    tell(session, &executor, &says)
}

async fn resume(name: &ExecutorName, session: &Session) -> Result<()> {
    let request = wire::ResumeExecutorRequest { executor: named(name) };
    let call = async |api: Api, request| api.admin().resume_executor(request).await;
    let doing = format!("resume the executor {}", plain(&name.executor));
    let answer = session.client()?.call(&doing, Repeat::Safe, request, call).await;
    let answer = answer.map_err(|error| error.with_hint(SEE))?;
    tell(session, &answer.executor.unwrap_or_default(), "takes work again")
}

async fn quarantine(quarantine: &Quarantine, session: &Session) -> Result<()> {
    let reason = quarantine.reason.clone();
    let request = wire::QuarantineExecutorRequest { executor: named(&quarantine.name), reason };
    let call = async |api: Api, request| api.admin().quarantine_executor(request).await;
    let doing = format!("quarantine the executor {}", plain(&quarantine.name.executor));
    let answer = session.client()?.call(&doing, Repeat::Safe, request, call).await;
    let answer = answer.map_err(|error| error.with_hint(SEE))?;
    tell(session, &answer.executor.unwrap_or_default(), "is in quarantine until somebody resumes it")
}

async fn remove(remove: &Remove, session: &Session) -> Result<()> {
    let name = &remove.name.executor;
    let request = wire::RemoveExecutorRequest { executor: named(&remove.name), force: remove.force };
    let call = async |api: Api, request| api.admin().remove_executor(request).await;
    let doing = format!("remove the executor {}", plain(name));
    // Not repeated by itself: the second answer would say that there is none.
    let answer = session.client()?.call(&doing, Repeat::Never, request, call).await;
    answer.map_err(|error| error.with_hint(SEE))?;
    session.output.result(format_args!("removed {}\n", plain(name)), &Removed { removed: name })
}

fn tell(session: &Session, executor: &wire::Executor, says: &str) -> Result<()> {
    let name = plain(&executor.name);
    session.output.result(format_args!("{name} {says}\n"), &shape::Executor::from(executor))
}
