//! Conditions: whether an event meets them, and the sentence that says why.
//!
//! One judgement serves the plan and the explanation, so the two cannot differ. `status` is no part of
//! it: how the needs end is known only later and stays in the task's gate.

use ocelot_core::plan::Gate;
use serde::Serialize;

use crate::context::{Context, Event};
use crate::glob::Globs;
use crate::problem::or_list;
use crate::read::Fields;

/// A condition; empty means always.
#[derive(Debug, Clone, Default)]
pub(crate) struct When {
    branch: Option<Globs>,
    source: Option<Globs>,
    tag: Option<Globs>,
    event: Option<Vec<String>>,
    paths: Option<Globs>,
    message: Option<Vec<String>>,
    status: Option<Status>,
    any: Option<Vec<When>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success,
    Failure,
    Always,
}

/// One key of a condition, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    pub holds: bool,
    /// `branch main is main or release/**`
    pub says: String,
}

impl When {
    /// Returns the bytes of all its `paths`, which every changed file is compared with.
    pub(crate) fn paths_bytes(&self) -> usize {
        let own = self.paths.as_ref().map_or(0, Globs::bytes);
        own + self.any.iter().flatten().map(Self::paths_bytes).sum::<usize>()
    }

    pub(crate) fn read(fields: &Fields<'_>) -> Self {
        Self {
            branch: fields.globs("branch"),
            source: fields.globs("source"),
            tag: fields.globs("tag"),
            event: fields.has("event").then(|| fields.texts("event")),
            paths: fields.globs("paths"),
            message: fields.has("message").then(|| fields.texts("message")),
            status: fields.word("status").and_then(|word| match word {
                "success" => Some(Status::Success),
                "failure" => Some(Status::Failure),
                "always" => Some(Status::Always),
                _ => None,
            }),
            any: fields.has("any").then(|| fields.maps("any").map(|when| Self::read(&when)).collect()),
        }
    }

    /// What is left of the condition once the event meets it.
    pub(crate) fn gate(&self) -> Gate {
        match self.status {
            None | Some(Status::Success) => Gate::OnSuccess,
            Some(Status::Failure) => Gate::OnFailure,
            Some(Status::Always) => Gate::Always,
        }
    }

    /// Judges every key that is given, in the order of the reference.
    pub(crate) fn facts(&self, context: &Context) -> Vec<Fact> {
        let event = &context.event;
        let named = |what: &'static str, globs: &Option<Globs>, value: Option<&str>| {
            globs.as_ref().map(|globs| named_fact(what, globs, value))
        };
        let facts = [
            named("branch", &self.branch, event.branch()),
            named("source branch", &self.source, event.source()),
            named("tag", &self.tag, event.tag()),
            self.event.as_ref().map(|words| event_fact(words, event)),
            self.paths.as_ref().map(|globs| paths_fact(globs, context.changed.as_deref())),
            self.message.as_ref().map(|texts| message_fact(texts, &context.message)),
            self.any.as_ref().map(|conditions| any_fact(conditions, context)),
        ];
        facts.into_iter().flatten().collect()
    }

    /// Returns why the event does not meet the condition; nothing when it does.
    pub(crate) fn refusal(&self, context: &Context) -> Option<String> {
        let facts = self.facts(context);
        let failed: Vec<String> =
            facts.into_iter().filter(|fact| !fact.holds).map(|fact| fact.says).collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

fn named_fact(what: &str, globs: &Globs, value: Option<&str>) -> Fact {
    let wanted = globs.wanted();
    match value {
        None => Fact { holds: false, says: format!("there is no {what}, and {wanted} is asked for") },
        Some(value) if globs.matches(value) => {
            Fact { holds: true, says: format!("{what} {value} matches {wanted}") }
        }
        Some(value) => Fact { holds: false, says: format!("{what} {value} does not match {wanted}") },
    }
}

fn event_fact(words: &[String], event: &Event) -> Fact {
    let holds = words.iter().any(|word| word == event.word());
    let says = format!("the event is {}{}", event.word(), if holds { "" } else { ", not " });
    Fact { holds, says: if holds { says } else { format!("{says}{}", or_list(words)) } }
}

fn paths_fact(globs: &Globs, changed: Option<&[String]>) -> Fact {
    let wanted = globs.wanted();
    let Some(changed) = changed else {
        return Fact { holds: true, says: "changed files cannot be compared, so paths match".to_owned() };
    };
    match changed.iter().find(|path| globs.matches(path)) {
        Some(path) => Fact { holds: true, says: format!("{path} changed and matches {wanted}") },
        None => {
            let says = match changed {
                [] => format!("no file changed, and {wanted} is asked for"),
                [one] => format!("{one} changed and does not match {wanted}"),
                many => format!("none of {} changed files matches {wanted}", many.len()),
            };
            Fact { holds: false, says }
        }
    }
}

fn message_fact(texts: &[String], message: &str) -> Fact {
    match texts.iter().find(|text| message.contains(text.as_str())) {
        Some(text) => Fact { holds: true, says: format!("the message contains \"{text}\"") },
        None => Fact {
            holds: false,
            says: format!("the message does not contain \"{}\"", texts.join("\" or \"")),
        },
    }
}

fn any_fact(conditions: &[When], context: &Context) -> Fact {
    let mut refusals = Vec::new();
    for condition in conditions {
        match condition.refusal(context) {
            Some(refusal) => refusals.push(refusal),
            None => {
                let facts: Vec<String> = condition.facts(context).into_iter().map(|fact| fact.says).collect();
                let says = if facts.is_empty() {
                    "an empty condition always matches".to_owned()
                } else {
                    facts.join("; ")
                };
                return Fact { holds: true, says };
            }
        }
    }
    Fact {
        holds: false,
        says: format!("of {} conditions none matches: {}", conditions.len(), refusals.join(" | ")),
    }
}
