//! The decision about an event: one transaction writes it, the run that it makes, and the branch.
//!
//! Any number of controllers may decide the same event at once: they find the same facts, and one of
//! the transactions wins. What cannot be found out yet leaves the event pending, with the reason.

use ocelot_core::id::RunId;
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::Actor;
use ocelot_forge::event::EventKind;
use ocelot_git::{Mirror, Reference};
use ocelot_proto::kit::chaos;
use ocelot_spec::Context;

use super::definition::{FILE, Judged, bounded, judge};
use super::facts::{self, Facts, File, Trouble};
use super::steps::{Sight, Step, step, tag_number};
use crate::records::{
    Digest, EventDecision, EventRecord, HeadRecord, ProjectName, ProjectRecord, SourceRecord, Subject,
    Trigger, Trust,
};
use crate::service::Service;
use crate::service::accept::{Draft, PlanFor};
use crate::service::error::{Error, Result};
use crate::service::secrets::Values;
use crate::store::codec::{decode, encode};
use crate::store::{Expected, Revision, Txn};

/// How often a commit is looked for that the server does not have.
const GONE_TRIES: u32 = 4;
/// The longest reason that an event keeps.
const WHY_MAX: usize = 2 * 1024;

/// What became of one try to decide an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// It is decided, by whomever.
    Decided,
    /// Something changed meanwhile.
    Again,
    /// It waits, after so many tries.
    Stuck {
        tries: u32,
        /// Nothing of the repository can be had, so nothing else of it is tried now.
        all: bool,
    },
}

/// An event as it was read.
struct Pending<'a> {
    project: &'a ProjectRecord,
    record: EventRecord,
    revision: Revision,
}

/// What was found out about an event, with what changes beside the decision.
enum Finding {
    Ignored { why: String, beside: Txn },
    Run { source: Box<SourceRecord>, context: Box<Context>, text: Vec<u8>, beside: Txn },
    Rejected { source: Box<SourceRecord>, text: String, beside: Txn },
}

/// What an event means for what is known of its branch or tag.
enum Place {
    /// It is built, and this changes with it.
    Build {
        beside: Txn,
        previous_success: Option<String>,
    },
    Ignore(String),
}

impl Service {
    /// Tries once to decide an event.
    pub(crate) async fn decide_event(&self, name: &ProjectName, id: RunId) -> Result<Tried> {
        let Some(item) = self.read(&name.event_key(id).to_string()).await? else {
            return Ok(Tried::Decided);
        };
        let record: EventRecord = decode(&item.value)?;
        let (true, Some(project)) = (record.is_pending(), self.project_if_there(name).await?) else {
            return Ok(Tried::Decided);
        };
        let pending = Pending { project: &project, record, revision: item.mod_revision };
        match self.find_out(&pending).await {
            Ok(finding) => self.settle_event(&pending, finding).await,
            Err(Trouble::Ours(error)) => Err(error),
            Err(trouble) => self.note_trouble(&pending, &trouble).await,
        }
    }

    async fn find_out(&self, pending: &Pending<'_>) -> std::result::Result<Finding, Trouble> {
        let Pending { project, record, .. } = pending;
        let event = &record.event;
        let ignored = |why: &str| Ok(Finding::Ignored { why: why.to_owned(), beside: Txn::new() });
        if !project.enabled {
            return ignored("the project is disabled");
        }
        let trust = if event.is_trusted() { Trust::Own } else { Trust::Fork };
        if trust == Trust::Fork && !project.builds_forks {
            return ignored("pull requests from forks start no runs here: the project does not build forks");
        }
        let reference = match facts::reference_of(event) {
            Some(Ok(reference)) => reference,
            Some(Err(why)) => return ignored(&why),
            None => return ignored("the forge keeps no ref for pull requests of forks"),
        };
        match &event.kind {
            EventKind::BranchDeleted { before, .. } => {
                let before = before.as_ref().map(|before| before.as_str());
                let beside = self.without_head(&project.name, &reference, before).await?;
                return Ok(Finding::Ignored { why: "the branch was deleted".into(), beside });
            }
            EventKind::TagDeleted { .. } => return ignored("the tag was deleted"),
            EventKind::Push(_) | EventKind::Tag(_) | EventKind::PullRequest(_) => {}
        }
        let (Some(told), Some(spec_event)) =
            (facts::told_commit(&event.kind), facts::spec_event(&event.kind))
        else {
            return ignored("it is about no commit");
        };
        let mirror = self.mirror_of(project).await?;
        let said = facts::obtain(&mirror, told, &reference).await?;
        let commit = said.id.clone();
        let (beside, previous_success) = match self.place(pending, &mirror, (&reference, &commit)).await? {
            Place::Build { beside, previous_success } => (beside, previous_success),
            Place::Ignore(why) => return ignored(&why),
        };
        let changed = facts::changed(&mirror, &event.kind, &commit, &project.default_branch);
        let facts = facts::facts(&mirror, said, changed).await?;
        let source = SourceRecord {
            url: project.url.clone(),
            commit: facts.commit.to_string(),
            reference: reference.to_string(),
            event: spec_event,
            message: facts.message.clone(),
            author: facts.author.clone(),
            previous_success,
            trust,
        };
        Ok(finding(project, source, facts, beside))
    }

    /// Finds out what the event means for what is known of its branch or tag.
    async fn place(
        &self,
        pending: &Pending<'_>,
        mirror: &Mirror,
        (reference, commit): (&Reference, &ocelot_git::CommitId),
    ) -> std::result::Result<Place, Trouble> {
        let Pending { project, record, .. } = pending;
        match &record.event.kind {
            EventKind::Push(push) => {
                let known = self.head(&project.name, reference.as_str()).await?;
                let (head, expected) = match &known {
                    Some((head, revision)) => (Some(head), Expected::At(*revision)),
                    None => (None, Expected::Absent),
                };
                let tip = mirror.resolve(reference).await?;
                let is_past = facts::is_past(mirror, head.map(|head| head.commit.as_str()), commit).await?;
                let sight = Sight { head, tip: tip.as_ref().map(|tip| tip.as_str()), is_past };
                let before = push.before.as_ref().map(|before| before.as_str());
                let previous_success = head.and_then(|head| Some(head.success.as_ref()?.commit.clone()));
                match step(record.id, before, commit.as_str(), sight) {
                    Step::Known(event) => Ok(Place::Ignore(format!(
                        "{} of {} was decided already, by event {event}",
                        short(commit.as_str()),
                        push.branch
                    ))),
                    Step::Late => Ok(Place::Build { beside: Txn::new(), previous_success }),
                    Step::Forward => {
                        let next = HeadRecord {
                            project: project.name.clone(),
                            reference: reference.to_string(),
                            commit: commit.to_string(),
                            event: Some(record.id),
                            seen_at: self.timestamp(),
                            success: head.and_then(|head| head.success.clone()),
                        };
                        let key = project.name.head_key(reference.as_str()).to_string();
                        let beside = Txn::new().when(key.as_str(), expected).put(key, encode(&next, None));
                        Ok(Place::Build { beside, previous_success })
                    }
                }
            }
            EventKind::Tag(tag) => {
                let (mut tags, expected) = self.tags(&project.name).await?;
                let number = tag_number(&tag.tag, commit.as_str());
                tags.seen.insert(number);
                if !tags.decided.insert(number) {
                    let why = format!("tag {} at {} was decided already", tag.tag, short(commit.as_str()));
                    return Ok(Place::Ignore(why));
                }
                let key = project.name.tags_key().to_string();
                let beside = Txn::new().when(key.as_str(), expected).put(key, encode(&tags, None));
                Ok(Place::Build { beside, previous_success: None })
            }
            EventKind::PullRequest(_) | EventKind::BranchDeleted { .. } | EventKind::TagDeleted { .. } => {
                Ok(Place::Build { beside: Txn::new(), previous_success: None })
            }
        }
    }

    /// Writes the decision, and what it makes.
    async fn settle_event(&self, pending: &Pending<'_>, finding: Finding) -> Result<Tried> {
        let id = pending.record.id;
        match finding {
            Finding::Ignored { why, beside } => {
                let why = cut(&why);
                self.write_decision(pending, EventDecision::Ignored { why }, beside).await
            }
            Finding::Rejected { source, text, beside } => {
                self.reject(pending, *source, bounded(&text), beside).await
            }
            Finding::Run { source, context, text, beside } => {
                self.check_room()?;
                let group = pending.project.group.clone();
                let plan_for: PlanFor = Box::new(move |run_number| {
                    let context = Context { run_number, ..(*context).clone() };
                    match judge(&text, &context, group.as_deref()) {
                        Judged::Run(plan) => Ok((plan, Values::new())),
                        Judged::NoRun(why) | Judged::Wrong(why) => Err(Error::Invalid { why }),
                    }
                });
                let draft = draft(pending, (*source).clone(), None);
                let decided = pending.decided(EventDecision::Run { run: id });
                match self.accept_beside(draft, plan_for, &decided.and(beside.clone())).await {
                    // The number alone made it wrong, which only a definition that uses it can be.
                    Err(Error::Invalid { why }) => self.reject(pending, *source, bounded(&why), beside).await,
                    accepted => self.accepted_for(pending, accepted?).await,
                }
            }
        }
    }

    /// Puts a run of no tasks that says what is wrong.
    async fn reject(
        &self,
        pending: &Pending<'_>,
        source: SourceRecord,
        text: String,
        beside: Txn,
    ) -> Result<Tried> {
        let nothing = Plan {
            tasks: Vec::new(),
            concurrency: None,
            notify: Vec::new(),
            group: pending.project.group.clone(),
        };
        let plan_for: PlanFor = Box::new(move |_| Ok((nothing.clone(), Values::new())));
        let decided = pending.decided(EventDecision::Rejected { why: cut(&text) });
        let draft = draft(pending, source, Some(text));
        let accepted = self.accept_beside(draft, plan_for, &decided.and(beside)).await?;
        self.accepted_for(pending, accepted).await
    }

    async fn accepted_for(
        &self,
        pending: &Pending<'_>,
        accepted: Option<crate::service::Executed>,
    ) -> Result<Tried> {
        let Some(executed) = accepted else { return Ok(Tried::Again) };
        chaos::point("event.decided");
        if !executed.existed {
            let (run, project) = (executed.run.id, &pending.project.name);
            tracing::info!(run.id = %run, %project, number = executed.run.number, "an event has made a run");
            return Ok(Tried::Decided);
        }
        // The event was forgotten, and told again: its run is there.
        let decision = EventDecision::Run { run: executed.run.id };
        self.write_decision(pending, decision, Txn::new()).await
    }

    async fn write_decision(
        &self,
        pending: &Pending<'_>,
        decision: EventDecision,
        beside: Txn,
    ) -> Result<Tried> {
        let done = self.commit_duty(pending.decided(decision).and(beside)).await?;
        Ok(if done { Tried::Decided } else { Tried::Again })
    }

    async fn note_trouble(&self, pending: &Pending<'_>, trouble: &Trouble) -> Result<Tried> {
        let tries = match pending.record.decision {
            EventDecision::Pending { tries, .. } => tries.saturating_add(1),
            EventDecision::Run { .. } | EventDecision::Ignored { .. } | EventDecision::Rejected { .. } => 1,
        };
        let text = cut(&facts::told_of(&pending.project.name, trouble));
        let (is_gone, all) = match trouble {
            Trouble::Gone(_) => (tries >= GONE_TRIES, false),
            Trouble::Branch(_) => (tries >= GONE_TRIES, false),
            Trouble::Repository(_) | Trouble::Ours(_) => (false, true),
        };
        if is_gone {
            return self.write_decision(pending, EventDecision::Ignored { why: text }, Txn::new()).await;
        }
        tracing::warn!(project = %pending.project.name, event = %pending.record.id, tries, trouble = text, "an event waits");
        let waiting = EventDecision::Pending { tries, trouble: Some(text) };
        match self.write_decision(pending, waiting, Txn::new()).await? {
            Tried::Decided => Ok(Tried::Stuck { tries, all }),
            Tried::Again | Tried::Stuck { .. } => Ok(Tried::Again),
        }
    }
}

impl Pending<'_> {
    /// Returns the write of a decision, if the event is still as it was read.
    fn decided(&self, decision: EventDecision) -> Txn {
        let key = self.project.name.event_key(self.record.id).to_string();
        let record = EventRecord { decision, ..self.record.clone() };
        let project = self.project.name.key();
        Txn::new()
            .when(key.as_str(), Expected::At(self.revision))
            .when(project, Expected::Present)
            .put(key, encode(&record, None))
    }
}

/// Judges what a commit holds.
fn finding(project: &ProjectRecord, source: SourceRecord, facts: Facts, beside: Txn) -> Finding {
    let source = Box::new(source);
    let text = match facts.file {
        File::Text(text) => text,
        File::None => {
            let why = format!("there is no {FILE} at {}", short(&source.commit));
            return Finding::Ignored { why, beside };
        }
        File::Wrong(text) => return Finding::Rejected { source, text, beside },
    };
    let context = Context {
        event: source.event.clone(),
        commit: source.commit.clone(),
        message: source.message.clone(),
        changed: facts.changed,
        project: project.name.to_string(),
        run_number: 1,
        env: [].into(),
    };
    match judge(&text, &context, project.group.as_deref()) {
        Judged::NoRun(why) => Finding::Ignored { why, beside },
        Judged::Wrong(text) => Finding::Rejected { source, text, beside },
        Judged::Run(_) => Finding::Run { source, context: Box::new(context), text, beside },
    }
}

fn draft(pending: &Pending<'_>, source: SourceRecord, rejected: Option<String>) -> Draft {
    let record = &pending.record;
    let name = pending.project.name.to_string();
    let by = match record.event.actor.login.as_str() {
        "" => "unknown",
        login => login,
    };
    Draft {
        id: record.id,
        payload: event_payload(&name, record.id),
        subject: Subject::Project { name },
        trigger: Trigger { kind: record.source, by: Actor(by.to_owned()), schedule: None },
        retry: None,
        source: Some(source),
        rejected,
    }
}

/// Returns the digest of what an event asks for: the same whoever told of it.
fn event_payload(project: &str, id: RunId) -> Digest {
    Digest::of(format!("event\0{project}\0{id}").as_bytes())
}

pub(super) fn short(commit: &str) -> &str {
    &commit[..commit.floor_char_boundary(7)]
}

pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(WHY_MAX)].to_owned()
}
