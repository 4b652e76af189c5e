//! The log subscriber: one line an event, on standard error.

mod aside;

pub use aside::finish;
pub(super) use aside::lost;

use clap::ValueEnum;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// Who writes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Whoever has something to say, who waits until it is written.
    AtOnce,
    /// A thread of its own, so that nobody waits for a reader of the log that has stalled. What is too much for it is lost and counted
    /// (`pullgate_log_lines_lost_total`); [`finish`] writes what is left.
    Aside,
}

/// How much is logged, as the settings file says it (`log.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What failed.
    Error,
    /// And what an operator should know.
    Warn,
    /// And a line a review.
    Info,
    /// And what pullgate thinks on the way.
    Debug,
    /// And every step.
    Trace,
}

impl Level {
    /// The filter of a level. The libraries never say more than `info`: what they write at `debug` is not made for a cluster's log.
    fn filter(self) -> &'static str {
        match self {
            Self::Error => "error,rustls_platform_verifier=off",
            Self::Warn => "warn,rustls_platform_verifier=off,kube_client=error,kube_runtime=error",
            Self::Info => default_filter(0),
            Self::Debug => default_filter(1),
            Self::Trace => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error,pullgate=trace",
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Which events are logged when no filter is given, from how often `-v` stands on the command line.
pub fn default_filter(verbosity: u8) -> &'static str {
    match verbosity {
        // What the verifier says of a registry's certificate is in the finding. The API server's client logs bodies that it cannot
        // read, and those may be Secrets: see `spills`.
        0 => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error",
        1 => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error,pullgate=debug",
        _ => "debug,pullgate=trace",
    }
}

/// What the process began with, and the way to change it.
struct Running {
    began: String,
    handle: reload::Handle<EnvFilter, Registry>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts logging for the whole process. `filter` is in the syntax of `tracing_subscriber::EnvFilter` (`info,pullgate=debug`).
///
/// Fails with a sentence when the filter cannot be read, or when a subscriber is there already.
pub fn start(format: Format, filter: &str, delivery: Delivery) -> Result<(), String> {
    let (filtering, handle) = reload::Layer::new(parse(filter)?);
    let writer = match delivery {
        Delivery::AtOnce => BoxMakeWriter::new(std::io::stderr),
        Delivery::Aside => BoxMakeWriter::new(aside::begin(std::io::stderr())?),
    };
    let lines = fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    tracing_subscriber::registry()
        .with(filtering)
        .with(filter_fn(|event| !spills(event)))
        .with(lines)
        .try_init()
        .map_err(|error| format!("logging could not be started: {error}"))?;
    let began = filter.to_owned();
    // Only the one that started gets here.
    let _ = RUNNING.set(Running { began, handle });
    Ok(())
}

/// Changes what is logged from now on: to a level, or back to the filter that logging was started with. Where logging was not started
/// by [`start`], nothing happens.
pub fn adjust(level: Option<Level>) -> Result<(), String> {
    let Some(running) = RUNNING.get() else { return Ok(()) };
    let filter = parse(level.map_or(running.began.as_str(), Level::filter))?;
    running
        .handle
        .reload(filter)
        .map_err(|error| format!("the log level could not be changed: {error}"))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("the log filter {filter:?} cannot be read: {error}"))
}

/// Whether an event is never logged, whatever the filter: below an error, the API server's client logs bodies that it cannot read, and
/// those may be Secrets.
fn spills(event: &Metadata<'_>) -> bool {
    let target = event.target();
    let client = ["kube_client", "kube_runtime"].iter().any(|name| target.starts_with(name));
    client && *event.level() > tracing::Level::ERROR
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
    fn every_level_is_a_filter_and_keeps_the_libraries_quiet() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            assert!(EnvFilter::try_new(level.filter()).is_ok(), "{level:?}");
            let general = level.filter().split(',').next().unwrap();
            assert!(["error", "warn", "info"].contains(&general), "{level:?}: {general}");
        }
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = start(Format::Text, "pullgate=loud", Delivery::AtOnce).unwrap_err();
        assert!(error.contains("\"pullgate=loud\""), "{error}");
    }
}
