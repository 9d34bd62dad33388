//! The only place that prints: results on standard output, all else on standard error.
//!
//! Nothing is kept back: what is written here is on its way when the call returns.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::{Style, Times, Tone};
use crate::args::{Color, Format};
use crate::error::Error;

#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
    /// How standard output is coloured.
    pub(crate) style: Style,
    /// How standard error is coloured.
    pub(crate) notes: Style,
    /// Columns that a table may take; none where nobody looks at it.
    pub(crate) width: Option<usize>,
    pub(crate) times: Times,
}

/// What the surroundings say about how to print.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) no_color: bool,
    pub(crate) columns: Option<usize>,
    pub(crate) dumb: bool,
}

impl Output {
    pub(crate) fn new(format: Format, color: Color, around: &Surroundings, times: Times) -> Self {
        let coloured = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !around.no_color && !around.dumb,
        };
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
        let terminal = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Self {
            format,
            style: Style { coloured: coloured(io::stdout().is_terminal()) },
            notes: Style { coloured: coloured(io::stderr().is_terminal()) },
            width: around.columns.or(terminal),
            times,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes the result, as text or as one JSON document.
    pub(crate) fn result(&self, text: impl Display, json: &impl Serialize) -> Result<(), Error> {
        match self.format {
            Format::Text => self.bytes(text.to_string().as_bytes()),
            Format::Json => {
                let json = serde_json::to_string_pretty(json).map_err(io::Error::from);
                self.bytes(format!("{}\n", json.map_err(Error::Output)?).as_bytes())
            }
        }
    }

    /// Writes one JSON document as one line.
    pub(crate) fn json_line(&self, json: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_string(json).map_err(io::Error::from).map_err(Error::Output)?;
        self.bytes(format!("{json}\n").as_bytes())
    }

    /// Writes to standard output.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        match write_all(rustix::stdio::stdout(), bytes) {
            // The reader has seen enough, as in `ocelot list | head`.
            Err(Errno::PIPE) => Err(Error::ReaderGone),
            ended => ended.map_err(|errno| Error::Output(errno.into())),
        }
    }

    /// Tells people something that is not the result.
    pub(crate) fn note(&self, text: impl Display) {
        // Nobody is left to tell if standard error is gone too.
        let _unseen = write_all(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
    }

    /// Tells the error and what to do next; returns its exit code.
    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        if let Some(what) = error.told() {
            let what = what.trim_end();
            let hint = error.hint().map(|hint| format!("\n{} {hint}", self.notes.paint(Tone::Busy, "hint:")));
            self.note(format_args!(
                "{} {what}{}",
                self.notes.paint(Tone::Bad, "error:"),
                hint.unwrap_or_default()
            ));
        }
        ExitCode::from(error.exit_code())
    }
}

/// Writes all of it, also to what somebody else made non-blocking.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ready = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
