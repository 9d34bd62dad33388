//! The rows of the model check's table: all guards on, then each one off.

use std::fmt;

use ocelot_core::plan::Class;
use serde::Serialize;

use crate::model::{Finding, Guard, Model};

/// How far a search may go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub faults_normal: u8,
    pub faults_exclusive: u8,
    /// A row with a guard off tries one fault, then more up to these many.
    pub faults_off: u8,
    pub states_max: usize,
}

impl Bounds {
    /// Seconds, for every change.
    pub const SHORT: Self =
        Self { faults_normal: 1, faults_exclusive: 0, faults_off: 1, states_max: 400_000 };
    /// A quarter of an hour and 6 GiB, in a release build. An exclusive task under three faults has
    /// more worlds than `states_max`.
    pub const LONG: Self =
        Self { faults_normal: 3, faults_exclusive: 2, faults_off: 1, states_max: 60_000_000 };
}

impl Bounds {
    /// Returns the same bounds with another number of faults in every row.
    #[must_use]
    pub fn with_faults(self, faults: u8) -> Self {
        Self { faults_normal: faults, faults_exclusive: faults, faults_off: faults, ..self }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub class: String,
    pub cancels: bool,
    pub faults: u8,
    /// The guards that are off, and the steps of the protocol they belong to.
    pub off: Vec<(String, &'static str)>,
    pub states: usize,
    pub depth: usize,
    pub edges: usize,
    pub verdict: String,
    pub trace: Vec<String>,
    /// Whether every reachable world was seen and none was wrong.
    pub holds: bool,
    /// Whether something wrong was found.
    pub violated: bool,
}

/// Searches with all guards on.
pub fn with_all(class: Class, cancels: bool, bounds: &Bounds) -> Row {
    let faults = match class {
        Class::Normal | Class::Once => bounds.faults_normal,
        Class::Exclusive => bounds.faults_exclusive,
    };
    search(Model { class, cancels, faults, off: [None; 2] }, bounds.states_max)
}

/// Searches with a guard off, or two, with more and more faults until something breaks.
pub fn without(guard: Guard, other: Option<Guard>, bounds: &Bounds) -> Row {
    let (class, cancels) = guard.stage();
    let mut faults = 0;
    loop {
        let row = search(Model { class, cancels, faults, off: [Some(guard), other] }, bounds.states_max);
        if row.violated || faults == bounds.faults_off {
            return row;
        }
        faults += 1;
    }
}

fn search(model: Model, states_max: usize) -> Row {
    let found = model.search(states_max);
    let (verdict, trace) = match found.verdict {
        Finding::Holds => ("holds in all of them".into(), Vec::new()),
        Finding::Unfinished => ("not all were seen".into(), Vec::new()),
        Finding::Broken { invariant, trace } => (invariant.to_owned(), trace),
        Finding::Stuck { worlds, trace } => (format!("{worlds} states never end (I7)"), trace),
    };
    Row {
        class: format!("{:?}", model.class).to_lowercase(),
        cancels: model.cancels,
        faults: model.faults,
        off: model.off.into_iter().flatten().map(|guard| (format!("{guard:?}"), guard.promise())).collect(),
        states: found.states,
        depth: found.depth,
        edges: found.edges,
        holds: verdict.starts_with("holds"),
        violated: !trace.is_empty(),
        verdict,
        trace,
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = if self.cancels { format!("{}+cancel", self.class) } else { self.class.clone() };
        let off: Vec<&str> = self.off.iter().map(|(guard, _)| guard.as_str()).collect();
        let off = off.join(", ");
        let Self { faults, states, depth, edges, verdict, .. } = self;
        write!(f, "{class:17} {faults:>6} {off:51} {states:>10} {depth:>5} {edges:>11}  {verdict}")
    }
}
