//! What `/readyz` says about the certificate, as of the last round.

use tokio::sync::watch;

/// Cheap to clone; the clones share it.
#[derive(Debug, Clone)]
pub(super) struct Status(watch::Sender<Seen>);

#[derive(Debug)]
struct Seen {
    /// Whether the API server accepts the served certificate.
    accepted: Result<(), String>,
    /// What could not be read or written in the last round.
    failure: Option<String>,
}

impl Status {
    /// Not ready, for this reason.
    pub(super) fn new(why: String) -> Self {
        Self(watch::Sender::new(Seen {
            accepted: Err(why),
            failure: None,
        }))
    }

    pub(super) fn accepted(&self, accepted: Result<(), String>) {
        self.0.send_modify(|seen| seen.accepted = accepted);
    }

    pub(super) fn failure(&self, failure: Option<String>) {
        self.0.send_modify(|seen| seen.failure = failure);
    }

    /// Whether the API server accepts the served certificate; if not, why, and what keeps us from fixing it.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let seen = self.0.borrow();
        match (&seen.accepted, &seen.failure) {
            (Ok(()), _) => Ok(()),
            (Err(why), None) => Err(why.clone()),
            (Err(why), Some(failure)) => Err(format!("{why}; {failure}")),
        }
    }

    /// What keeps us from writing, while nothing needs fixing.
    pub(super) fn note(&self) -> Option<String> {
        let seen = self.0.borrow();
        seen.failure.clone().filter(|_| seen.accepted.is_ok())
    }

    #[cfg(test)]
    pub(super) async fn becomes_ready(&self) {
        self.0.subscribe().wait_for(|seen| seen.accepted.is_ok()).await.unwrap();
    }
}
