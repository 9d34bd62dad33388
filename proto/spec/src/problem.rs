//! What is wrong with a file, said so that the person who wrote it can mend it at once.
//!
//! Readers add findings as they meet them; a file's [`Problems`] hold all of them in the order of the
//! file, each with its line. Nothing here decides what is wrong. Lists and lines are bounded, and
//! nothing of the file reaches a terminal as a control character.

use std::fmt;

use serde::Serialize;

/// More findings than this are counted, not shown: nobody mends the fifty-first before the first.
pub const PROBLEMS_MAX: usize = 50;

/// A shown line is cut to this many characters around its caret.
const LINE_MAX: usize = 100;

/// Where in the file: lines and columns count characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct At {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

/// A message and, where one is known, what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything found so far, without the file's text.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<(Option<At>, Wrong)>,
    more: usize,
}

impl Findings {
    pub(crate) fn add(&mut self, at: At, wrong: Wrong) {
        self.push(Some(at), wrong);
    }

    /// Adds a problem whose words cost something to find, unless it would only be counted.
    pub(crate) fn add_with(&mut self, at: At, wrong: impl FnOnce() -> Wrong) {
        if self.list.len() < PROBLEMS_MAX {
            self.add(at, wrong());
        } else {
            self.more += 1;
        }
    }

    /// Adds a problem that stands in no file: an argument, a variable of the command line.
    pub(crate) fn add_outside(&mut self, wrong: Wrong) {
        self.push(None, wrong);
    }

    fn push(&mut self, at: Option<At>, wrong: Wrong) {
        if self.list.iter().any(|(other_at, other)| *other_at == at && *other == wrong) {
            return;
        }
        if self.list.len() < PROBLEMS_MAX {
            self.list.push((at, wrong));
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the value if nothing was found, else the problems with the lines they stand in.
    pub(crate) fn finish<T>(mut self, file: &str, source: &str, value: Option<T>) -> Result<T, Problems> {
        if let (true, Some(value)) = (self.is_empty(), value) {
            return Ok(value);
        }
        self.list.sort_by_key(|(at, _)| *at);
        let lines: Vec<&str> = source.lines().collect();
        let problems =
            self.list.into_iter().map(|(at, wrong)| Problem::new(at.map(|at| excerpt(at, &lines)), wrong));
        Err(Problems { file: file.to_owned(), problems: problems.collect(), more: self.more })
    }
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    pub file: String,
    pub problems: Vec<Problem>,
    /// How many were found beyond those listed.
    pub more: usize,
}

/// One mistake: what is wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A place in the file, with the line that stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    /// The line, cut to what is near the place, control characters replaced.
    pub excerpt: String,
    /// The first character of `excerpt` that the problem is about, from 0.
    pub caret: u32,
    /// How many characters of `excerpt` it is about; at least 1.
    pub length: u32,
}

impl Problem {
    fn new(place: Option<Place>, wrong: Wrong) -> Self {
        Self { message: printable(&wrong.message), hint: wrong.hint.as_deref().map(printable), place }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    /// Writes each problem as `file:line:column: message`, the line with a caret, and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.write(f, &self.file)?;
        }
        match self.more {
            0 => Ok(()),
            1 => write!(f, "\nand 1 more problem\n"),
            more => write!(f, "\nand {more} more problems\n"),
        }
    }
}

impl Problem {
    fn write(&self, f: &mut fmt::Formatter<'_>, file: &str) -> fmt::Result {
        if let Some(place) = &self.place {
            writeln!(f, "{file}:{}:{}: {}", place.line, place.column, self.message)?;
            let number = place.line.to_string();
            let gutter = " ".repeat(number.len());
            let carets = "^".repeat(place.length as usize);
            writeln!(f, "{number} | {}", place.excerpt)?;
            writeln!(f, "{gutter} | {}{carets}", " ".repeat(place.caret as usize))?;
        } else {
            writeln!(f, "{file}: {}", self.message)?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "hint: {hint}")?;
        }
        Ok(())
    }
}

/// Cuts the line of a place to a window that a terminal shows whole.
fn excerpt(at: At, lines: &[&str]) -> Place {
    let line = lines.get(at.line.saturating_sub(1) as usize).copied().unwrap_or_default();
    let caret = at.column.saturating_sub(1) as usize;
    let past_window = line.chars().count().saturating_sub(LINE_MAX);
    let start = caret.saturating_sub(LINE_MAX / 2).min(past_window);
    let mut window: Vec<char> = line.chars().skip(start).take(LINE_MAX + 1).map(visible).collect();
    if window.len() > LINE_MAX {
        window.truncate(LINE_MAX);
        window.push('…');
    }
    if start > 0 {
        window.insert(0, '…');
    }
    let caret = (caret - start + usize::from(start > 0)).min(window.len());
    let room = window.len().saturating_sub(caret).max(1);
    let length = (at.length.max(1) as usize).min(room);
    let as_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: at.line,
        column: at.column,
        excerpt: window.into_iter().collect::<String>().trim_end().to_owned(),
        caret: as_u32(caret),
        length: as_u32(length),
    }
}

fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        hidden if is_hidden(hidden) => '\u{fffd}',
        shown => shown,
    }
}

/// Characters that would move a terminal's cursor, colour it, or turn the reading direction.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Makes a message fit to be shown, whatever piece of the file stands in it.
fn printable(text: &str) -> String {
    const MESSAGE_MAX: usize = 600;
    let shown = text.chars().take(MESSAGE_MAX).map(visible);
    let cut = text.chars().nth(MESSAGE_MAX).map(|_| '…');
    shown.chain(cut).collect()
}

/// Quotes a piece of the file for a message, cut to what a person reads.
pub(crate) fn quote(text: &str) -> String {
    const QUOTE_MAX: usize = 60;
    let first_line = text.lines().next().unwrap_or_default();
    let short: String = first_line.chars().take(QUOTE_MAX).collect();
    let cut = if short.len() < text.trim_end().len() { "…" } else { "" };
    format!("`{short}{cut}`")
}

/// Returns the known word that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORD_MAX: usize = 64;
    if word.is_empty() || word.len() > WORD_MAX {
        return None;
    }
    let word = word.to_lowercase();
    let score = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    let (distance, best) = known
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_MAX)
        .map(|candidate| (score(candidate), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let allowed = match word.len().max(best.len()) {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    (distance <= allowed && distance < word.chars().count()).then_some(best)
}

/// Joins words as a sentence does: `a, b or c`.
pub(crate) fn or_list<T: AsRef<str>>(words: &[T]) -> String {
    const SHOWN_MAX: usize = 12;
    let shown: Vec<&str> = words.iter().map(AsRef::as_ref).take(SHOWN_MAX).collect();
    match shown.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        many if words.len() > SHOWN_MAX => format!("{} …", many.join(", ")),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}
