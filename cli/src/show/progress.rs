//! One line on standard error that says what is being waited for.
//!
//! On a terminal it is drawn over itself and wiped before anything else is printed; elsewhere each
//! change is a line of its own.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::output::write_all;
use super::table::cut;
use super::{Style, Tone, plain};

#[derive(Debug)]
pub(crate) struct StatusLine {
    terminal: bool,
    style: Style,
    width: usize,
    shown: Option<String>,
    last: String,
}

impl StatusLine {
    pub(crate) fn new(style: Style, width: Option<usize>) -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            style,
            width: width.unwrap_or(80).max(20),
            shown: None,
            last: String::new(),
        }
    }

    /// Says what is waited for now; nothing happens if that was said already.
    pub(crate) fn say(&mut self, text: &str) {
        let text = plain(text);
        if self.terminal {
            if self.shown.as_deref() == Some(&text) {
                return;
            }
            let line = cut(&text, self.width - 1);
            self.write(&format!("\r\x1b[K{}", self.style.paint(Tone::Dim, line)));
            self.shown = Some(text);
        } else if self.last != text {
            self.write(&format!("{text}\n"));
            self.last = text;
        }
    }

    /// Says what is waited for and, where it can be drawn over, for how long already.
    pub(crate) fn say_since(&mut self, text: &str, elapsed: Duration) {
        // Seconds only: a line that changes all the time is not read.
        match elapsed.as_secs() {
            seconds @ 2.. if self.terminal => self.say(&format!("{text} ({seconds}s)")),
            _ => self.say(text),
        }
    }

    /// Tells whether what it says can be wiped again.
    pub(crate) fn can_be_wiped(&self) -> bool {
        self.terminal
    }

    /// Wipes the line, so that something else can be printed.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Progress that nobody can see is no error.
        let _unseen = write_all(rustix::stdio::stderr(), text.as_bytes());
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}
