//! Tables for people: as wide as the terminal at most, the widest column gives first.

use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Style, Tone, plain};

#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(Tone, String)>>,
    style: Style,
    width: Option<usize>,
}

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this while another one is wider.
const COLUMN_MIN: usize = 6;

impl Table {
    pub(crate) fn new<const N: usize>(head: [&'static str; N], style: Style, width: Option<usize>) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), style, width }
    }

    /// Adds a row. What it says may come from anybody, and is made harmless here.
    pub(crate) fn row<const N: usize>(&mut self, cells: [(Tone, String); N]) {
        debug_assert_eq!(cells.len(), self.head.len());
        self.rows.push(cells.into_iter().map(|(tone, text)| (tone, plain(&text))).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let column = |place: usize| {
            let cells = self.rows.iter().map(|row| row[place].1.width());
            cells.max().unwrap_or(0).max(self.head[place].width())
        };
        let mut widths: Vec<usize> = (0..self.head.len()).map(column).collect();
        let Some(most) = self.width else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else { break };
            if *widest <= COLUMN_MIN {
                break;
            }
            *widest -= 1;
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let head = self.head.iter().map(|word| (Tone::Dim, (*word).to_owned())).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            for (place, ((tone, text), width)) in row.iter().zip(&widths).enumerate() {
                let text = cut(text, *width);
                let last = place + 1 == row.len();
                let pad = if last { 0 } else { width - text.width() + GAP };
                write!(f, "{}{:pad$}", self.style.paint(*tone, text), "")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Returns as much of the text as fits, with a sign that there was more.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let mut table = Table::new(["JOB", "DESCRIPTION"], Style { coloured: false }, width);
        table.row([(Tone::Plain, "hello".into()), (Tone::Plain, "Says hello to the world".into())]);
        table.row([(Tone::Plain, "日本".into()), (Tone::Plain, "wide\x1b[2Jletters".into())]);
        table.to_string()
    }

    #[test]
    fn a_table_takes_what_it_needs_and_no_more_than_there_is() {
        insta::assert_snapshot!(table(None), @r"
        JOB    DESCRIPTION
        hello  Says hello to the world
        日本   wide^[[2Jletters
        ");
        insta::assert_snapshot!(table(Some(20)), @"
        JOB    DESCRIPTION
        hello  Says hello t…
        日本   wide^[[2Jlet…
        ");
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        for width in 14..60 {
            assert!(table(Some(width)).lines().all(|line| line.width() <= width), "{width}");
        }
    }
}
