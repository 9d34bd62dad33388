//! What can end a command badly, the exit code that scripts see, and what to type next.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ocelot_spec::Problems;

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub(crate) enum Error {
    /// A file could not be read.
    Unreadable { file: PathBuf, source: io::Error },
    /// A file could not be written.
    Unwritable { file: PathBuf, source: io::Error },
    /// A definition has mistakes; they are the message.
    Mistakes(Problems),
    /// Mistakes that were shown already, one file after the other.
    MistakesShown { files: usize },
    /// A job file stands where an `ocelot.yml` is asked for.
    NotAPipeline { file: PathBuf },
    /// What was typed cannot be right.
    Usage { what: String, hint: Option<String> },
    /// What is configured cannot be right.
    Configuration { what: String, hint: String },
    /// A controller answered, and did not do it.
    Refused { what: String, hint: Option<String>, whose: Whose },
    /// No controller did it in time.
    Unavailable { what: String, hint: String },
    /// A controller was asked and did not answer: it may have been done.
    Unanswered { what: String, hint: String },
    /// The run is over and did not succeed; that was told already.
    RunNotSucceeded,
    /// A doctor found what does not work; that was told already.
    Sick,
    /// A person stopped following; that was told already.
    Stopped,
    /// Standard output is gone.
    Output(io::Error),
    /// Whoever read standard output has seen enough.
    ReaderGone,
}

/// Who can do something about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// What was asked for is impossible as things stand.
    State,
    /// What was named is not there.
    Missing,
    /// What was named is there already.
    Taken,
    /// The request itself.
    Request,
    /// The project: a bug.
    Ours,
}

/// Where a bug is told.
pub(crate) const REPORT: &str = "this is a bug of ours: please report it with the lines above";

impl Error {
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: Some(hint.into()) }
    }

    /// Says what to type next for a name that is not there, or is there already.
    #[must_use]
    pub(crate) fn with_hint(self, next: impl Into<String>) -> Self {
        match self {
            Self::Refused { what, hint: None, whose: whose @ (Whose::Missing | Whose::Taken) } => {
                Self::Refused { what, hint: Some(next.into()), whose }
            }
            other => other,
        }
    }

    /// Says what may have come of it although no answer came, and where to look.
    #[must_use]
    pub(crate) fn maybe(self, done: &str, look: impl fmt::Display) -> Self {
        match self {
            Self::Unanswered { what, hint } => Self::Unanswered {
                what: format!("{what}; it may have been {done} all the same"),
                hint: format!("{look}; {hint}"),
            },
            other => other,
        }
    }

    /// 1 the command could not be done, 2 usage or configuration, 3 the run did not succeed,
    /// 4 no controller, 70 a bug.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Output(_) | Self::Unwritable { .. } | Self::Sick | Self::Stopped => 1,
            Self::Refused { whose, .. } => match whose {
                Whose::State | Whose::Missing | Whose::Taken => 1,
                Whose::Request => 2,
                Whose::Ours => 70,
            },
            Self::Unreadable { .. }
            | Self::Mistakes(_)
            | Self::MistakesShown { .. }
            | Self::NotAPipeline { .. }
            | Self::Usage { .. }
            | Self::Configuration { .. } => 2,
            Self::RunNotSucceeded => 3,
            Self::Unavailable { .. } | Self::Unanswered { .. } => 4,
        }
    }

    /// What people are told; nothing for what they know already.
    pub(crate) fn told(&self) -> Option<String> {
        match self {
            Self::RunNotSucceeded | Self::Sick | Self::Stopped | Self::ReaderGone => None,
            Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Mistakes(_)
            | Self::MistakesShown { .. }
            | Self::NotAPipeline { .. }
            | Self::Usage { .. }
            | Self::Configuration { .. }
            | Self::Refused { .. }
            | Self::Unavailable { .. }
            | Self::Unanswered { .. }
            | Self::Output(_) => Some(self.to_string()),
        }
    }

    /// What to type or do next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { file, source } if source.kind() == io::ErrorKind::NotFound => {
                let name = file.display();
                Some(format!("there is no {name} in this folder; name the file as the last argument"))
            }
            Self::NotAPipeline { file } => Some(format!("check it: ocelot validate {}", file.display())),
            Self::Usage { hint, .. } => hint.clone(),
            Self::Configuration { hint, .. }
            | Self::Unavailable { hint, .. }
            | Self::Unanswered { hint, .. } => Some(hint.clone()),
            Self::Refused { hint, whose: Whose::Ours, .. } => {
                Some(hint.clone().unwrap_or_else(|| REPORT.to_owned()))
            }
            Self::Refused { hint, .. } => hint.clone(),
            Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Mistakes(_)
            | Self::MistakesShown { .. }
            | Self::RunNotSucceeded
            | Self::Sick
            | Self::Stopped
            | Self::Output(_)
            | Self::ReaderGone => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => write!(f, "cannot read {}: {source}", file.display()),
            Self::Unwritable { file, source } => write!(f, "cannot write {}: {source}", file.display()),
            Self::Mistakes(problems) => problems.fmt(f),
            Self::MistakesShown { files: 1 } => f.write_str("one file is not good"),
            Self::MistakesShown { files } => write!(f, "{files} files are not good"),
            Self::NotAPipeline { file } => {
                write!(
                    f,
                    "{} is a job file, and nothing but a person or a schedule starts it",
                    file.display()
                )
            }
            Self::Usage { what, .. }
            | Self::Configuration { what, .. }
            | Self::Refused { what, .. }
            | Self::Unavailable { what, .. }
            | Self::Unanswered { what, .. } => f.write_str(what),
            Self::Sick => f.write_str("something does not work"),
            Self::RunNotSucceeded => f.write_str("the run did not succeed"),
            Self::Stopped => f.write_str("stopped following"),
            Self::Output(source) => write!(f, "cannot write the result: {source}"),
            Self::ReaderGone => f.write_str("nobody reads the result"),
        }
    }
}
