//! The log subscriber: one line per event, on standard error.

mod plain;
mod writer;

pub(super) use writer::dropped;
pub use writer::flush_pending;

use clap::ValueEnum;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object per line.
    Json,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// By the caller, which waits until it is written.
    AtOnce,
    /// By a background thread, so that nobody waits for a stalled log reader. Lines that do not fit into its queue are dropped and
    /// counted (`pullgate_log_lines_lost_total`); [`flush_pending`] writes what is left.
    Background,
}

/// How much is logged, as set in the settings file (`log.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Failures.
    Error,
    /// Also what an operator should know.
    Warn,
    /// Also one line per review.
    Info,
    /// Also pullgate's decisions.
    Debug,
    /// Also every step.
    Trace,
}

impl Level {
    /// The filter of a level. Libraries are limited to `info`: their `debug` output is not made for a cluster's log.
    fn filter(self) -> &'static str {
        match self {
            Self::Error => "error,rustls_platform_verifier=off",
            Self::Warn => "warn,rustls_platform_verifier=off,kube_client=error,kube_runtime=error",
            Self::Info => default_filter(0),
            Self::Debug => default_filter(1),
            Self::Trace => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error,pullgate=trace",
        }
    }

    /// As it is written in the settings.
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

/// The filter if none is given, by the number of `-v` flags.
pub fn default_filter(verbosity: u8) -> &'static str {
    match verbosity {
        // The finding contains what the verifier says about a registry's certificate. The API server's client logs bodies that it
        // cannot parse, and those may be Secrets: see `may_leak`.
        0 => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error",
        1 => "info,rustls_platform_verifier=off,kube_client=error,kube_runtime=error,pullgate=debug",
        _ => "debug,pullgate=trace",
    }
}

/// The initial filter, and the handle to change it.
struct Running {
    began: String,
    handle: reload::Handle<EnvFilter, Registry>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts logging for the whole process. `filter` is in the syntax of `tracing_subscriber::EnvFilter` (`info,pullgate=debug`).
///
/// Fails with a sentence if the filter cannot be parsed, or if there already is a subscriber.
pub fn start(format: Format, filter: &str, delivery: Delivery) -> Result<(), String> {
    let (filtering, handle) = reload::Layer::new(parse(filter)?);
    let lines = match delivery {
        Delivery::AtOnce => lines(format, std::io::stderr),
        Delivery::Background => lines(format, writer::begin(std::io::stderr())?),
    };
    tracing_subscriber::registry()
        .with(filtering)
        .with(filter_fn(|event| !may_leak(event)))
        .with(lines)
        .try_init()
        .map_err(|error| format!("logging could not be started: {error}"))?;
    let began = filter.to_owned();
    // Only the call that started logging gets here.
    let _ = RUNNING.set(Running { began, handle });
    Ok(())
}

/// The layer that writes lines.
fn lines<S>(format: Format, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(writer);
    match format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Text if std::io::stderr().is_terminal() => lines.with_ansi(true).boxed(),
        Format::Text => lines.with_ansi(false).fmt_fields(plain::Plain).boxed(),
    }
}

/// Changes what is logged from now on: to a level, or back to the initial filter. Does nothing unless logging was started by
/// [`start`].
pub fn adjust(level: Option<Level>) -> Result<(), String> {
    let Some(running) = RUNNING.get() else { return Ok(()) };
    let filter = parse(level.map_or(running.began.as_str(), Level::filter))?;
    running
        .handle
        .reload(filter)
        .map_err(|error| format!("the log level could not be changed: {error}"))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("the log filter {filter:?} is not valid: {error}"))
}

/// Whether an event must never be logged, whatever the filter: below errors, the API server's client logs bodies that it cannot
/// parse, and those may be Secrets.
fn may_leak(event: &Metadata<'_>) -> bool {
    let target = event.target();
    let client = ["kube_client", "kube_runtime"].iter().any(|name| target.starts_with(name));
    client && *event.level() > tracing::Level::ERROR
}

/// Sends panics to the log instead of printing them, so that a collector sees them as events.
///
/// The message is kept only if it is fixed text: a formatted one (`byte index 5 is not a char boundary; it is inside ...`) may
/// quote the data at hand, which may be a secret. The source location is always logged.
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
