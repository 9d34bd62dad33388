//! `docs/STATE_MACHINE.md` is printed from `step`, so that a change of behaviour shows as a
//! difference of a document. `OCELOT_BLESS=1` writes it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ocelot_core::id::Epoch;
use ocelot_core::plan::Class;
use ocelot_domain::task::event::Report;
use ocelot_domain::task::state::JournalSequence;
use ocelot_domain::task::{Claim, Event, Rejected, Step, Task, step};

use crate::fixture::{
    NOW, after, completed, exit, first, gone, missing, offered, person, queued, running, session, waiting,
};

const HEAD: &str = "\
# The life of a task

Printed from `step` by a test; not written by hand. `OCELOT_BLESS=1 cargo test -p ocelot-domain` writes it anew.

A cell says where the event leads. *same*: it is a repeat and changes nothing. *fenced*: it speaks for an
attempt that is not the live one. *early*: a wait is not over. *attach first*: the record names an older session
of the executor. `-`: impossible, and refused as such. What the transaction must compare beside the
record (and the store's epoch, always) stands in brackets.

";

fn states(class: Class) -> Vec<Task> {
    let cancel = || Event::CancelRequested { by: person() };
    let done = completed(first(), 1, Report::Succeeded);
    vec![
        waiting(class),
        queued(class),
        offered(class),
        running(class),
        after(running(class), [cancel()]),
        after(running(class), [done]),
    ]
}

/// How an event reads for a task; none where it cannot even be said.
type Reading = fn(&Task) -> Option<Event>;

/// Every event, as (what it is called here, how it reads for a task).
fn events() -> Vec<(&'static str, Reading)> {
    vec![
        ("GateOpened", |_| Some(Event::GateOpened)),
        ("GateClosed", |_| Some(Event::GateClosed { why: "a need failed".into() })),
        ("ApprovalGranted", |_| Some(Event::ApprovalGranted { by: person() })),
        ("ApprovalDenied", |_| Some(Event::ApprovalDenied { by: person() })),
        ("ApprovalExpired", |_| Some(Event::ApprovalExpired { waited: Duration::from_secs(3_600) })),
        ("Offer", |_| Some(Event::Offer { session: session(2, 1), waited: Duration::ZERO })),
        ("Acknowledged", |_| Some(acknowledged(first()))),
        ("Acknowledged, older attempt or session", |_| Some(acknowledged(other()))),
        ("Acknowledged, newer session of the executor", |_| Some(acknowledged(newer()))),
        ("Declined", |_| Some(Event::Declined { claim: first(), waited: Duration::ZERO })),
        ("Undelivered", |_| Some(Event::Undelivered { claim: first(), waited: Duration::ZERO })),
        ("Undelivered, for 10 min", |_| {
            Some(Event::Undelivered { claim: first(), waited: Duration::from_secs(600) })
        }),
        ("SessionGone", gone),
        ("Missing", |task| Some(missing(task, first()))),
        ("Reattached", |_| Some(Event::Reattached { claim: newer() })),
        ("Completed, succeeded", |_| Some(completed(first(), 1, Report::Succeeded))),
        ("Completed, failed, to be retried", |_| Some(completed(first(), 2, exit(75)))),
        ("Completed, failed", |_| Some(completed(first(), 3, exit(1)))),
        ("CancelRequested", |_| Some(Event::CancelRequested { by: person() })),
        ("CancelForced", |_| Some(Event::CancelForced { by: person() })),
        ("QueueTimedOut", |_| Some(Event::QueueTimedOut { waited: Duration::from_secs(3_600) })),
        ("QueueTimedOut, too soon", |_| Some(Event::QueueTimedOut { waited: Duration::ZERO })),
        ("Restored", |_| Some(Event::Restored { epoch: Epoch(2) })),
    ]
}

fn acknowledged(claim: Claim) -> Event {
    Event::Acknowledged { claim, sequence: JournalSequence(5) }
}

fn newer() -> Claim {
    Claim { session: session(1, 2), ..first() }
}

fn other() -> Claim {
    Claim { session: session(2, 1), ..first() }
}

fn state_of(task: &Task) -> String {
    match task.outcome() {
        None => task.state.name().into(),
        Some(outcome) => {
            let shown = format!("{outcome:?}");
            let end = shown.find([' ', '(', '{']).unwrap_or(shown.len());
            format!("Finished({})", &shown[..end])
        }
    }
}

fn requires_of(step: &Step) -> String {
    let names = step.requires.iter().map(|require| format!("{require:?}"));
    let names = names.map(|shown| shown[..shown.find([' ', '(', '{']).unwrap_or(shown.len())].to_owned());
    let names: Vec<String> = names.filter(|name| name != "StoreEpoch").collect();
    if names.is_empty() { String::new() } else { format!(" [{}]", names.join(", ")) }
}

fn cell(task: &Task, event: Option<Event>) -> String {
    let Some(event) = event else { return "-".into() };
    match step(task, event, NOW) {
        Ok(step) if step.next == *task => "same".into(),
        Ok(step) => format!("**{}**{}", state_of(&step.next), requires_of(&step)),
        Err(Rejected::Fenced) => "fenced".into(),
        Err(Rejected::Unattached) => "attach first".into(),
        Err(Rejected::Early) => "early".into(),
        Err(Rejected::Illegal { .. }) => "-".into(),
    }
}

fn table(out: &mut String, class: Class) {
    writeln!(out, "## {class:?} tasks\n").unwrap();
    let tasks = states(class);
    let names: Vec<&str> = tasks.iter().map(|task| task.state.name()).collect();
    writeln!(out, "| Event | {} |", names.join(" | ")).unwrap();
    writeln!(out, "|---|{}", "---|".repeat(names.len())).unwrap();
    for (name, event) in events() {
        let cells: Vec<String> = tasks.iter().map(|task| cell(task, event(task))).collect();
        writeln!(out, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    out.push('\n');
}

fn diagram(out: &mut String) {
    let mut arrows = BTreeSet::new();
    for class in [Class::Normal, Class::Exclusive, Class::Once] {
        for task in states(class) {
            for (name, event) in events() {
                let Some(Ok(step)) = event(&task).map(|event| step(&task, event, NOW)) else { continue };
                if step.next.state != task.state && step.next.state.name() != task.state.name() {
                    arrows.insert((task.state.name(), step.next.state.name(), name));
                }
            }
        }
    }
    out.push_str("## All classes\n\n```mermaid\nstateDiagram-v2\n    [*] --> Waiting\n    [*] --> Queued\n");
    for (from, to, cause) in arrows {
        writeln!(out, "    {from} --> {to}: {cause}").unwrap();
    }
    out.push_str("    Finished --> [*]\n```\n");
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    for class in [Class::Normal, Class::Exclusive, Class::Once] {
        table(&mut out, class);
    }
    diagram(&mut out);
    out
}

#[test]
fn every_kind_of_event_has_a_row() {
    let task = running(Class::Normal);
    let rows: BTreeSet<&str> =
        events().iter().filter_map(|(_, event)| event(&task)).map(|event| event.name()).collect();
    assert_eq!(rows.len(), 17, "{rows:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks by it to write the document")]
fn the_document_says_what_step_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/STATE_MACHINE.md");
    let printed = document();
    if std::env::var("OCELOT_BLESS").is_ok() {
        std::fs::write(&path, &printed).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == printed, "docs/STATE_MACHINE.md differs; OCELOT_BLESS=1 writes it:\n{printed}");
}
