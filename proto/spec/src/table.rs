//! How a key is described: its form, its default, its meaning.
//!
//! The tables of `keys` are the one source of the checks, the JSON schemas and the reference page, so
//! none of the three can say something else. What a table cannot say (two keys that exclude each other)
//! the readers check.

use crate::problem::{Wrong, quote};
use crate::source::Scalar;
use crate::template;
use crate::value::{self, Shape};

/// The keys of one kind of map.
#[derive(Debug)]
pub(crate) struct Object {
    /// What a message calls it: `a task`.
    pub(crate) what: &'static str,
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
    /// Tables whose keys may stand here too.
    pub(crate) also: &'static [&'static Object],
    /// Names of other systems, with what to write here instead.
    pub(crate) old: &'static [&'static [(&'static str, &'static str)]],
}

impl Object {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        let own = self.keys.iter().find(|key| key.name == name);
        own.or_else(|| self.also.iter().find_map(|object| object.key(name)))
    }

    /// Its own keys, then those of the tables it shares.
    pub(crate) fn all_keys(&self) -> Vec<&'static Key> {
        let shared = self.also.iter().flat_map(|object| object.all_keys());
        let is_new = |key: &&'static Key| !self.keys.iter().any(|own| own.name == key.name);
        self.keys.iter().chain(shared.filter(is_new)).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As the reference shows it: a value, or words where none is fixed.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
    pub(crate) required: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    One(Form),
    OneOrList(Form, Least),
    List(&'static Kind, Least),
    /// Keys of a free choice, each with a value of one kind.
    Map(Form, &'static Kind),
    Object(&'static Object),
    /// A scalar of the first kind, or a map of the second.
    Either(&'static Kind, &'static Kind),
    /// Axes of a free choice, each with its values, beside `include` and `exclude`.
    Matrix,
}

/// Whether a list may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Least {
    None,
    One,
}

/// What a scalar must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text; numbers and booleans are taken as written.
    Text,
    /// A text of one line that people see.
    Line,
    /// Text that a shell runs; nothing is replaced in it.
    Script,
    /// Text in which `${...}` is replaced.
    Replaced,
    /// The same on one line.
    ReplacedLine,
    Image,
    Argument,
    Directory,
    Label,
    Group,
    Boolean,
    Integer(i64, i64),
    Cpus,
    Duration,
    /// A duration that may be nothing.
    DurationOrZero,
    Size,
    Name,
    SecretName,
    BareSecret,
    SecretPath,
    Variable,
    Path,
    PathGlob,
    RefGlob,
    TextGlob,
    Axis,
    Cron,
    Zone,
    Choice(&'static [&'static str]),
    /// `false` where a map could stand.
    False,
}

impl Form {
    /// Completes "needs ...": what a person would write here.
    pub(crate) fn expects(self) -> String {
        match self {
            Self::Text | Self::Line | Self::Replaced | Self::ReplacedLine | Self::Group | Self::Argument => {
                "a text".into()
            }
            Self::Script => "a text of shell commands".into(),
            Self::Image => "an image such as `rust:1.95`".into(),
            Self::Directory | Self::Path => "a path in the workspace".into(),
            Self::Label => "a label: `word` or `key=value`".into(),
            Self::Boolean => "`true` or `false`".into(),
            Self::Integer(least, most) if most == i64::from(i32::MAX) => {
                format!("a whole number from {least}")
            }
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Cpus => "a number of processors such as `1.5`".into(),
            Self::Duration | Self::DurationOrZero => "a duration such as `90s`, `15m`, `2h` or `7d`".into(),
            Self::Size => "a size such as `256MiB` or `4GiB`".into(),
            Self::Name => "a name of a-z, 0-9 and `-`".into(),
            Self::SecretName | Self::BareSecret => "a secret's name".into(),
            Self::SecretPath => "a path of a file".into(),
            Self::Variable => "a variable's name".into(),
            Self::PathGlob => "a glob of paths such as `src/**`".into(),
            Self::RefGlob => "a glob such as `main` or `release/**`".into(),
            Self::TextGlob => "a glob".into(),
            Self::Axis => "an axis's name".into(),
            Self::Cron => "a cron text such as `30 3 * * *`".into(),
            Self::Zone => "a time zone such as `Europe/Berlin`".into(),
            Self::Choice([one]) => format!("`{one}`"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::False => "`false` or a map".into(),
        }
    }

    /// Judges a scalar where this form is wanted.
    pub(crate) fn check(self, scalar: &Scalar) -> Result<(), Wrong> {
        let text = &*scalar.text;
        let shape = scalar.shape();
        let needs = || Wrong::new(format!("{} stands where {} is needed", quote(text), self.expects()));
        match (self, shape) {
            (Self::Boolean, Shape::Boolean(_)) | (Self::False, Shape::Boolean(false)) => Ok(()),
            (Self::Boolean, _) => Err(match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => needs().hint("write `true`, without quotes"),
                "no" | "off" | "false" => needs().hint("write `false`, without quotes"),
                _ => needs(),
            }),
            (Self::False, _) => Err(needs()),
            (Self::Integer(least, most), Shape::Integer) => {
                let number = text.parse::<i64>().ok().filter(|number| (least..=most).contains(number));
                number.map(|_| ()).ok_or_else(needs)
            }
            (Self::Integer(..), Shape::Text) if text.parse::<i64>().is_ok() && !scalar.plain => {
                Err(needs().hint(format!("write {text} without quotes")))
            }
            (Self::Integer(..), _) => Err(needs()),
            (Self::Cpus, Shape::Integer | Shape::Fraction) => value::cpus(text).map(|_| ()),
            (Self::Cpus, _) => Err(needs()),
            (_, Shape::Null) => Err(Wrong::new(format!("nothing stands where {} is needed", self.expects()))
                .hint(self.null_hint())),
            (_, Shape::Fraction) => {
                let wrong =
                    Wrong::new(format!("`{text}` is a bare fraction, of which YAML may drop a digit"));
                Err(wrong.hint(format!("quote it: \"{text}\"")))
            }
            (_, Shape::Boolean(_) | Shape::Integer | Shape::Text) => self.check_text(text),
        }
    }

    fn null_hint(self) -> &'static str {
        match self {
            Self::Text | Self::Replaced | Self::Argument => "an empty text is written \"\"",
            _ => "give it a value or remove the key",
        }
    }

    fn check_text(self, text: &str) -> Result<(), Wrong> {
        if !self.is_replaced() && !matches!(self, Self::Script | Self::Text) {
            refuse_names(text)?;
        }
        match self {
            Self::Text | Self::Script => Ok(()),
            Self::Line => value::line(text),
            Self::Replaced | Self::Argument => template::check(text),
            Self::ReplacedLine => template::check(text).and_then(|()| value::line(text)),
            Self::Image => template::check(text).and_then(|()| value::image(text)),
            Self::Directory => template::check(text).and_then(|()| value::path(text)),
            Self::Group => template::check(text).and_then(|()| value::group(text)),
            Self::Label if template::is_plain(text) => value::label(text),
            Self::Label => template::check(text),
            Self::Duration => match value::duration(text)? {
                duration if duration.is_zero() => Err(Wrong::new("this must be longer than nothing")),
                _ => Ok(()),
            },
            Self::DurationOrZero => value::duration(text).map(|_| ()),
            Self::Size => value::size(text).map(|_| ()),
            Self::Name => value::name(text),
            Self::SecretName => value::secret_name(text),
            Self::BareSecret => value::bare_secret(text),
            Self::SecretPath => value::secret_path(text),
            Self::Variable => value::variable(text),
            Self::Path => value::path(text),
            Self::PathGlob => value::path_glob(text),
            Self::RefGlob => value::ref_glob(text),
            Self::TextGlob => value::text_glob(text),
            Self::Axis => value::axis(text),
            Self::Cron => crate::cron::check(text),
            Self::Zone => value::zone(text),
            Self::Choice(words) => choice(text, words),
            Self::Boolean | Self::False | Self::Integer(..) | Self::Cpus => Ok(()),
        }
    }

    /// Whether `${...}` is replaced here.
    pub(crate) fn is_replaced(self) -> bool {
        matches!(
            self,
            Self::Replaced
                | Self::ReplacedLine
                | Self::Image
                | Self::Argument
                | Self::Directory
                | Self::Label
                | Self::Group
        )
    }
}

fn choice(text: &str, words: &'static [&'static str]) -> Result<(), Wrong> {
    if words.contains(&text) {
        return Ok(());
    }
    let near = crate::problem::nearest(text, words.iter().copied());
    let wrong = match words {
        [one] => Wrong::new(format!("{} stands where `{one}` is needed", quote(text))),
        many => Wrong::new(format!("{} is not one of {}", quote(text), many.join(", "))),
    };
    Err(match near {
        Some(near) => wrong.hint(format!("did you mean `{near}`?")),
        None => wrong,
    })
}

fn refuse_names(text: &str) -> Result<(), Wrong> {
    match template::known_names(text).first() {
        Some(name) => {
            let wrong = Wrong::new(format!("`${{{name}}}` is not replaced here"));
            Err(wrong.hint(format!("it is in {REPLACED_IN}")))
        }
        None => Ok(()),
    }
}

pub(crate) const REPLACED_IN: &str =
    "`image`, `labels`, `env`, `command`, `directory`, `group`, a cache's `key` and an artifact's `name`";
