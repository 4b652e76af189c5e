//! The kubelet's credential providers: their configuration, and the protocol with a plugin. Pure; [`crate::providers`] runs the
//! plugins.
//!
//! Sources: Kubernetes `pkg/credentialprovider/plugin`, `kubelet.config.k8s.io` and `credentialprovider.kubelet.k8s.io`
//! (pull-semantics 4.5).

mod config;
mod response;

pub(crate) use config::is_program;
pub use config::{Identity, Provider, parse_provider_config};
pub use response::{CacheKey, CacheScope, Response, ResponseFault, parse_response};

use super::keyring::image_matches;
use serde::Serialize;

/// The version of the API between kubelet and plugin. A plugin is called with the version in the configuration, and must answer in
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// `credentialprovider.kubelet.k8s.io/v1alpha1`.
    V1Alpha1,
    /// `credentialprovider.kubelet.k8s.io/v1beta1`.
    V1Beta1,
    /// `credentialprovider.kubelet.k8s.io/v1`.
    V1,
}

impl ApiVersion {
    /// All of them, newest first.
    pub const ALL: [Self; 3] = [Self::V1, Self::V1Beta1, Self::V1Alpha1];

    /// As written in `apiVersion`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "credentialprovider.kubelet.k8s.io/v1alpha1",
            Self::V1Beta1 => "credentialprovider.kubelet.k8s.io/v1beta1",
            Self::V1 => "credentialprovider.kubelet.k8s.io/v1",
        }
    }
}

impl Provider {
    /// Whether the plugin is asked for a repository (normalised name, `docker.io/library/nginx`): by the kubelet's matching,
    /// without the `*` for everything that `nodeCredentials` has.
    pub fn serves(&self, name: &str) -> bool {
        self.match_images.iter().any(|pattern| image_matches(pattern, name))
    }

    /// The plugin's standard input: a `CredentialProviderRequest`, one line of JSON.
    pub fn request(&self, name: &str) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Request<'a> {
            kind: &'static str,
            api_version: &'static str,
            image: &'a str,
        }
        let request = Request {
            kind: "CredentialProviderRequest",
            api_version: self.api_version.name(),
            image: name,
        };
        // Three texts can always be serialised; any plugin would refuse an empty request.
        let mut line = serde_json::to_vec(&request).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests;
