//! One entry: claimed, told, and deleted if it is still what was told.

use std::time::Duration;

use ocelot_forge::api::Status;
use ocelot_forge::event::CommitId;
use ocelot_forge::notice::{Message, generic_message, slack_message};
use ocelot_proto::kit::chaos;

use super::pace::{End, Seen, Told};
use super::{Channel, Outside, words};
use crate::egress::{Call, EgressError};
use crate::forge::LineError;
use crate::records::{OutboxEntry, OutboxStep, OutboxTarget, ProjectName, RunRecord, Stage, Wanted};
use crate::service::{Owed, Reach, Result, Service};
use crate::store::codec::{decode, encode};
use crate::store::keys::Key;
use crate::store::{Expected, KeyValue, Txn, Verdict};

/// A claim that is older when it was told may have been taken over meanwhile.
const OLD: Duration = Duration::from_secs(10);
/// What could not be told for so long is not told any more.
const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
/// For what a person has to set right first.
const PERSON: Duration = Duration::from_secs(300);
/// How often the newest is told again in one go.
const ROUNDS: usize = 4;
const WHY_CHARS_MAX: usize = 300;

/// Why it was not told.
enum Trouble {
    Passing { why: String, wait: Option<Duration>, is_hosts: bool },
    Final { why: String },
}

/// Tells one entry, as new as it is.
pub(super) async fn tell(service: &Service, outside: &Outside, seen: Seen) -> Told {
    let Seen { owed, host } = seen;
    let key = owed.key.clone();
    let end = match newest(service, outside, owed).await {
        Ok(end) => end,
        Err(error) => {
            tracing::debug!(key, error = &error as &dyn std::error::Error, "a word is left for later");
            End::Later { wait: None, is_hosts: false }
        }
    };
    Told { key, host, end }
}

async fn newest(service: &Service, outside: &Outside, mut owed: Owed) -> Result<End> {
    for _ in 0..ROUNDS {
        let run = service.read(&Key::Run(owed.entry.run).to_string()).await?;
        let Some(run) = run.map(|item| decode::<RunRecord>(&item.value)).transpose()? else {
            // It has left with its history: nobody waits for a word of it.
            delete(service, &owed).await?;
            return Ok(End::Done);
        };
        let is_status = matches!(owed.entry.target, OutboxTarget::Status(_));
        if is_status && service.is_spoken_over(&run) {
            delete(service, &owed).await?;
            return Ok(End::Done);
        }
        match &owed.entry.step {
            OutboxStep::Owed { .. } => {}
            OutboxStep::Posted => return look(service, &owed, &run).await,
            OutboxStep::GivenUp { .. } => return Ok(End::Done),
        }
        let waited = service.timestamp().unix_ms.saturating_sub(owed.entry.owed_at.unix_ms);
        if Duration::from_millis(waited) >= GIVE_UP {
            let trouble = owed.entry.step.trouble().unwrap_or("nobody could tell it").to_owned();
            give_up(service, &owed, format!("it could not be told for a day: {trouble}")).await?;
            return Ok(End::Done);
        }
        let Some(claimed) = claim(service, &owed).await? else { return Ok(End::Done) };
        chaos::point("outbox.claimed");
        let begun = service.now();
        let said = say(service, outside, &claimed.entry, &run).await;
        chaos::point("outbox.posted");
        if let Err(trouble) = said {
            return left(service, &claimed, trouble).await;
        }
        let is_old = service.now().saturating_sub(begun) > OLD;
        match after(service, &claimed, is_old).await? {
            Some(next) => owed = next,
            None => return Ok(End::Done),
        }
    }
    Ok(End::Later { wait: None, is_hosts: false })
}

/// Writes the entry in place of the version that was seen; none if it has changed.
async fn write(service: &Service, owed: &Owed, step: OutboxStep) -> Result<Option<Owed>> {
    let entry = OutboxEntry { step, ..owed.entry.clone() };
    let key = owed.key.clone();
    let txn =
        Txn::new().when(key.as_str(), Expected::At(owed.revision)).put(key.as_str(), encode(&entry, None));
    match service.store.commit(txn).await? {
        Verdict::Committed(revision) => Ok(Some(Owed { key, revision, entry })),
        Verdict::Refused { .. } => Ok(None),
    }
}

async fn delete(service: &Service, owed: &Owed) -> Result<bool> {
    let key = owed.key.as_str();
    service.commit_duty(Txn::new().when(key, Expected::At(owed.revision)).delete(key)).await
}

async fn claim(service: &Service, owed: &Owed) -> Result<Option<Owed>> {
    let OutboxStep::Owed { trouble, is_checked, .. } = owed.entry.step.clone() else { return Ok(None) };
    let claim = Some(service.own_name().to_owned());
    write(service, owed, OutboxStep::Owed { claim, trouble, is_checked }).await
}

async fn give_up(service: &Service, owed: &Owed, why: String) -> Result<()> {
    let OutboxEntry { run, target, subject, .. } = &owed.entry;
    tracing::warn!(run.id = %run, subject, target = target.key(), why, "a word is given up");
    write(service, owed, OutboxStep::GivenUp { why }).await.map(drop)
}

/// What follows when it was told: none if that is all, else what is to be told again.
async fn after(service: &Service, told: &Owed, is_old: bool) -> Result<Option<Owed>> {
    let Some(item) = service.read(&told.key).await? else {
        return if_overtaken(service, told).await;
    };
    if item.mod_revision != told.revision {
        let next = owed_of(item)?;
        // The same state, told by another or to be told by it, is no news.
        let is_news = next.entry.number != told.entry.number;
        return Ok(is_news.then_some(next));
    }
    if is_old {
        return Ok(Some(told.clone()));
    }
    let OutboxEntry { target, wanted, step, .. } = &told.entry;
    let is_looked_at = match (target, wanted, step) {
        (OutboxTarget::Status(_), Wanted::Ended { .. }, OutboxStep::Owed { is_checked, .. }) => !is_checked,
        (OutboxTarget::Status(_) | OutboxTarget::Notify(_), _, _) => false,
    };
    tracing::info!(run.id = %told.entry.run, target = target.key(), number = told.entry.number, "a word was told");
    let is_kept = match is_looked_at {
        true => write(service, told, OutboxStep::Posted).await?.is_some(),
        false => delete(service, told).await?,
    };
    if is_kept {
        forget_older(service, told).await?;
        return Ok(None);
    }
    // It changed since it was read.
    match service.read(&told.key).await? {
        Some(item) => Ok(Some(owed_of(item)?).filter(|next| next.entry.number != told.entry.number)),
        None => if_overtaken(service, told).await,
    }
}

fn owed_of(item: KeyValue) -> Result<Owed> {
    Ok(Owed { entry: decode(&item.value)?, revision: item.mod_revision, key: item.key })
}

/// Another told the end, and ours, which is older, may have come after it: the end is owed again.
async fn if_overtaken(service: &Service, told: &Owed) -> Result<Option<Owed>> {
    let run = service.read(&Key::Run(told.entry.run).to_string()).await?;
    let run = run.map(|item| decode::<RunRecord>(&item.value)).transpose()?;
    let (Wanted::Pending, Some(Stage::Finished { outcome, .. })) =
        (told.entry.wanted, run.map(|run| run.stage))
    else {
        return Ok(None);
    };
    let wanted = Wanted::Ended { outcome, is_fixed: false };
    let step = OutboxStep::owed();
    let entry = OutboxEntry { wanted, number: wanted.number(), step, ..told.entry.clone() };
    let key = told.key.clone();
    let txn = Txn::new().when(key.as_str(), Expected::Absent).put(key.as_str(), encode(&entry, None));
    Ok(match service.store.commit(txn).await? {
        Verdict::Committed(revision) => Some(Owed { key, revision, entry }),
        Verdict::Refused { .. } => None,
    })
}

/// What was given up at the same target is no trouble any more when a later word went through.
async fn forget_older(service: &Service, told: &Owed) -> Result<()> {
    for owed in service.outbox() {
        let OutboxEntry { subject, target, step, .. } = &owed.entry;
        let is_same = *subject == told.entry.subject && *target == told.entry.target;
        if is_same && owed.key != told.key && matches!(step, OutboxStep::GivenUp { .. }) {
            delete(service, &owed).await?;
        }
    }
    Ok(())
}

/// Looks once whether the forge has the end.
async fn look(service: &Service, owed: &Owed, run: &RunRecord) -> Result<End> {
    let waited = service.timestamp().unix_ms.saturating_sub(owed.entry.owed_at.unix_ms);
    let asked = match said_of(service, &owed.entry, run).await {
        Ok((Reach { line, home, token }, commit, status)) => {
            line.has_said(&home, &token, &commit, &status).await.map_err(Trouble::from)
        }
        Err(trouble) => Err(trouble),
    };
    match asked {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(run.id = %run.id, "the forge has another last word: it is told again");
            let step = OutboxStep::Owed { claim: None, trouble: None, is_checked: true };
            write(service, owed, step).await?;
            return Ok(End::Done);
        }
        Err(Trouble::Passing { wait, is_hosts, .. }) if Duration::from_millis(waited) < GIVE_UP => {
            return Ok(End::Later { wait, is_hosts });
        }
        Err(Trouble::Passing { why, .. } | Trouble::Final { why }) => {
            tracing::debug!(run.id = %run.id, why, "the forge's last word could not be looked at");
        }
    }
    delete(service, owed).await?;
    Ok(End::Done)
}

/// Notes why it could not be told.
async fn left(service: &Service, claimed: &Owed, trouble: Trouble) -> Result<End> {
    match trouble {
        Trouble::Final { why } => {
            give_up(service, claimed, cut(&why)).await?;
            Ok(End::Done)
        }
        Trouble::Passing { why, wait, is_hosts } => {
            let why = cut(&why);
            if let OutboxStep::Owed { trouble, is_checked, .. } = &claimed.entry.step
                && trouble.as_deref() != Some(why.as_str())
            {
                let OutboxEntry { run, target, subject, .. } = &claimed.entry;
                tracing::warn!(run.id = %run, subject, target = target.key(), why, "a word could not be told yet");
                let step = OutboxStep::Owed { claim: None, trouble: Some(why), is_checked: *is_checked };
                write(service, claimed, step).await?;
            }
            Ok(End::Later { wait, is_hosts })
        }
    }
}

async fn say(
    service: &Service,
    outside: &Outside,
    entry: &OutboxEntry,
    run: &RunRecord,
) -> std::result::Result<(), Trouble> {
    match &entry.target {
        OutboxTarget::Status(_) => {
            let (Reach { line, home, token }, commit, status) = said_of(service, entry, run).await?;
            Ok(line.say(&home, &token, &commit, &status).await?)
        }
        OutboxTarget::Notify(name) => notify(service, outside, name, entry, run).await,
    }
}

/// Returns what is said of a run's commit, and to whom.
async fn said_of(
    service: &Service,
    entry: &OutboxEntry,
    run: &RunRecord,
) -> std::result::Result<(Reach, CommitId, Status), Trouble> {
    let name = entry.subject.parse::<ProjectName>().map_err(|error| gone(&error.to_string()))?;
    let project = service.sight_of_project(&name).ok_or_else(|| gone("the project is no more"))?;
    let reach = match service.reach(&project).await {
        Ok(Some(reach)) => reach,
        Ok(None) => return Err(gone("the project names no token for its forge any more")),
        Err(error) => {
            let wait = (!error.is_retryable()).then_some(PERSON);
            return Err(Trouble::Passing { why: error.to_string(), wait, is_hosts: false });
        }
    };
    let url = service.run_url(run.id);
    let status = words::status(run, entry.wanted, &url).ok_or_else(|| gone("the run has no commit"))?;
    let commit = run.source.as_ref().and_then(|source| CommitId::new(&source.commit).ok());
    Ok((reach, commit.ok_or_else(|| gone("the run has no commit"))?, status))
}

async fn notify(
    service: &Service,
    outside: &Outside,
    name: &str,
    entry: &OutboxEntry,
    run: &RunRecord,
) -> std::result::Result<(), Trouble> {
    let Some(channel) = outside.targets.get(name) else {
        let why = format!("the controller's settings have no target {name:?} under `notify`");
        return Err(Trouble::Passing { why, wait: Some(PERSON), is_hosts: false });
    };
    let url = service.run_url(run.id);
    let notice = words::notice(run, entry.wanted, &url).ok_or_else(|| gone("the run has not ended"))?;
    let (to, message) = match channel {
        Channel::Slack { url } => {
            let headers = vec![("content-type", "application/json".into()), ("user-agent", "ocelot".into())];
            (url, Message { headers, body: slack_message(&notice).to_string().into_bytes() })
        }
        Channel::Generic { url, secret } => {
            let delivery = format!("{}-{}", run.id, entry.number);
            (url, generic_message(&notice, &delivery, service.unix_seconds(), secret))
        }
    };
    let call = Call::new("POST", to, &message.headers, message.body.into());
    let answer = outside.egress.call(call.ok_or_else(|| gone("its headers cannot be sent"))?).await?;
    let asked = answer.headers.get("retry-after").and_then(|told| told.to_str().ok()?.parse::<u64>().ok());
    let wait = asked.map(|seconds| Duration::from_secs(seconds.clamp(1, 3600)));
    match answer.status {
        200..=299 => Ok(()),
        status @ (408 | 429 | 500..=599) => {
            Err(Trouble::Passing { why: format!("it answers {status}"), wait, is_hosts: true })
        }
        status => Err(gone(&format!("it refuses the message ({status})"))),
    }
}

fn gone(why: &str) -> Trouble {
    Trouble::Final { why: why.to_owned() }
}

fn cut(why: &str) -> String {
    why.chars().take(WHY_CHARS_MAX).collect()
}

impl From<EgressError> for Trouble {
    fn from(error: EgressError) -> Self {
        // What the operator denies, the operator may allow.
        let wait = (!error.is_passing()).then_some(PERSON);
        Self::Passing { is_hosts: wait.is_none(), why: error.to_string(), wait }
    }
}

impl From<LineError> for Trouble {
    fn from(error: LineError) -> Self {
        let why = error.to_string();
        match error {
            LineError::Egress(error) => error.into(),
            LineError::NotNow { wait, .. } => Self::Passing { why, wait, is_hosts: true },
            // It may just be on its way to be replaced.
            LineError::Token => Self::Passing { why, wait: None, is_hosts: false },
            LineError::NoHome(_)
            | LineError::GivesUp(_)
            | LineError::Unreadable(_)
            | LineError::NotListed
            | LineError::Unsendable => Self::Final { why },
        }
    }
}
