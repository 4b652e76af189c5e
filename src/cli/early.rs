//! Asks registries for images while files are still being read. Their answers are cached for the judgement of the whole input; nothing
//! is decided here.

use crate::engine::Gate;
use crate::limits;
use crate::policy::Requester;
use crate::workload::Workload;
use futures_util::{StreamExt as _, stream};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How many objects may wait for their early requests. Further ones are only asked for when the whole input is judged.
const WAITING: usize = 256;
/// How many names of images are remembered, so that none is asked for twice.
const REMEMBERED: usize = 20_000;

/// Asks until it is dropped; requests under way then go on.
#[derive(Debug)]
pub(super) struct Early {
    send: mpsc::Sender<Workload>,
    seen: Mutex<HashSet<String>>,
    asking: JoinHandle<()>,
}

impl Early {
    /// Begins to ask; `until` is the end of the run.
    pub(super) fn begin(gate: Gate, until: Instant) -> Self {
        let (send, receive) = mpsc::channel(WAITING);
        let asking = tokio::spawn(async move {
            let told = stream::unfold(receive, |mut receive: mpsc::Receiver<Workload>| async move {
                receive.recv().await.map(|workload| (workload, receive))
            });
            let gate = &gate;
            told.for_each_concurrent(limits::JUDGED_AT_ONCE, |workload| async move {
                gate.judge(&workload, &Requester::default(), until).await;
            })
            .await;
        });
        Self {
            send,
            seen: Mutex::default(),
            asking,
        }
    }

    /// Takes an object, unless files still to be read may change how its images are asked for: it names a pull secret, or has a controller.
    pub(super) fn ask(&self, mut workload: Workload) {
        let with_secret = workload
            .templates
            .iter()
            .any(|template| !template.needs.pull_secrets.is_empty());
        if with_secret || workload.controller.is_some() {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for template in &mut workload.templates {
            template
                .uses
                .retain(|image| seen.len() < REMEMBERED && seen.insert(image.pulled_as().to_owned()));
        }
        drop(seen);
        if workload.templates.iter().any(|template| !template.uses.is_empty()) {
            // Full: the registries are slower than the disk.
            let _ = self.send.try_send(workload);
        }
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.asking.abort();
    }
}
