//! Docker's credential helpers, for `pullgate check` only: they are the user's programs, named in the user's own docker config.

use super::flights::{Flights, Landed};
use super::run::{self, Belongs, Bounds};
use crate::credentials::Credential;
use crate::credentials::helper::{Exit, HelperAnswer, HelperCall, Helpers, parse_helper_answer};
use crate::image::escape;
use crate::limits;
use std::sync::Arc;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// A helper may ask the user for a password, so they run one at a time.
const AT_ONCE: usize = 1;

/// A helper's credentials for a registry, or why they are not known, as a clause.
type Reply = Result<Option<Credential>, String>;

/// The helpers and their answers. A run of `check` is short: each is asked once.
#[derive(Debug)]
pub(super) struct Asked {
    helpers: Helpers,
    places: Arc<Semaphore>,
    flights: Flights<HelperCall, Reply>,
}

impl Asked {
    pub(super) fn new(helpers: Helpers) -> Self {
        Self {
            helpers,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            flights: Flights::new(Landed::Kept),
        }
    }

    /// The credentials of a registry's helper; empty if no helper is named.
    pub(super) async fn ask(&self, registry: &str, until: Instant) -> Reply {
        let Some(call) = self.helpers.call(registry) else {
            return Ok(None);
        };
        let flight = self.flights.join(&call, || {
            let (call, places) = (call.clone(), Arc::clone(&self.places));
            async move {
                // The semaphore is never closed.
                let _place = places.acquire().await;
                get(&call).await
            }
        });
        match timeout_at(until, flight).await {
            Ok(Some(reply)) => reply,
            Ok(None) => Err(failed(&call, run::Fault::Broken.clause())),
            Err(_) => Err(failed(&call, run::Fault::TooLong.clause())),
        }
    }
}

async fn get(call: &HelperCall) -> Reply {
    let mut command = Command::new(&call.program);
    command.arg("get");
    let ended = run::run(
        command,
        Belongs::ToUser,
        format!("{}\n", call.server).into_bytes(),
        Bounds::usual(limits::PROGRAM),
    )
    .await
    .map_err(|fault| failed(call, fault.clause()))?;
    match parse_helper_answer(ended.exit, &ended.printed) {
        HelperAnswer::Found(credential) => Ok(Some(credential)),
        HelperAnswer::NotFound => Ok(None),
        HelperAnswer::Failed => Err(failed(
            call,
            match ended.exit {
                Exit::Succeeded => "its output is not a credential",
                Exit::Failed => &ended.status,
            },
        )),
    }
}

fn failed(call: &HelperCall, why: &str) -> String {
    format!(
        "{} could not be asked for {}: {why}",
        escape(&call.program),
        escape(&call.server)
    )
}
