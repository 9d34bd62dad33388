//! Colours, in the few tones that mean something.

use std::fmt;

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Dim,
    Good,
    Bad,
    Warn,
    Busy,
    /// Tells one from others, and means nothing else.
    Hue(u32),
}

/// Neither red nor green, which mean something, and nothing that a light or dark ground swallows.
const HUES: [&str; 6] = ["36", "35", "34", "33", "96", "95"];

/// Whether colours are used; decided once for each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) coloured: bool,
}

impl Style {
    pub(crate) fn paint<T: fmt::Display>(self, tone: Tone, text: T) -> Painted<T> {
        Painted { tone: if self.coloured { tone } else { Tone::Plain }, text }
    }
}

#[derive(Debug)]
pub(crate) struct Painted<T> {
    tone: Tone,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.tone {
            Tone::Plain => return self.text.fmt(f),
            Tone::Strong => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Busy => "36",
            Tone::Hue(place) => HUES[place as usize % HUES.len()],
        };
        write!(f, "\x1b[{code}m{}\x1b[0m", self.text)
    }
}
