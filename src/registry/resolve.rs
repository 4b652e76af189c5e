//! Name resolution that hands out admitted addresses only, so that a connection goes to what was vetted.

use super::Reach;
use super::transport::ResolveError;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The system's resolver behind static host entries, and the guard behind both.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    reach: Arc<Reach>,
    entries: Arc<HashMap<String, Vec<SocketAddr>>>,
}

impl Guarded {
    pub(super) fn new(reach: Arc<Reach>, entries: &[(String, SocketAddr)]) -> Self {
        let mut map: HashMap<String, Vec<SocketAddr>> = HashMap::new();
        for (name, address) in entries {
            map.entry(name.to_ascii_lowercase()).or_default().push(*address);
        }
        Self {
            reach,
            entries: Arc::new(map),
        }
    }

    /// Every address of `name`, admitted or not.
    pub(super) async fn all(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        match self.entries.get(&name.to_ascii_lowercase()) {
            Some(addresses) => Ok(addresses.clone()),
            None => Ok(tokio::net::lookup_host((name, 0))
                .await
                .map_err(|error| ResolveError::NoSuchHost(Some(error)))?
                .collect()),
        }
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = self.all(name).await?;
        let admitted = self
            .reach
            .choose(found, |address: &SocketAddr| address.ip())
            .map_err(ResolveError::Refused)?;
        if admitted.is_empty() {
            return Err(ResolveError::NoSuchHost(None));
        }
        Ok(admitted)
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.look_up(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
