//! Manifests, indexes and configs: what their bytes say, read exactly as tolerantly as Go reads them (pull-semantics 5.2, 5.6). Each
//! runtime's own module decides what that means.

mod config;
mod document;
mod schema1;

pub use config::ReadConfig;
pub use config::config;
pub(crate) use document::clipped;
pub use document::document;
pub use document::{Descriptor, Document, Members};

use crate::image::Platform;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use std::collections::HashSet;

/// The media type of a Docker schema 1 manifest without signatures.
pub(crate) const UNSIGNED_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// The blobs of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The size of config and layers in bytes, each blob once, as they are sent (compressed); `None` if the manifest does not say.
    pub size: Option<u64>,
    /// The digest of the config, as written. Runtimes name the image by it.
    pub config: String,
    /// The blobs that pullgate does not read: layers, and the config of an artifact.
    pub blobs: Vec<BlobRef>,
}

/// A blob that a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRef {
    /// `layer` or `config`.
    pub part: &'static str,
    /// Its digest, as written.
    pub digest: String,
    /// Its media type, as written; at most 140 characters.
    pub media_type: String,
    /// Its size in bytes, as written.
    pub size: i64,
    /// The host of its first `urls`, where runtimes look before they ask the registry.
    pub elsewhere: Option<String>,
}

impl BlobRef {
    /// The blob of a descriptor.
    pub(crate) fn of(part: &'static str, descriptor: &Descriptor) -> Self {
        Self {
            part,
            digest: clipped(&descriptor.digest),
            media_type: clipped(&descriptor.media_type),
            size: descriptor.size.unwrap_or_default(),
            elsewhere: descriptor.elsewhere.clone(),
        }
    }

    /// The total size in bytes, each digest once; `None` if one blob has no sensible size.
    pub(crate) fn bytes<'a>(blobs: impl Iterator<Item = &'a Self>) -> Option<u64> {
        let mut seen = HashSet::new();
        let mut sum = 0_u64;
        for blob in blobs {
            let size = u64::try_from(blob.size).ok()?;
            if seen.insert(blob.digest.as_str()) {
                sum = sum.saturating_add(size);
            }
        }
        Some(sum)
    }
}

/// What a manifest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An index or manifest list.
    Index(Vec<IndexEntry>),
    /// One manifest of an image, with its config's platform (`None` where the config was not read).
    Image {
        /// From the config.
        platform: Option<Platform>,
        /// Its config and layers.
        body: Body,
    },
    /// A manifest whose config is not an image config (chart, WASM, ORAS artifact …).
    Artifact {
        /// `artifactType`, else the config's media type.
        kind: String,
        /// Which runtimes fail on it.
        unpack: Unpack,
        /// Its config and layers.
        body: Body,
    },
    /// Docker schema 1.
    Schema1,
}

/// What runtimes do with the layers of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpack {
    /// There are none: it pulls everywhere.
    Nothing,
    /// None of its layers is an image layer. containerd up to 1.6 compares them with the config anyway, and fails.
    Foreign,
    /// Some of its layers are image layers, without a config that matches: every client-side pull fails.
    Partly,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The child's digest, as written.
    pub digest: String,
    /// The child's media type, as written.
    pub media_type: String,
    /// `None`: the runtimes keep such an entry and look into its config.
    pub platform: Option<Platform>,
    /// The child's size in bytes, as written (0 where absent).
    pub size: u64,
}

impl Content {
    /// Its size in memory in bytes, roughly.
    pub fn weight(&self) -> usize {
        let own = match self {
            Self::Index(entries) => entries.iter().map(IndexEntry::weight).sum(),
            Self::Image { body, .. } => body.weight(),
            Self::Artifact { kind, body, .. } => kind.len() + body.weight(),
            Self::Schema1 => 0,
        };
        size_of::<Self>() + own
    }
}

impl Body {
    fn weight(&self) -> usize {
        let of_one = |blob: &BlobRef| {
            let elsewhere = blob.elsewhere.as_ref().map_or(0, String::len);
            size_of::<BlobRef>() + blob.digest.len() + blob.media_type.len() + elsewhere
        };
        self.config.len() + self.blobs.iter().map(of_one).sum::<usize>()
    }
}

impl IndexEntry {
    fn weight(&self) -> usize {
        let platform = self.platform.as_ref().map_or(0, Platform::weight);
        size_of::<Self>() + self.digest.len() + self.media_type.len() + platform
    }

    /// The index entry of a descriptor.
    pub(crate) fn of(descriptor: &Descriptor) -> Self {
        Self {
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
            platform: descriptor.platform.clone(),
            size: descriptor.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        }
    }

    /// Whether runtimes take it for a manifest or an index. They do not look into anything else.
    pub fn is_manifest(&self) -> bool {
        self.is_image()
            || matches!(
                self.media_type.as_str(),
                IMAGE_MANIFEST_LIST_MEDIA_TYPE | OCI_IMAGE_INDEX_MEDIA_TYPE
            )
    }

    /// Whether runtimes take it for the manifest of one image.
    pub fn is_image(&self) -> bool {
        matches!(self.media_type.as_str(), IMAGE_MANIFEST_MEDIA_TYPE | OCI_IMAGE_MEDIA_TYPE)
    }
}
