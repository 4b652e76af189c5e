//! CRI-O's settings for registries, as they are on the nodes: `registries.conf` with its drop-ins, alone or in a folder laid out as the nodes
//! have it.
//!
//! They are read again when somebody asks and a second has passed. What was read decides about identity: as long as the bytes are the same,
//! so is the configuration. Files that CRI-O would refuse change nothing, as in a CRI-O that runs: the last good ones serve.

mod folder;

use super::SetupError;
use crate::runtime::NodeConfig;
use folder::Folder;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long what was read is believed.
const RECHECK: Duration = Duration::from_secs(1);

/// The files of some nodes.
pub(super) struct Crio {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What was read.
#[derive(Clone)]
struct Known {
    at: Instant,
    id: [u8; 32],
    config: NodeConfig,
}

impl Crio {
    /// Reads them once. The error names file and line.
    pub(super) fn new(path: PathBuf) -> Result<Self, SetupError> {
        let folder = Folder::read(&path);
        match folder.parse() {
            Ok(conf) => Ok(Self::with(path, folder.id, NodeConfig::Crio(Arc::new(conf)))),
            Err(problems) => Err(SetupError(problems.join("\n"))),
        }
    }

    /// The same for the nodes of a pool: what is broken is told to the log, and nothing is concluded.
    pub(super) fn of_pool(name: &str, path: PathBuf) -> Self {
        let folder = Folder::read(&path);
        let config = match folder.parse() {
            Ok(conf) => NodeConfig::Crio(Arc::new(conf)),
            Err(problems) => {
                for why in &problems {
                    tracing::warn!(
                        pool = name,
                        why,
                        "a pool's settings cannot be used; whether its nodes pull is not known"
                    );
                }
                NodeConfig::Unreadable(Arc::from(problems.join("; ")))
            }
        };
        Self::with(path, folder.id, config)
    }

    fn with(path: PathBuf, id: [u8; 32], config: NodeConfig) -> Self {
        let at = Instant::now();
        Self {
            path,
            known: Mutex::new(Known { at, id, config }),
        }
    }

    /// What the files say at this moment.
    pub(super) async fn config(&self) -> NodeConfig {
        let mut known = self.known.lock().await;
        if known.at.elapsed() < RECHECK {
            return known.config.clone();
        }
        let (path, old) = (self.path.clone(), known.clone());
        let read = tokio::task::spawn_blocking(move || {
            let folder = Folder::read(&path);
            if folder.id == old.id {
                return old;
            }
            let config = match folder.parse() {
                Ok(conf) => {
                    tracing::info!(path = %path.display(), "the settings of CRI-O nodes have changed, and count from now on");
                    NodeConfig::Crio(Arc::new(conf))
                }
                Err(problems) => {
                    for why in &problems {
                        tracing::warn!(
                            why,
                            "the changed settings of CRI-O nodes cannot be used; the last good ones stay in force"
                        );
                    }
                    match old.config {
                        NodeConfig::Unreadable(_) => NodeConfig::Unreadable(Arc::from(problems.join("; "))),
                        good => good,
                    }
                }
            };
            Known {
                id: folder.id,
                config,
                ..old
            }
        });
        if let Ok(read) = read.await {
            *known = read;
        }
        known.at = Instant::now();
        known.config.clone()
    }
}
