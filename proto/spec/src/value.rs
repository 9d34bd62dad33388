//! Scalars: what a duration, a size, a name, a path is, and what to say when a text is none.
//!
//! Each function judges one text and knows nothing of the key it stands under.

use std::time::Duration;

use crate::glob::{Glob, check_ref};
use crate::problem::{Wrong, is_hidden, quote};
use crate::source::Scalar;

/// What a scalar is in YAML 1.2 when it is written without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Null,
    Boolean(bool),
    Integer,
    Fraction,
    Text,
}

impl Scalar {
    pub(crate) fn shape(&self) -> Shape {
        if !self.plain {
            return Shape::Text;
        }
        match &*self.text {
            "" | "~" | "null" | "Null" | "NULL" => Shape::Null,
            "true" | "True" | "TRUE" => Shape::Boolean(true),
            "false" | "False" | "FALSE" => Shape::Boolean(false),
            text => number_shape(text),
        }
    }
}

fn number_shape(text: &str) -> Shape {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Shape::Integer;
    }
    let is_number_like =
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'))
            && digits.bytes().any(|byte| byte.is_ascii_digit())
            && !digits.starts_with(['e', 'E']);
    let named = matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    if named || (is_number_like && digits.parse::<f64>().is_ok()) { Shape::Fraction } else { Shape::Text }
}

/// No wait and no life is longer; it keeps every sum of times far from its end.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 86_400);

pub(crate) fn duration(text: &str) -> Result<Duration, Wrong> {
    let units = "write `90s`, `15m`, `2h` or `7d`";
    let wrong = || Wrong::new(format!("{} is not a duration", quote(text)));
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let number: Option<u64> =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    let (Some(number), seconds) = (number, unit_seconds(unit)) else {
        return Err(wrong().hint(units));
    };
    let Some(seconds) = seconds else {
        let hint = match unit {
            "" => format!("it needs a unit: `{number}s`, `{number}m`, `{number}h` or `{number}d`"),
            _ => units.to_owned(),
        };
        return Err(wrong().hint(hint));
    };
    let duration =
        number.checked_mul(seconds).map(Duration::from_secs).filter(|duration| *duration <= DURATION_MAX);
    duration.ok_or_else(|| Wrong::new(format!("{} is longer than ten years", quote(text))))
}

fn unit_seconds(unit: &str) -> Option<u64> {
    match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    }
}

pub(crate) fn size(text: &str) -> Result<u64, Wrong> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => 0,
    };
    let number: Option<u64> =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    match number {
        Some(number) if shift > 0 => {
            let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes > 0 && *bytes < 1 << 60);
            bytes.ok_or_else(|| Wrong::new(format!("{} is not a usable size", quote(text))))
        }
        Some(number) => {
            let letter = unit.chars().next().map_or('M', |c| c.to_ascii_uppercase());
            let letter = if matches!(letter, 'K' | 'M' | 'G' | 'T') { letter } else { 'M' };
            let wrong = Wrong::new(format!("{} is not a size", quote(text)));
            Err(wrong.hint(format!("write `{number}{letter}iB`; the units are KiB, MiB, GiB and TiB")))
        }
        None => {
            Err(Wrong::new(format!("{} is not a size", quote(text)))
                .hint("write `512KiB`, `256MiB` or `4GiB`"))
        }
    }
}

/// Reads `1.5` as 1500 thousandths.
pub(crate) fn cpus(text: &str) -> Result<u32, Wrong> {
    let wrong =
        || Wrong::new(format!("{} is not a number of processors", quote(text))).hint("write `2` or `1.5`");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 5 || part.len() > 3 || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    Some(whole * 1000 + part).filter(|millis| *millis > 0).ok_or_else(wrong)
}

pub(crate) const NAME_MAX: usize = 63;

pub(crate) fn name(text: &str) -> Result<(), Wrong> {
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if !text.is_empty() && text.len() <= NAME_MAX && !text.starts_with('-') && text.bytes().all(valid) {
        return Ok(());
    }
    let wrong = Wrong::new(format!("{} is not a name", quote(text)));
    let repaired: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(NAME_MAX)
        .collect();
    let repaired = repaired.trim_matches('-');
    let rule = "names are a-z, 0-9 and `-`, at most 63 characters";
    Err(if repaired.is_empty() { wrong.hint(rule) } else { wrong.hint(format!("{rule}: `{repaired}`")) })
}

pub(crate) fn is_variable(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(crate) fn variable(text: &str) -> Result<(), Wrong> {
    if !is_variable(text) {
        let wrong = Wrong::new(format!("{} is not a variable's name", quote(text)));
        return Err(wrong.hint("letters, digits and `_`, not beginning with a digit"));
    }
    if text.to_ascii_uppercase().starts_with("OCELOT_") {
        let wrong = Wrong::new(format!("`{text}` cannot be set: names that begin with `OCELOT_` are ours"));
        return Err(wrong.hint("choose another prefix"));
    }
    Ok(())
}

/// A secret's name in the store; also a bare one names the variable, so its own check follows there.
pub(crate) fn secret_name(text: &str) -> Result<(), Wrong> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.len() <= NAME_MAX && !text.starts_with('-') && text.bytes().all(valid) {
        return Ok(());
    }
    let wrong = Wrong::new(format!("{} is not a secret's name", quote(text)));
    Err(wrong
        .hint("letters, digits, `-` and `_`, at most 63 characters; the value itself never stands in a file"))
}

/// A secret of one word is given as the variable of the same name.
pub(crate) fn bare_secret(text: &str) -> Result<(), Wrong> {
    secret_name(text)?;
    if is_variable(text) {
        return variable(text);
    }
    let as_variable: String =
        text.to_uppercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let wrong = Wrong::new(format!("`{text}` cannot be a variable's name"));
    Err(wrong.hint(format!("say where it goes: `{{name: {text}, env: {as_variable}}}`, or `file:` or `as:`")))
}

const PATH_MAX: usize = 1024;

fn stays_inside(text: &str) -> Result<(), Wrong> {
    if text.len() > PATH_MAX || text.is_empty() {
        return Err(Wrong::new(format!("a path has 1 to {PATH_MAX} characters")));
    }
    if text.starts_with('~') {
        return Err(
            Wrong::new(format!("{} leaves the workspace", quote(text))).hint("paths are relative to it")
        );
    }
    if text.split('/').any(|component| component == "..") {
        let wrong = Wrong::new(format!("{} could leave the workspace", quote(text)));
        return Err(wrong.hint("paths are relative to the workspace and have no `..`"));
    }
    match text.chars().find(|c| is_hidden(*c)) {
        Some(c) => Err(Wrong::new(format!("a path cannot hold U+{:04X}", u32::from(c)))),
        None => Ok(()),
    }
}

fn is_relative(text: &str) -> Result<(), Wrong> {
    let Some(relative) = text.strip_prefix('/') else { return Ok(()) };
    let wrong = Wrong::new(format!("{} is absolute", quote(text)));
    let relative = relative.trim_start_matches('/');
    Err(wrong.hint(format!(
        "paths are relative to the workspace: {}",
        quote(if relative.is_empty() { "." } else { relative })
    )))
}

pub(crate) fn path(text: &str) -> Result<(), Wrong> {
    is_relative(text).and_then(|()| stays_inside(text))
}

/// Where a secret's file is put: in the workspace, or anywhere in the container.
pub(crate) fn secret_path(text: &str) -> Result<(), Wrong> {
    stays_inside(text)?;
    if text.ends_with('/') || text == "." {
        return Err(Wrong::new(format!("{} is a folder", quote(text))).hint("name the file itself"));
    }
    Ok(())
}

pub(crate) fn path_glob(text: &str) -> Result<(), Wrong> {
    let bare = text.strip_prefix('!').unwrap_or(text);
    path(bare)?;
    Glob::new(bare).map(|_| ())
}

pub(crate) fn ref_glob(text: &str) -> Result<(), Wrong> {
    if text.is_empty() || text == "!" {
        return Err(Wrong::new("an empty glob matches nothing").hint("`**` matches everything"));
    }
    check_ref(text)
}

pub(crate) fn text_glob(text: &str) -> Result<(), Wrong> {
    Glob::new(text.strip_prefix('!').unwrap_or(text)).map(|_| ())
}

const LABEL_MAX: usize = 128;

pub(crate) fn label(text: &str) -> Result<(), Wrong> {
    let form = "a label is `word` or `key=value`";
    if let Some(asked) = text.strip_prefix('!') {
        let wrong = Wrong::new(format!(
            "{} is how an executor is granted a label, not how a task asks for it",
            quote(text)
        ));
        return Err(wrong.hint(format!("write {}", quote(asked))));
    }
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    let valid = |part: &str| {
        !part.is_empty()
            && part.len() <= LABEL_MAX
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b':' | b'-'))
    };
    if valid(key) && value.is_none_or(valid) {
        return Ok(());
    }
    Err(Wrong::new(format!("{} is not a label", quote(text)))
        .hint(format!("{form} of letters, digits and `. _ / : -`")))
}

/// A word of a person: shown in lists, so short and on one line.
pub(crate) fn line(text: &str) -> Result<(), Wrong> {
    const LINE_CHARS_MAX: usize = 200;
    if text.trim().is_empty() {
        return Err(Wrong::new("this is empty"));
    }
    if text.chars().count() > LINE_CHARS_MAX {
        return Err(Wrong::new(format!("this has more than {LINE_CHARS_MAX} characters")));
    }
    match text.chars().find(|c| is_hidden(*c)) {
        Some(c) => {
            Err(Wrong::new(format!("this is shown on one line and cannot hold U+{:04X}", u32::from(c))))
        }
        None => Ok(()),
    }
}

/// An image's name, as far as it can be judged without a registry.
pub(crate) fn image(text: &str) -> Result<(), Wrong> {
    line(text)?;
    match text.contains(char::is_whitespace) {
        true => Err(Wrong::new(format!("{} is not an image", quote(text))).hint("write it like `rust:1.95`")),
        false => Ok(()),
    }
}

/// The group of a concurrency limit; `/name` is shared by all projects.
pub(crate) fn group(text: &str) -> Result<(), Wrong> {
    if text == "/" {
        return Err(Wrong::new("`/` names no group").hint("`/name` is shared by all projects"));
    }
    line(text)
}

pub(crate) fn zone(text: &str) -> Result<(), Wrong> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
    if !text.is_empty() && text.len() <= NAME_MAX && text.bytes().all(valid) {
        return Ok(());
    }
    Err(Wrong::new(format!("{} is not a time zone's name", quote(text)))
        .hint("write `Europe/Berlin` or `UTC`"))
}

/// A matrix axis: what follows `matrix.`, and in capitals what follows `MATRIX_`.
pub(crate) fn axis(text: &str) -> Result<(), Wrong> {
    if text.len() <= NAME_MAX && is_variable(&text.replace('-', "_")) {
        return Ok(());
    }
    Err(Wrong::new(format!("{} is not an axis's name", quote(text)))
        .hint("letters, digits, `_` and `-`, not beginning with a digit"))
}

pub(crate) fn axis_variable(axis: &str) -> String {
    format!("MATRIX_{}", axis.replace('-', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        Scalar { text: text.into(), plain: true }.shape()
    }

    #[test]
    fn plain_scalars_have_the_shapes_of_yaml_1_2() {
        for (text, expected) in [
            ("", Shape::Null),
            ("~", Shape::Null),
            ("true", Shape::Boolean(true)),
            ("yes", Shape::Text),
            ("on", Shape::Text),
            ("20", Shape::Integer),
            ("-3", Shape::Integer),
            ("3.10", Shape::Fraction),
            ("1e3", Shape::Fraction),
            (".5", Shape::Fraction),
            (".inf", Shape::Fraction),
            ("3.10.1", Shape::Text),
            ("1_000", Shape::Text),
            ("e5", Shape::Text),
            ("-", Shape::Text),
            ("2h", Shape::Text),
        ] {
            assert_eq!(shape(text), expected, "{text:?}");
        }
        assert_eq!(Scalar { text: "3.10".into(), plain: false }.shape(), Shape::Text);
    }

    #[test]
    fn durations_and_sizes_are_exact() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(size("512KiB"), Ok(524_288));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(cpus("1.5"), Ok(1500));
        assert_eq!(cpus("2"), Ok(2000));
        for bad in ["", "s", "-1s", "1.5h", "1h30m", "5 m", "99999999999999999999s", "1w", "4000d", "1é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "4GB", "4", "0MiB", "1.5GiB", "99999999TiB", "GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["0", "0.0001", "-1", "x", "1.", ".5", "1e3"] {
            assert_eq!(cpus(bad).is_ok(), bad == "1.", "{bad}");
        }
    }

    #[test]
    fn paths_stay_inside_the_workspace() {
        for good in [".", "a", "a/b", "./a", ".m2", "a..b"] {
            assert!(path(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc", "..", "a/../b", "~/x", "a\u{202e}b", "a\u{7f}"] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert!(path_glob("!**/*.log").is_ok() && path_glob("!/x").is_err());
    }

    #[test]
    fn our_own_variables_cannot_be_set() {
        assert!(
            variable("OCELOT_X").is_err() && variable("ocelot_x").is_err() && variable("OCELOTX").is_ok()
        );
    }
}
