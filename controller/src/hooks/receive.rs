//! From raw bytes to stored events, step by step: read, prove, parse, place, confirm, store.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use ocelot_forge::event::{Event, EventKind, RepositoryId, Trust};
use ocelot_forge::payload::{self, Delivery};
use ocelot_forge::secret::Secret;
use ocelot_forge::{Forge, signature};

use super::{Accepted, Hooks, Refusal, Verdict, plain};
use crate::error::{Error, Kind};
use crate::forge::LineError;
use crate::records::{EventDecision, ForgeLink, ProjectName, ProjectRecord, TriggerKind};
use crate::service::{Reach, Told, event_of};

/// The word of a plain git server in the address of a hook.
pub(super) const GIT: &str = "git";
/// How old a signed time may be, with the difference of two clocks.
const SIGNED_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// For all that a forge is asked while it waits for our answer.
const ASK: Duration = Duration::from_secs(5);

/// A project with a webhook.
struct Addressee {
    project: ProjectRecord,
    secrets: Vec<Secret>,
}

impl From<crate::service::Error> for Refusal {
    fn from(error: crate::service::Error) -> Self {
        Self::Unusable(error.into())
    }
}

impl Hooks {
    /// Takes one delivery.
    pub(super) async fn receive(
        &self,
        (word, name): (&str, &str),
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Verdict, Refusal> {
        let service = &self.inner.service;
        if !service.has_view() {
            let why = "the controller has not read its store yet";
            return Err(Refusal::Unusable(Error::new(Kind::Unavailable, why)));
        }
        let name = name.parse::<ProjectName>().ok();
        let held = self.inner.budget.read(headers, body).await.map_err(Refusal::Unread)?;
        let kind = word.parse::<Forge>().ok();
        let seen = name.as_ref().and_then(|name| service.sight_of_project(name));
        let seen = self.addressee(word, seen).await?;
        let addressee = match self.proved(seen, kind, headers, &held.bytes) {
            // The view may be behind what the project's user was just told.
            Err(Refusal::NotProved) => {
                let stored = match &name {
                    Some(name) => service.project_if_there(name).await?,
                    None => None,
                };
                let stored = self.addressee(word, stored).await?;
                self.proved(stored, kind, headers, &held.bytes)?
            }
            proved => proved?,
        };
        let project = addressee.project;
        let (events, left_out) = match kind {
            Some(kind) => match payload::parse(kind, &header(headers), &held.bytes) {
                Ok(Delivery::Events { events, left_out }) => (events, left_out),
                Ok(Delivery::Ignored { why }) => return Ok(Verdict::Ignored { why }),
                Err(malformed) => {
                    return Err(Refusal::Unusable(Error::from_cause(Kind::Invalid, malformed)));
                }
            },
            None => match plain::parse(&held.bytes) {
                Ok(Some(told)) => (vec![plain_event(&project, told)], 0),
                Ok(None) => return Ok(Verdict::Ignored { why: "the ref is no branch and no tag".into() }),
                Err(why) => return Err(Refusal::Unusable(Error::new(Kind::Invalid, why))),
            },
        };
        drop(held);
        let events = self.placed(&project, events).await?;
        let delivery = kind.and_then(|kind| signature::delivery_id(kind, &header(headers)));
        self.store(&project, events, left_out, delivery).await
    }

    /// Returns the project as one that a delivery is for, if it is.
    async fn addressee(
        &self,
        word: &str,
        project: Option<ProjectRecord>,
    ) -> Result<Option<Addressee>, Refusal> {
        let Some(project) = project else { return Ok(None) };
        let kind = project.forge.as_ref().map(|link| link.kind);
        let is_meant = match word.parse::<Forge>() {
            Ok(told) => kind == Some(told),
            Err(_) => word == GIT && kind.is_none(),
        };
        if !is_meant {
            return Ok(None);
        }
        let secrets = self.inner.service.hook_secrets(&project).await?;
        let secrets = secrets.iter().filter_map(|secret| Secret::new(secret.as_str()).ok()).collect();
        Ok(Some(Addressee { project, secrets }))
    }

    /// Lets a delivery through that is signed; for nobody the same work is done.
    fn proved(
        &self,
        addressee: Option<Addressee>,
        kind: Option<Forge>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Addressee, Refusal> {
        let decoy = std::slice::from_ref(&self.inner.decoy);
        let secrets = match &addressee {
            Some(addressee) if !addressee.secrets.is_empty() => &addressee.secrets,
            Some(_) | None => decoy,
        };
        // A plain git server signs as GitHub does.
        let verified = signature::verify(kind.unwrap_or(Forge::GitHub), &header(headers), body, secrets);
        let now = self.inner.clock.wall().0 / 1_000_000;
        let is_fresh = |at: Option<u64>| at.is_none_or(|at| at.abs_diff(now) <= SIGNED_AGE_MAX.as_secs());
        match (verified, addressee) {
            (Ok(verified), Some(addressee))
                if is_fresh(verified.signed_at) && !addressee.secrets.is_empty() =>
            {
                Ok(addressee)
            }
            (Ok(_), Some(_) | None) => Err(Refusal::NotProved),
            (Err(why), Some(addressee)) => {
                tracing::debug!(project = %addressee.project.name, %why, "a delivery is not proved");
                Err(Refusal::NotProved)
            }
            (Err(_), None) => Err(Refusal::NotProved),
        }
    }

    /// Makes sure that every event is of the project's repository, and that trust is confirmed.
    async fn placed(&self, project: &ProjectRecord, events: Vec<Event>) -> Result<Vec<Event>, Refusal> {
        let Some(link) = &project.forge else { return Ok(events) };
        let is_trusting =
            |event: &Event| matches!(event.kind, EventKind::PullRequest(_)) && event.is_trusted();
        let reach = match link.repository.is_none() || events.iter().any(is_trusting) {
            true => self.reach(project).await,
            false => None,
        };
        let id = match (&link.repository, events.first()) {
            (Some(id), _) => RepositoryId::from_text(id.as_str()),
            (None, Some(first)) => self.learnt(project, link, first, reach.as_ref()).await?,
            (None, None) => return Ok(events),
        };
        if !events.iter().all(|event| event.is_of(&id)) {
            return Err(elsewhere(project));
        }
        let mut placed = Vec::with_capacity(events.len());
        for event in events {
            placed.push(if is_trusting(&event) {
                self.confirmed(event, reach.as_ref()).await
            } else {
                event
            });
        }
        Ok(placed)
    }

    /// Returns how the project's forge is asked; none if it can not be.
    async fn reach(&self, project: &ProjectRecord) -> Option<Reach> {
        match self.inner.service.reach(project).await {
            Ok(reach) => reach,
            Err(error) => {
                tracing::warn!(project = %project.name, %error, "the forge cannot be asked");
                None
            }
        }
    }

    /// Learns the repository's id at the first proved delivery: from the forge itself where it can be
    /// asked, else from the delivery, if that names the repository that the project's address names.
    async fn learnt(
        &self,
        project: &ProjectRecord,
        link: &ForgeLink,
        event: &Event,
        reach: Option<&Reach>,
    ) -> Result<RepositoryId, Refusal> {
        let told = event.repository.id.clone();
        let home = self.inner.service.forge_line()?.home(&project.url, link);
        let is_named =
            home.is_ok_and(|home| home.full_name().eq_ignore_ascii_case(&event.repository.full_name));
        let id = match reach {
            Some(Reach { line, home, token }) => {
                let asked = tokio::time::timeout(ASK, line.repository(home, token)).await;
                match asked {
                    Ok(Ok(identity)) => identity.id,
                    Ok(Err(error)) => return unlearnt(&error, is_named, told, project),
                    Err(_) => return if is_named { Ok(told) } else { Err(elsewhere(project)) },
                }
            }
            None if is_named => told,
            None => return Err(elsewhere(project)),
        };
        if id != event.repository.id {
            return Err(elsewhere(project));
        }
        self.inner.service.learn_repository(&project.name, link.kind, id.as_str()).await?;
        Ok(id)
    }

    /// Returns the event with its trust as the forge's own API has it: unconfirmed is untrusted.
    async fn confirmed(&self, mut event: Event, reach: Option<&Reach>) -> Event {
        let EventKind::PullRequest(pull) = &mut event.kind else { return event };
        let confirmed = match reach {
            None => false,
            Some(Reach { line, home, token }) => {
                let asked = tokio::time::timeout(ASK, line.pull_request(home, token, pull.number));
                match asked.await {
                    Ok(Ok(facts)) => pull.confirmed_by(&facts, &event.repository.id) == Trust::Trusted,
                    Ok(Err(error)) => {
                        tracing::warn!(number = pull.number, %error, "a pull request is not confirmed");
                        false
                    }
                    Err(_) => false,
                }
            }
        };
        if !confirmed {
            pull.head_repository_id = None;
        }
        event
    }

    /// Stores every event; the answer comes after the last of them.
    async fn store(
        &self,
        project: &ProjectRecord,
        events: Vec<Event>,
        left_out: u64,
        delivery: Option<String>,
    ) -> Result<Verdict, Refusal> {
        let service = &self.inner.service;
        let (mut accepted, mut ignored, mut is_news) = (Vec::new(), None, false);
        for event in events {
            let told = Told {
                project: project.name.clone(),
                source: TriggerKind::Webhook,
                event,
                delivery: delivery.clone(),
            };
            let received = service.receive(told).await?;
            is_news |= !received.existed;
            match received.decision {
                EventDecision::Pending { .. }
                | EventDecision::Run { .. }
                | EventDecision::Rejected { .. } => {
                    let url = service.run_url(received.id);
                    accepted.push(Accepted { run: received.id.to_string(), url, existed: received.existed });
                }
                EventDecision::Ignored { why } => ignored = Some(why),
            }
        }
        // A replay is no sign of life.
        if is_news && let Err(error) = service.note_delivery(&project.name).await {
            tracing::debug!(project = %project.name, %error, "the delivery's time was not noted");
        }
        match (accepted.is_empty(), ignored) {
            (true, Some(why)) => Ok(Verdict::Ignored { why }),
            (true, None) => Ok(Verdict::Ignored { why: "the delivery tells of nothing".into() }),
            (false, _) => Ok(Verdict::Accepted { events: accepted, left_out }),
        }
    }
}

/// A forge that does not answer is no reason to lose the event: nothing is learnt from it.
fn unlearnt(
    error: &LineError,
    is_named: bool,
    told: RepositoryId,
    project: &ProjectRecord,
) -> Result<RepositoryId, Refusal> {
    tracing::warn!(project = %project.name, %error, "the repository's id could not be asked for");
    if is_named { Ok(told) } else { Err(elsewhere(project)) }
}

fn elsewhere(project: &ProjectRecord) -> Refusal {
    let why = format!("the delivery tells of another repository than that of {}", project.name);
    Refusal::Unusable(Error::new(Kind::Rejected, why))
}

fn plain_event(project: &ProjectRecord, told: plain::Told) -> Event {
    let mut event = event_of(project, told.kind);
    event.actor.login = told.by;
    event
}

fn header<'a>(headers: &'a HeaderMap) -> impl Fn(&str) -> Option<&'a [u8]> + use<'a> {
    |name| headers.get(name).map(|value| value.as_bytes())
}
