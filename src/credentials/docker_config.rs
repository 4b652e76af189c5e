//! `.dockerconfigjson` and `.dockercfg`, parsed as the kubelet parses them (pull-semantics 4.3).

use super::Credential;

/// The kubelet's parser refused the document: its text, which is what a pod's status then shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The kubelet's text (`illegal base64 data at input byte 4`).
    pub text: String,
    /// The key under `auths` that is at fault, where it is one entry.
    pub entry: Option<String>,
}

/// Parses `{"auths": {...}}`; entries in document order.
pub fn parse_docker_config(_json: &[u8]) -> Result<Vec<(String, Credential)>, ParseError> {
    todo!()
}

/// Parses the legacy form, the map itself.
pub fn parse_dockercfg(_json: &[u8]) -> Result<Vec<(String, Credential)>, ParseError> {
    todo!()
}
