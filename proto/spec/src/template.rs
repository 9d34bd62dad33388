//! `${...}`: what may stand in it, and putting values there.
//!
//! A script is never replaced; it sees variables only, so that no branch name becomes code. What is put
//! in is not looked at again: a value that contains `${` stays as it is.

use crate::problem::{Wrong, nearest, or_list, quote};

/// A name that `${...}` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name<'t> {
    Matrix(&'t str),
    Args(&'t str),
    Branch,
    Tag,
    Commit,
    Pr,
    Event,
    Project,
    RunNumber,
}

pub(crate) const NAMES: [&str; 9] =
    ["matrix.AXIS", "args.NAME", "branch", "tag", "commit", "pr", "event", "project", "run.number"];

impl<'t> Name<'t> {
    pub(crate) fn of(written: &'t str) -> Option<Self> {
        match written {
            "branch" => Some(Self::Branch),
            "tag" => Some(Self::Tag),
            "commit" => Some(Self::Commit),
            "pr" => Some(Self::Pr),
            "event" => Some(Self::Event),
            "project" => Some(Self::Project),
            "run.number" => Some(Self::RunNumber),
            other => match other.split_once('.') {
                Some(("matrix", axis)) if !axis.is_empty() => Some(Self::Matrix(axis)),
                Some(("args", name)) if !name.is_empty() => Some(Self::Args(name)),
                Some(_) | None => None,
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Plain(&'t str),
    /// What stands between the braces.
    Name(&'t str),
}

/// Cuts a text at its `${...}`; an unclosed one is an error.
pub(crate) fn parts(text: &str) -> Result<Vec<Part<'_>>, Wrong> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find("${") {
        let (before, after) = rest.split_at(position);
        if let Some(before) = before.strip_suffix('$') {
            parts.extend([Part::Plain(before), Part::Plain("${")]);
            rest = &after[2..];
            continue;
        }
        let Some(close) = after.find('}') else {
            return Err(Wrong::new("`${` without `}`").hint("a plain `${` is written `$${`"));
        };
        parts.extend([Part::Plain(before), Part::Name(&after[2..close])]);
        rest = &after[close + 1..];
    }
    parts.push(Part::Plain(rest));
    Ok(parts)
}

pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains("${")
}

/// Returns the known names that a text uses, in a field where nothing is replaced.
pub(crate) fn known_names(text: &str) -> Vec<&str> {
    let parts = parts(text).unwrap_or_default();
    let names = parts.iter().filter_map(|part| match part {
        Part::Name(name) if Name::of(name).is_some() => Some(*name),
        Part::Name(_) | Part::Plain(_) => None,
    });
    names.collect()
}

/// Checks that every `${...}` of a text is closed and known.
pub(crate) fn check(text: &str) -> Result<(), Wrong> {
    for part in parts(text)? {
        if let Part::Name(name) = part
            && Name::of(name).is_none()
        {
            return Err(unknown(name));
        }
    }
    Ok(())
}

fn unknown(name: &str) -> Wrong {
    let wrong = Wrong::new(format!("`${{...}}` does not know the name {}", quote(name)));
    let bare = name.trim_start_matches('{').trim();
    if bare != name && Name::of(bare).is_some() {
        return wrong.hint(format!("write `${{{bare}}}`, with one pair of braces and no spaces"));
    }
    match nearest(name, NAMES) {
        Some(near) => wrong.hint(format!("did you mean `${{{near}}}`?")),
        None => wrong.hint(format!(
            "it knows {}; for a plain `${{` write `$${{`, and a script reads a variable as usual",
            or_list(&NAMES)
        )),
    }
}

/// Why a text could not be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Replaces every `${...}`, taking at most `budget` bytes for the result, which is then spent.
pub(crate) fn replace(
    text: &str,
    budget: &mut usize,
    value_of: &dyn Fn(&Name<'_>) -> String,
) -> Result<String, TooLong> {
    let mut result = String::new();
    for part in parts(text).unwrap_or_default() {
        let value = match part {
            Part::Plain(plain) => plain.to_owned(),
            Part::Name(name) => Name::of(name).as_ref().map(value_of).unwrap_or_default(),
        };
        *budget = budget.checked_sub(value.len()).ok_or(TooLong)?;
        result.push_str(&value);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> String {
        replace(text, &mut 1000, &|name| format!("<{name:?}>")).unwrap()
    }

    #[test]
    fn names_are_replaced_and_everything_else_is_left_alone() {
        assert_eq!(replaced("node:${matrix.node}"), "node:<Matrix(\"node\")>");
        assert_eq!(replaced("${branch}-${run.number}"), "<Branch>-<RunNumber>");
        assert_eq!(replaced("$HOME $$ $1 {x}"), "$HOME $$ $1 {x}");
        assert_eq!(replaced("$${branch}"), "${branch}");
    }

    #[test]
    fn a_value_is_not_replaced_again() {
        let text = replace("${branch}", &mut 100, &|_| "${commit}".to_owned()).unwrap();
        assert_eq!(text, "${commit}");
    }

    #[test]
    fn the_result_cannot_grow_beyond_its_budget() {
        let text = "${branch}".repeat(100);
        assert_eq!(replace(&text, &mut 999, &|_| "0123456789".to_owned()), Err(TooLong));
    }

    #[test]
    fn unknown_and_unclosed_names_are_errors() {
        assert!(check("${brnch}").unwrap_err().hint.unwrap().contains("did you mean `${branch}`"));
        assert!(check("${HOME}").unwrap_err().hint.unwrap().contains("$${"));
        assert!(check("${branch").is_err());
        assert!(check("${}").is_err() && check("${matrix.}").is_err());
    }
}
