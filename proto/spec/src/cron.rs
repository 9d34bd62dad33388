//! Cron texts of five fields: whether one can be read, and whether its moment ever comes.
//!
//! Only the text is judged. When it is due, in which time zone, across which clock change, is the
//! scheduler's question.

use crate::problem::{Wrong, or_list, quote};

struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { what: "minute", least: 0, most: 59, names: &[] },
    Field { what: "hour", least: 0, most: 23, names: &[] },
    Field { what: "day of the month", least: 1, most: 31, names: &[] },
    Field { what: "month", least: 1, most: 12, names: &MONTHS },
    Field { what: "day of the week", least: 0, most: 7, names: &DAYS },
];

/// Checks a cron text.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let wrong = Wrong::new(format!("{} has {} fields, a cron text has 5", quote(text), fields.len()));
        return Err(wrong.hint("minute, hour, day of the month, month, day of the week: `30 3 * * *`"));
    }
    let mut values = Vec::new();
    for (field, text) in FIELDS.iter().zip(&fields) {
        values.push(field.values(text)?);
    }
    let longest = |month: u32| match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let first_day = values[2].iter().min().copied().unwrap_or(1);
    let never = fields[4] == "*" && !values[3].iter().any(|month| longest(*month) >= first_day);
    if never {
        return Err(Wrong::new(format!("{} never comes: none of its months has such a day", quote(text))));
    }
    Ok(())
}

impl Field {
    fn values(&self, text: &str) -> Result<Vec<u32>, Wrong> {
        let mut values = Vec::new();
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, self.step(step)?),
                None => (part, 1),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.least, self.most),
                Some((from, to)) => (self.number(from)?, self.number(to)?),
                None if part.contains('/') => (self.number(range)?, self.most),
                None => (self.number(range)?, self.number(range)?),
            };
            if from > to {
                return Err(Wrong::new(format!("{} runs backwards in the {}", quote(range), self.what)));
            }
            values.extend((from..=to).step_by(step));
        }
        Ok(values)
    }

    fn step(&self, text: &str) -> Result<usize, Wrong> {
        let step = text.parse().ok().filter(|step| (1..=self.most as usize).contains(step));
        step.ok_or_else(|| Wrong::new(format!("{} is no step of the {}", quote(text), self.what)))
    }

    fn number(&self, text: &str) -> Result<u32, Wrong> {
        let lower = text.to_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return Ok(u32::try_from(index).unwrap_or_default() + self.least);
        }
        let plain = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| plain && (self.least..=self.most).contains(number));
        number.ok_or_else(|| {
            let wrong = Wrong::new(format!("{} is no {} of a cron text", quote(text), self.what));
            let names =
                if self.names.is_empty() { String::new() } else { format!(", or {}", or_list(self.names)) };
            wrong.hint(format!(
                "{} to {}, `*`, `a-b`, `*/n` or a list with commas{names}",
                self.least, self.most
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_are_read_as_cron_reads_them() {
        for good in [
            "30 3 * * *",
            "*/5 * * * *",
            "0 0-6/2 1,15 jan-MAR mon",
            "5/10 * * * 7",
            "0 0 29 2 *",
            "0 0 31 2 mon",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@daily",
            "* * * foo *",
            "1,,2 * * * *",
            "-1 * * * *",
            "0 0 31 2,4 *",
            "+1 * * * *",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
