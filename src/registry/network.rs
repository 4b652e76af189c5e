//! Stands in for the network: the world of the simulation, or the arbitrary conversations of a fuzz target. Everything else works as over
//! sockets: what is sent, the limits, redirects, the reading of bodies, the memory.

use super::client::Received;
use super::transport::Failed;
use crate::runtime::answer::FaultKind;
use futures_util::future::BoxFuture;
use std::fmt;

/// Answers requests in the place of the network.
pub trait Network: fmt::Debug + Send + Sync {
    /// The answer to a request as it would be sent over the wire, secrets included; or why there is none.
    fn exchange(&self, request: http::Request<Vec<u8>>) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, FaultKind>>;
}

/// Sends a request to `network`.
pub(super) async fn exchange(network: &dyn Network, request: http::Request<String>) -> Result<Received, (Failed, String)> {
    match network.exchange(request.map(String::into_bytes)).await {
        Ok(response) => Ok(Received::simulated(response)),
        Err(kind) => Err((Failed::Fault(kind), "as the simulated network has it".to_owned())),
    }
}
