//! Values that change while the process runs, and the reloading of the settings file.

use super::watch::{ReloadSignal, next_poll};
use super::{Error, FileSet, Settings};
use crate::telemetry::{Metrics, Reload};
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;

/// A value that is read often and rarely replaced as a whole. Cheap to clone; clones share the value.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Live<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The current value. Hold it for a whole review, so that a change does not split the review.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value; readers of the old one keep it.
    pub fn store(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

/// What changed on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The settings.
    Settings,
    /// A file that the settings name; the settings themselves are the same.
    NamedFile,
}

/// Polls the settings file and the files that it names, forever. When the content of one changes and is valid, `apply` is called
/// with the settings. When it is invalid, or `apply` refuses it with a sentence, the last good settings stay in force, and log and
/// metric (`settings_refused`) report that once per change, and again when somebody asks for it.
///
/// `now` are the settings in force at the start.
pub async fn watch_settings(
    file: PathBuf,
    now: Settings,
    metrics: Metrics,
    mut asked: ReloadSignal,
    apply: impl Fn(&Settings, Changed) -> Result<(), String> + Send + Sync,
) {
    let mut files = FileSet::new(vec![file.clone()]);
    let mut held = now;
    let mut named = Named::of(&held).await;
    // Valid settings that could not be applied: a file that they name may still appear.
    let mut pending: Option<(Settings, Named)> = None;
    let put_to_use = |settings: &Settings| match apply(settings, Changed::Settings) {
        Ok(()) => {
            metrics.reload(Reload::SettingsReplaced);
            tracing::info!(file = %file.display(), "settings reloaded");
            true
        }
        Err(why) => {
            refused(&file, &why, &metrics);
            false
        }
    };
    loop {
        if let Some(contents) = files.poll().await {
            let blank = contents.as_ref().is_ok_and(|contents| contents.iter().all(Vec::is_empty));
            let read = contents.and_then(|contents| {
                let bytes = contents.first().map_or(&[][..], Vec::as_slice);
                Settings::from_bytes(&file, bytes).map_err(|error: Error| error.to_string())
            });
            pending = None;
            match read {
                // Only a comment changed, or the file is as it was at the start.
                Ok(settings) if settings == held => {}
                // Whoever wants the defaults writes `{}`; a full disk leaves empty files.
                Ok(_) if blank => refused(&file, "the file is empty; for the defaults, write {}", &metrics),
                Ok(settings) => {
                    // Read before the settings are applied, so that later changes are noticed.
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
                    tracing::info!(file = %changed.display(), "reloaded a file that the settings name");
                }
                Err(why) => refused(&file, &why, &metrics),
            }
        }
        if next_poll(&mut asked).await {
            files.forget();
            named.forget();
        }
    }
}

/// The files that the settings name, each watched separately: an unreadable one must not hide a change of the next.
struct Named(Vec<(PathBuf, FileSet)>);

impl Named {
    /// The current state of the files.
    async fn of(settings: &Settings) -> Self {
        let mut all = Vec::new();
        for file in settings.files() {
            let mut set = FileSet::new(vec![file.clone()]);
            // Errors are reported by the code that uses the file.
            let _ = set.read().await;
            all.push((file, set));
        }
        Self(all)
    }

    fn forget(&mut self) {
        self.0.iter_mut().for_each(|(_, set)| set.forget());
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
    tracing::warn!(file = %file.display(), why, "the changed settings cannot be used; the last good ones stay in force");
}
