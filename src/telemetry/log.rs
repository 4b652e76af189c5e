//! The log subscriber: one line an event, on standard error.

use clap::ValueEnum;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Which events are logged when no filter is given, from how often `-v` stands on the command line.
pub fn default_filter(verbosity: u8) -> &'static str {
    match verbosity {
        // What the verifier says of a registry's certificate is in the finding. The API server's client logs bodies that it cannot
        // read, and those may be Secrets.
        0 => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error",
        1 => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error,pullgate=debug",
        _ => "debug,pullgate=trace",
    }
}

/// Starts logging for the whole process. `filter` is in the syntax of `tracing_subscriber::EnvFilter` (`info,pullgate=debug`).
///
/// Fails with a sentence when the filter cannot be read, or when a subscriber is there already.
pub fn start(format: Format, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("the log filter {filter:?} cannot be read: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
    };
    started.map_err(|error| format!("logging could not be started: {error}"))
}

/// Sends panics to the log instead of printing them, so that a collector sees them as events.
///
/// The message is kept only when it is fixed text: a formatted one (`byte index 5 is not a char boundary; it is inside ...`) may quote
/// what was being worked on, and that may be a secret. The place is always there.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(place = %place(info), message = fixed_message(info), "a task panicked");
    }));
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn fixed_message(info: &PanicHookInfo<'_>) -> &'static str {
    info.payload()
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(not logged)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_filters_can_be_read() {
        for verbosity in 0..4 {
            assert!(EnvFilter::try_new(default_filter(verbosity)).is_ok());
        }
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = start(Format::Text, "pullgate=loud").unwrap_err();
        assert!(error.contains("\"pullgate=loud\""), "{error}");
    }
}
