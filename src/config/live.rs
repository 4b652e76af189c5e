//! Values that change while the process runs.

use super::{Error, FileSet, Settings};
use crate::telemetry::Metrics;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the settings file is looked at.
const POLL: Duration = Duration::from_secs(2);

/// A value that is read often and replaced whole, seldom. Cheap to clone; the clones share the value.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Live<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value of this moment. Hold it for one review, so that a change does not split it.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value; who holds the old one keeps it.
    pub fn store(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// Polls the settings file for ever. When its content changes and is sound, `apply` is called with the new settings; when it is not, or
/// `apply` refuses with a sentence, whatever held before goes on to hold, and log and metric (`settings_refused`) say so once a change.
///
/// `now` are the settings that hold at the start.
pub async fn keep_fresh(
    file: PathBuf,
    now: Settings,
    metrics: Metrics,
    apply: impl Fn(&Settings) -> Result<(), String> + Send + Sync,
) {
    let mut files = FileSet::new(vec![file.clone()]);
    let mut held = now;
    loop {
        if let Some(contents) = files.poll().await {
            let read = contents.and_then(|contents| {
                let bytes = contents.first().map_or(&[][..], Vec::as_slice);
                Settings::from_bytes(&file, bytes).map_err(|error: Error| error.to_string())
            });
            match read {
                // A comment was edited, or the file is what was read at the start.
                Ok(settings) if settings == held => {}
                Ok(settings) => match apply(&settings) {
                    Ok(()) => {
                        held = settings;
                        metrics.reload("settings_replaced");
                        tracing::info!(file = %file.display(), "settings were read again and hold from now on");
                    }
                    Err(why) => refused(&file, &why, &metrics),
                },
                Err(why) => refused(&file, &why, &metrics),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn refused(file: &std::path::Path, why: &str, metrics: &Metrics) {
    metrics.reload("settings_refused");
    tracing::warn!(file = %file.display(), why, "the changed settings cannot be used; the last good ones hold");
}
