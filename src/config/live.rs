//! Values that change while the process runs.

use super::{Error, FileSet, Settings};
use crate::limits;
use crate::telemetry::{Metrics, Reload};
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;

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

/// What changed on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The settings.
    Settings,
    /// A file that they name; the settings are as they were.
    NamedFile,
}

/// Polls the settings file, and the files that the settings name, for ever. When the content of one changes and is sound, `apply` is
/// called with the settings; when it is not, or `apply` refuses with a sentence, whatever held before goes on to hold, and log and
/// metric (`settings_refused`) say so once a change.
///
/// `now` are the settings that hold at the start.
pub async fn keep_fresh(
    file: PathBuf,
    now: Settings,
    metrics: Metrics,
    apply: impl Fn(&Settings, Changed) -> Result<(), String> + Send + Sync,
) {
    let mut files = FileSet::new(vec![file.clone()]);
    let mut held = now;
    let mut named = Named::of(&held).await;
    // Sound settings that could not be put to use: a file that they name may still come.
    let mut pending: Option<(Settings, Named)> = None;
    let put_to_use = |settings: &Settings| match apply(settings, Changed::Settings) {
        Ok(()) => {
            metrics.reload(Reload::SettingsReplaced);
            tracing::info!(file = %file.display(), "settings were read again and hold from now on");
            true
        }
        Err(why) => {
            refused(&file, &why, &metrics);
            false
        }
    };
    loop {
        if let Some(contents) = files.poll().await {
            let read = contents.and_then(|contents| {
                let bytes = contents.first().map_or(&[][..], Vec::as_slice);
                Settings::from_bytes(&file, bytes).map_err(|error: Error| error.to_string())
            });
            pending = None;
            match read {
                // A comment was edited, or the file is what was read at the start.
                Ok(settings) if settings == held => {}
                Ok(settings) => {
                    // Looked at before they are put to use: what changes in between is a change.
                    let files = Named::of(&settings).await;
                    if put_to_use(&settings) {
                        (held, named) = (settings, files);
                    } else {
                        pending = Some((settings, files));
                    }
                }
                Err(why) => refused(&file, &why, &metrics),
            }
        }
        pending = match pending {
            Some((settings, mut files)) => {
                if !files.poll().await.is_empty() && put_to_use(&settings) {
                    (held, named) = (settings, files);
                    None
                } else {
                    Some((settings, files))
                }
            }
            None => None,
        };
        for changed in named.poll().await {
            match changed.and_then(|file| apply(&held, Changed::NamedFile).map(|()| file)) {
                Ok(changed) => {
                    metrics.reload(Reload::SettingsReplaced);
                    tracing::info!(file = %changed.display(), "a file that the settings name was read again");
                }
                Err(why) => refused(&file, &why, &metrics),
            }
        }
        tokio::time::sleep(limits::FILE_POLL).await;
    }
}

/// The files that the settings name, each watched by itself: one that cannot be read must not hide a change of the next.
struct Named(Vec<(PathBuf, FileSet)>);

impl Named {
    /// As they are now.
    async fn of(settings: &Settings) -> Self {
        let mut all = Vec::new();
        for file in settings.files() {
            let mut set = FileSet::new(vec![file.clone()]);
            // Whoever builds from the settings says what is wrong with it.
            let _ = set.read().await;
            all.push((file, set));
        }
        Self(all)
    }

    async fn poll(&mut self) -> Vec<Result<PathBuf, String>> {
        let mut changed = Vec::new();
        for (file, set) in &mut self.0 {
            if let Some(contents) = set.poll().await {
                changed.push(contents.map(|_| file.clone()));
            }
        }
        changed
    }
}

fn refused(file: &std::path::Path, why: &str, metrics: &Metrics) {
    metrics.reload(Reload::SettingsRefused);
    tracing::warn!(file = %file.display(), why, "the changed settings cannot be used; the last good ones hold");
}
