//! Where logs go: standard error, as text for people or as one JSON object a line for machines.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Fields and text on one line, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("the log filter {filter:?} is not understood (an example: info,proxy=debug)")]
    Filter {
        /// What was given.
        filter: String,
        /// Where it is wrong.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else of this process logs already.
    #[error("logging was started before")]
    Again {
        /// What refused.
        #[source]
        source: TryInitError,
    },
}

/// Starts logging for the whole process, once.
///
/// `filter` is a level or a list of `target=level`, as in `info,proxy=debug`.
///
/// # Errors
/// [`Error`] if the filter is not understood or logging was started before.
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    use std::io::IsTerminal as _;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        Format::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => layer.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let registry = tracing_subscriber::registry().with(layer).with(self::filter(filter)?);
    registry.try_init().map_err(|source| Error::Again { source })
}

/// Reads a filter without starting anything, for checking a config.
///
/// # Errors
/// [`Error::Filter`].
pub fn filter(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter).map_err(|source| Error::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_once_and_refuses_nonsense() {
        assert!(matches!(init(Format::Text, "proxy=loud"), Err(Error::Filter { .. })));
        init(Format::Json, "info,proxy=debug").unwrap();
        assert!(matches!(init(Format::Text, "info"), Err(Error::Again { .. })));
    }
}
