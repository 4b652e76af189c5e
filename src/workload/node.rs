//! A node, reduced to what matters for pulls.

use super::json;
use crate::image::{EVERY_FEATURE, Platform, Reference, looks_at_features};
use serde_json::Value;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};

/// The most names that a kubelet lists for one image (`MaxNamesPerImageInNodeStatus`).
const MOST_NAMES: usize = 5;

/// The facts about one node; reduced on arrival.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`, sorted by key.
    pub labels: Vec<(String, String)>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// From `status.nodeInfo` (operatingSystem, architecture; on Windows `kernelVersion` as os.version), or else from the labels
    /// `kubernetes.io/os` and `kubernetes.io/arch`. `None` without either.
    pub platform: Option<Platform>,
    /// `status.nodeInfo.containerRuntimeVersion`.
    pub runtime: String,
    /// `status.nodeInfo.kubeletVersion`.
    pub kubelet: String,
    /// `status.images[*].names`, normalised: every image of a review is looked up on every node.
    pub images: Listed,
    /// The number of entries in `status.images`; with 50 or more the list may be truncated.
    pub image_entries: usize,
    /// An entry has as many names as a kubelet lists for one image, so there may be others.
    pub names_cut: bool,
    /// It shares the tag `latest` with other nodes too (the embedded registry of k3s and RKE2).
    pub shares_latest: bool,
    /// `status.allocatable["ephemeral-storage"]` in bytes, if it can be parsed.
    pub ephemeral_storage: Option<u64>,
}

/// The images that a node lists. Thousands of nodes with a hundred long names each would take some hundred megabytes, so each name is kept
/// as a hash with a secret key of this process. Copies of a node share them.
#[derive(Clone, PartialEq, Eq)]
pub struct Listed(Arc<[u64]>);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Listed {
    /// The hash of a name.
    pub fn key(name: &str) -> u64 {
        KEY.hash_one(name)
    }

    /// The hashes of the names, without duplicates.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    fn has(&self, name: &str) -> bool {
        self.0.binary_search(&Self::key(name)).is_ok()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Listed {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut keys: Vec<u64> = names.into_iter().map(|name| Self::key(name.as_ref())).collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into())
    }
}

impl Default for Listed {
    fn default() -> Self {
        Self::from_iter([""; 0])
    }
}

/// Shows only how many there are: the names are not kept.
impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listed({})", self.0.len())
    }
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Node {
    /// Reads a Node object (untyped JSON); invalid fields are ignored.
    pub fn from_json(node: &Value) -> Self {
        let field = |path: &str| json::at(node, path).unwrap_or(&Value::Null);
        let (metadata, spec, status) = (field("metadata"), field("spec"), field("status"));
        let info = field("status.nodeInfo");
        let labels = json::pairs(metadata, "labels");
        let images = json::list(status, "images");
        let names = images
            .iter()
            .flat_map(|image| json::list(image, "names"))
            .filter_map(image_name);
        Self {
            name: json::string(metadata, "name"),
            taints: json::list(spec, "taints").iter().map(Taint::read).collect(),
            unschedulable: spec.get("unschedulable").and_then(Value::as_bool).unwrap_or_default(),
            platform: platform(info, &labels),
            runtime: json::string(info, "containerRuntimeVersion"),
            kubelet: json::string(info, "kubeletVersion"),
            images: names.collect(),
            image_entries: images.len(),
            names_cut: images.iter().any(|image| json::list(image, "names").len() >= MOST_NAMES),
            shares_latest: shares_latest(metadata),
            ephemeral_storage: json::at(status, "allocatable.ephemeral-storage").and_then(written_quantity),
            labels,
        }
    }
    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }
    /// Whether it is a virtual node (virtual-kubelet, Fargate, ACI), about which nothing is known.
    pub fn is_virtual(&self) -> bool {
        const LABELS: [(&str, &str); 4] = [
            ("type", "virtual-kubelet"),
            ("type", "kwok"),
            ("eks.amazonaws.com/compute-type", "fargate"),
            ("liqo.io/type", "virtual-node"),
        ];
        LABELS.iter().any(|(key, value)| self.label(key) == Some(value))
            || self.taints.iter().any(|taint| taint.key == "virtual-kubelet.io/provider")
    }
    /// Whether the image list is complete: it has fewer entries than the kubelet's default cap of 50, and none of them has as many names as
    /// the kubelet lists at most for one image.
    pub fn images_complete(&self) -> bool {
        self.image_entries < 50 && !self.names_cut
    }
    /// Whether the node lists this image (normalised; by digest alone if the reference has one).
    pub fn holds(&self, reference: &Reference) -> bool {
        self.lists(&Self::lists_as(reference))
    }
    /// The name under which a node lists an image; for [`Self::lists`], when asking many nodes.
    pub fn lists_as(reference: &Reference) -> String {
        listed_name(reference)
    }
    /// Whether the node lists an image under this name.
    pub fn lists(&self, name: &str) -> bool {
        self.images.has(name)
    }
}

impl Taint {
    fn read(taint: &Value) -> Self {
        Self {
            key: json::string(taint, "key"),
            value: json::string(taint, "value"),
            effect: json::string(taint, "effect"),
        }
    }
}

/// Whether k3s or RKE2 was started with `K3S_P2P_ENABLE_LATEST`: both record their environment in an annotation of the node.
fn shares_latest(metadata: &Value) -> bool {
    ["K3S", "RKE2"].iter().any(|program| {
        let annotation = format!("{}.io/node-env", program.to_ascii_lowercase());
        let written = metadata.get("annotations").and_then(|all| all.get(annotation)?.as_str());
        let environment = written.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let value = environment
            .as_ref()
            .and_then(|all| all.get(format!("{program}_P2P_ENABLE_LATEST"))?.as_str());
        matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    })
}

fn label<'a>(labels: &'a [(String, String)], key: &str) -> Option<&'a str> {
    labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

/// From `nodeInfo`, which the kubelet writes; from the labels, which anyone may have edited, only if that is empty.
fn platform(info: &Value, labels: &[(String, String)]) -> Option<Platform> {
    let either = |field: &str, keys: [&str; 2]| {
        let written = json::non_empty(info, field);
        written.or_else(|| {
            keys.iter()
                .find_map(|key| label(labels, key).filter(|value| !value.is_empty()))
        })
    };
    let os = either("operatingSystem", ["kubernetes.io/os", "beta.kubernetes.io/os"])?;
    let architecture = either("architecture", ["kubernetes.io/arch", "beta.kubernetes.io/arch"])?;
    let windows = os.eq_ignore_ascii_case("windows");
    // `node.kubernetes.io/windows-build` is only the build; the kernel's version includes the revision.
    let version = json::non_empty(info, "kernelVersion").or_else(|| label(labels, "node.kubernetes.io/windows-build"));
    let mut platform = Platform::of_node(os, architecture, version.filter(|_| windows).unwrap_or_default());
    if !looks_at_features(json::non_empty(info, "containerRuntimeVersion").unwrap_or_default()) {
        platform.os_features.push(EVERY_FEATURE.to_owned());
    }
    Some(platform)
}

/// A name in `status.images[*].names`, in the format of [`listed_name`]; `None` for `<none>@<none>` and the like.
fn image_name(name: &Value) -> Option<String> {
    Some(listed_name(&Reference::parse_plain(name.as_str()?)?))
}

/// The format in which a runtime lists an image: by digest if there is one, otherwise by tag (pull-semantics 7.2).
fn listed_name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{}@{digest}", reference.name()),
        (None, Some(tag)) => format!("{}:{tag}", reference.name()),
        (None, None) => format!("{}:latest", reference.name()),
    }
}

/// A quantity in JSON: text or a number.
fn written_quantity(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| quantity(value.as_str()?))
}

/// A Kubernetes quantity in whole units (`18242267924Ki`, `47233297124`, `1e3`, `500m` rounded down); `None` if it is invalid,
/// negative or too large.
pub(crate) fn quantity(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let (base, exponent): (u128, i32) = match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        exponent => (10, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // A quantity has at most nine decimal places.
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? }
        .checked_mul(1_000_000_000)?
        .checked_add(fraction.parse().ok()?)?;
    let scale = base.checked_pow(exponent.unsigned_abs())?;
    let nanos = if exponent < 0 {
        nanos.checked_div(scale)?
    } else {
        nanos.checked_mul(scale)?
    };
    u64::try_from(nanos / 1_000_000_000).ok()
}

#[cfg(test)]
mod tests;
