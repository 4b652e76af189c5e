//! Stands in for the network: the world of the simulation, or the arbitrary conversations of a fuzz target. Everything else works as over
//! sockets: what is sent, the limits, redirects, the reading of bodies, the memory.

use super::transport::Failed;
use crate::runtime::answer::FaultKind;
use futures_util::future::BoxFuture;
use std::fmt;

/// Answers requests in the place of the network.
pub trait Network: fmt::Debug + Send + Sync {
    /// The answer to a request as it would have gone over the wire, secrets included; or why there is none.
    fn exchange(&self, request: http::Request<Vec<u8>>) -> BoxFuture<'_, Result<http::Response<Vec<u8>>, FaultKind>>;
}

/// Sends a request to `network`.
pub(super) async fn exchange(
    network: &dyn Network,
    request: reqwest::RequestBuilder,
) -> Result<reqwest::Response, (Failed, String)> {
    let built = request
        .build()
        .map_err(|_| (Failed::Fault(FaultKind::Internal), String::new()))?;
    let body = built.body().and_then(reqwest::Body::as_bytes).unwrap_or_default().to_vec();
    let mut sent = http::Request::new(body);
    *sent.method_mut() = built.method().clone();
    *sent.uri_mut() = built
        .url()
        .as_str()
        .parse()
        .map_err(|_| (Failed::Fault(FaultKind::Internal), String::new()))?;
    *sent.headers_mut() = built.headers().clone();
    match network.exchange(sent).await {
        Ok(response) => Ok(response.into()),
        Err(kind) => Err((Failed::Fault(kind), "as the simulated network has it".to_owned())),
    }
}
