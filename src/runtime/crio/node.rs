//! The registry configuration of a CRI-O node: `registries.conf` and the files beside it.

use crate::image::Reference;
use crate::runtime::crio::auth::NodeAuth;
use crate::runtime::crio::policy::{Policy, Says};
use crate::runtime::crio::pull_sources::PullSource;
use crate::runtime::crio::registries_conf::{Line, RegistriesConf};
use crate::runtime::request::HostSettingsId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node's settings, for the pods of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NodeSettings {
    /// `registries.conf` and its drop-ins.
    pub registries: RegistriesConf,
    /// The settings for TLS of the hosts that the files name, by `host[:port]`.
    pub hosts: BTreeMap<String, HostTrust>,
    /// `policy.json`, if it is known.
    pub policy: Option<Arc<Policy>>,
    /// The node's own credentials.
    pub auth: Arc<NodeAuth>,
    /// The names of the files in messages; [`super::registries_conf::Line`] refers to them by position.
    pub files: Vec<Arc<str>>,
}

/// The settings for TLS with which a host is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HostTrust {
    /// Certificates are checked.
    pub secure: HostSettingsId,
    /// Certificates are not checked.
    pub insecure: HostSettingsId,
    /// Why its certificates cannot be used; a clause.
    pub broken: Option<Arc<str>>,
}

impl From<RegistriesConf> for NodeSettings {
    fn from(registries: RegistriesConf) -> Self {
        Self {
            registries,
            ..Self::default()
        }
    }
}

impl NodeSettings {
    /// The settings for TLS at a place, or why it cannot be asked.
    pub(super) fn host_settings(&self, place: &PullSource) -> Result<HostSettingsId, &Arc<str>> {
        let Some(host) = self.hosts.get(place.reference.domain()) else {
            return Ok(place.host_settings());
        };
        match (&host.broken, place.insecure) {
            (Some(why), _) => Err(why),
            (None, true) => Ok(host.insecure),
            (None, false) => Ok(host.secure),
        }
    }

    /// The file and line that decide about an image, otherwise only the file.
    pub fn source(&self, reference: &Reference) -> Option<String> {
        let entry = self.registries.find(&reference.name()).map(|registry| registry.at);
        self.place(entry.unwrap_or_default())
    }

    /// `FILE:LINE`.
    pub fn place(&self, at: Line) -> Option<String> {
        let file = self.files.get(at.file)?;
        Some(if at.line == 0 {
            file.to_string()
        } else {
            format!("{file}:{}", at.line)
        })
    }

    /// What `policy.json` says about an image.
    pub(crate) fn says(&self, reference: &Reference) -> Says {
        self.policy.as_ref().map_or(Says::Accept, |policy| policy.says(reference))
    }
}
