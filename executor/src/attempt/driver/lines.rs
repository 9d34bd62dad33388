//! What the platform says to an attempt's log, from before there is one.

use std::sync::{Arc, Mutex, PoisonError};

use crate::attempt::ports::Log;
use crate::runtime::Tell;

/// Lines of the platform for a log that may not be there yet.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    log: Option<Arc<dyn Log>>,
    early: Vec<String>,
    last: String,
}

/// Lines before the log is there; the newest count less than the first.
const EARLY_MAX: usize = 1_000;

impl Lines {
    pub(super) fn open(&self, log: Arc<dyn Log>) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in std::mem::take(&mut said.early) {
            log.line(&line);
        }
        said.log = Some(log);
    }

    pub(super) fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }
}

impl Tell for Lines {
    fn line(&self, text: &str) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone_into(&mut said.last);
        match &said.log {
            Some(log) => log.line(text),
            None if said.early.len() < EARLY_MAX => said.early.push(text.to_owned()),
            None => {}
        }
    }
}
