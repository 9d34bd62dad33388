//! What can end a command badly, and the exit code that scripts see.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ocelot_spec::Problems;

#[derive(Debug)]
pub(crate) enum Error {
    /// A file could not be read.
    Unreadable { file: PathBuf, source: io::Error },
    /// A definition has mistakes; they are the message.
    Mistakes(Problems),
    /// Mistakes that were shown already, one file after the other.
    MistakesShown { files: usize },
    /// A job file stands where an `ocelot.yml` is asked for.
    NotAPipeline { file: PathBuf },
    /// Standard output is gone.
    Output(io::Error),
}

impl Error {
    /// 1 the command could not be done, 2 usage or configuration.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) => 1,
            Self::Unreadable { .. }
            | Self::Mistakes(_)
            | Self::MistakesShown { .. }
            | Self::NotAPipeline { .. } => 2,
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
            Self::Unreadable { .. } | Self::Mistakes(_) | Self::MistakesShown { .. } | Self::Output(_) => {
                None
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => write!(f, "cannot read {}: {source}", file.display()),
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
            Self::Output(source) => write!(f, "cannot write the result: {source}"),
        }
    }
}
