//! The only place that prints: results on standard output, all else on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::args::Format;
use crate::error::Error;

#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Writes the result, as text or as one JSON document.
    pub(crate) fn result(&self, text: impl Display, json: &impl Serialize) -> Result<(), Error> {
        let mut stdout = anstream::stdout().lock();
        let written = match self.format {
            Format::Text => write!(stdout, "{text}"),
            Format::Json => serde_json::to_string_pretty(json)
                .map_err(io::Error::from)
                .and_then(|json| writeln!(stdout, "{json}")),
        };
        match written.and_then(|()| stdout.flush()) {
            // The reader has seen enough, as in `ocelot explain | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            ended => ended.map_err(Error::Output),
        }
    }

    /// Tells the error and what to do next; returns its exit code.
    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        let mut stderr = anstream::stderr().lock();
        let hint = error.hint().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        // Nobody is left to tell if standard error is gone too.
        drop(write!(stderr, "error: {}\n{hint}", error.to_string().trim_end()));
        ExitCode::from(error.exit_code())
    }
}
