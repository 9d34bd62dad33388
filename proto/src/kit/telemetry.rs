//! Events and spans on standard error, for people or for machines.

use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// One readable line each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{filter:?} is no filter of log levels; `info` or `ocelot_controller=debug,info` would be")]
    Filter { filter: String, source: ParseError },
    #[error("something else in this process writes the log already")]
    Taken,
}

/// Starts writing events to standard error. Panics become events too.
pub fn init(format: Format, filter: &str) -> Result<(), InitError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|source| InitError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let builder = if std::io::stderr().is_terminal() { builder } else { builder.with_ansi(false) };
    let started = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
    started.map_err(|_| InitError::Taken)?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Shows an error with all its causes, each once: `cannot start: the port is taken: ...`.
pub fn chain<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // One that speaks in its cause's words says nothing more.
            if words != said {
                write!(f, ": {words}")?;
            }
            said = words;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the run was not accepted")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Echo(#[source] Outer);

    #[test]
    fn an_error_is_shown_with_its_causes_and_each_is_said_once() {
        let error = Outer(std::io::Error::other("the disk is full"));
        assert_eq!(chain(&error).to_string(), "the run was not accepted: the disk is full");
        assert_eq!(chain(&Echo(error)).to_string(), "the run was not accepted: the disk is full");
    }

    #[test]
    fn a_wrong_filter_says_what_would_be_right() {
        let error = init(Format::Text, "info,=,=").unwrap_err();
        insta::assert_snapshot!(
            error,
            @r#""info,=,=" is no filter of log levels; `info` or `ocelot_controller=debug,info` would be"#
        );
    }
}
