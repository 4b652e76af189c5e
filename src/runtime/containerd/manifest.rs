//! How containerd reads a manifest, an index or a config (pull-semantics 5.2, 5.6).

use super::layer::{Layer, layer};
use crate::image::{Digest, Platform};
use crate::limits;
use crate::runtime::content::{BlobRef, Body, Descriptor, Document, IndexEntry, ReadConfig, Unpack, clipped};
use crate::runtime::outcome::ContentFault;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use std::sync::Arc;

/// The longest manifest that containerd reads: 4·1048·1048 bytes (sic).
pub(crate) const LONGEST: u64 = limits::IMAGE_MANIFEST as u64;
/// `Accept` of a HEAD, in containerd's order. The reference registry wants every type by name.
pub(crate) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";

/// Docker schema 1, signed: what containerd 1.x converts.
pub(super) const SIGNED_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// What containerd takes a content type for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Docker or OCI manifest.
    Manifest,
    /// OCI index or Docker manifest list.
    Index,
    /// Docker schema 1, signed (`text/plain` too).
    Schema1,
    /// Taken for a blob, and not found as one.
    Other,
}

/// The media type of a `Content-Type`, without parameters. Case counts, and so does a space before the semicolon: containerd compares it
/// byte by byte.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().to_owned()
}

/// What containerd takes a media type for.
pub(crate) fn form(media_type: &str) -> Form {
    match media_type {
        IMAGE_MANIFEST_MEDIA_TYPE | OCI_IMAGE_MEDIA_TYPE => Form::Manifest,
        IMAGE_MANIFEST_LIST_MEDIA_TYPE | OCI_IMAGE_INDEX_MEDIA_TYPE => Form::Index,
        SIGNED_SCHEMA1 | "text/plain" => Form::Schema1,
        _ => Form::Other,
    }
}

/// A manifest that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Its entries, attestations among them.
    Index(Vec<IndexEntry>),
    /// An image; its config is still to be read.
    Image {
        /// The config's descriptor.
        config: Config,
        /// Its blobs.
        body: Body,
    },
    /// Not an image to a runtime.
    Artifact {
        /// `artifactType`, the config's media type, or the media type of the layer that no runtime unpacks.
        kind: String,
        /// Which runtimes fail on it.
        unpack: Unpack,
        /// Its blobs.
        body: Body,
    },
}

/// The config of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    /// The size as written; runtimes compare the config with it.
    pub(crate) size: i64,
    /// The host of its first `urls`, where runtimes look before they ask the registry.
    pub(crate) elsewhere: Option<String>,
    /// What the manifest says about it.
    pub(crate) claims: Arc<Claims>,
}

/// What a manifest claims about its config.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Claims {
    /// The layers that runtimes unpack, in order.
    pub(crate) layers: Vec<Unpacked>,
    /// The platforms that config and layers declare, if they do: a runtime on another platform skips such a part.
    pub(crate) platforms: Vec<Platform>,
}

/// How a layer is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Unpacked {
    /// According to its first bytes.
    AsFound,
    /// As plain tar, because its media type names no compression that containerd knows: its own digest must be the `diff_id`.
    AsItIs { digest: Digest, media_type: String },
}

/// Reads a manifest that was served as `media_type` (one of those that [`form`] calls a manifest or an index).
pub(crate) fn read(media_type: &str, document: &Document) -> Result<Parsed, ContentFault> {
    let is_index = form(media_type) == Form::Index;
    let says = form(&document.media_type);
    // containerd's `validateMediaType`.
    if document.has_fs_layers {
        return Err(ContentFault::BodyMismatch("schema 1 not supported".to_owned()));
    }
    if is_index && (document.has_config || document.has_layers || says == Form::Manifest) {
        let why = format!("expected index but found manifest ({media_type})");
        return Err(ContentFault::BodyMismatch(why));
    }
    if !is_index && (document.has_manifests || says == Form::Index) {
        let why = format!("expected manifest but found index ({media_type})");
        return Err(ContentFault::BodyMismatch(why));
    }
    if is_index { index(document) } else { manifest(document) }
}

fn index(document: &Document) -> Result<Parsed, ContentFault> {
    // containerd 1.x does not know `artifactType` and `subject`.
    let odd = [
        ("artifactType", document.odd_artifact_type),
        ("subject", document.odd_subject),
    ];
    let mut entries = Vec::with_capacity(document.manifests.len());
    for entry in &document.manifests {
        decodable(entry)?;
        entries.push(IndexEntry::of(entry));
    }
    let is_image = |entry: &IndexEntry| entry.platform.as_ref().is_none_or(|platform| !platform.is_unknown());
    if !entries.iter().any(is_image) {
        return Err(ContentFault::NoImage);
    }
    newer(&odd)?;
    Ok(Parsed::Index(entries))
}

/// Members that only newer runtimes know, and whether they are of the wrong type.
fn newer(members: &[(&str, bool)]) -> Result<(), ContentFault> {
    match members.iter().find(|(_, odd)| *odd) {
        Some((name, _)) => Err(ContentFault::UnreadableSinceContainerd2(format!(
            "its {name} has the wrong type"
        ))),
        None => Ok(()),
    }
}

fn manifest(document: &Document) -> Result<Parsed, ContentFault> {
    if document.odd_subject {
        return Err(ContentFault::WrongKind("descriptor"));
    }
    let Some(config) = &document.config else {
        return Err(ContentFault::SizeOf {
            part: "config",
            digest: String::new(),
            says: 0,
        });
    };
    decodable(config)?;
    let odd = [("artifactType", document.odd_artifact_type)];
    // containerd fetches and unpacks image layers only if the config is that of an image.
    let of_image = matches!(
        config.media_type.as_str(),
        IMAGE_CONFIG_MEDIA_TYPE | IMAGE_DOCKER_CONFIG_MEDIA_TYPE
    );
    let mut claims = Claims::default();
    let mut foreign: Option<String> = None;
    let mut blobs = Vec::new();
    for layer_of in &document.layers {
        decodable(layer_of)?;
        let fetched = BlobRef::of("layer", layer_of);
        let media_type = &layer_of.media_type;
        let kind = layer(media_type);
        match kind {
            Layer::Foreign => foreign = foreign.or(Some(media_type.clone())),
            Layer::NeedsPlugin if of_image => return Err(ContentFault::NeedsPlugin(clipped(media_type))),
            Layer::Packed | Layer::AsItIs | Layer::NeedsPlugin => {
                let plain = Digest::parse(&fetched.digest).filter(|_| kind == Layer::AsItIs);
                claims.layers.push(plain.map_or(Unpacked::AsFound, |digest| Unpacked::AsItIs {
                    digest,
                    media_type: clipped(media_type),
                }));
                claims.platforms.extend(layer_of.platform.clone());
                if !of_image {
                    continue;
                }
            }
        }
        blobs.push(fetched);
    }
    let unpacked = claims.layers.len();
    let config_blob = BlobRef::of("config", config);
    let size = BlobRef::bytes(blobs.iter().chain([&config_blob]));
    let elsewhere = config_blob.elsewhere.clone();
    let named = config_blob.digest.clone();
    let config_type = &config.media_type;
    newer(&odd)?;
    if !of_image {
        let says = document.artifact_type.as_deref();
        let kind = says.filter(|kind| !kind.is_empty()).unwrap_or(config_type);
        blobs.push(config_blob);
        return Ok(Parsed::Artifact {
            kind: clipped(kind),
            // Such a config has no diff_ids to match the layers.
            unpack: match (unpacked, foreign) {
                (0, None) => Unpack::Nothing,
                (0, Some(_)) => Unpack::Foreign,
                (1.., _) => Unpack::Partly,
            },
            body: Body {
                size,
                config: named,
                blobs,
            },
        });
    }
    // Other blobs beside image layers are ignored by all.
    if let Some(media_type) = foreign.filter(|_| unpacked == 0) {
        // An image config without image layers: the client-side pull misses layers, the transfer service ignores it.
        blobs.push(config_blob);
        return Ok(Parsed::Artifact {
            kind: clipped(&media_type),
            unpack: Unpack::Partly,
            body: Body {
                size,
                config: named,
                blobs,
            },
        });
    }
    let Some(digest) = Digest::parse(&config.digest) else {
        return Err(ContentFault::Structure(format!(
            "the config's digest is malformed: {}",
            clipped(&config.digest)
        )));
    };
    claims.platforms.extend(config.platform.clone());
    Ok(Parsed::Image {
        config: Config {
            digest,
            media_type: clipped(config_type),
            size: config.size.unwrap_or_default(),
            elsewhere,
            claims: Arc::new(claims),
        },
        body: Body {
            size,
            config: named,
            blobs,
        },
    })
}

/// Whether the embedded data of a descriptor decodes: containerd decodes it, whatever the descriptor is.
fn decodable(descriptor: &Descriptor) -> Result<(), ContentFault> {
    if descriptor.data_decodes {
        Ok(())
    } else {
        Err(ContentFault::Structure("the data of a descriptor is not base64".to_owned()))
    }
}

impl Claims {
    /// Compares a config with what the manifest claims.
    pub(crate) fn hold(&self, config: &ReadConfig) -> Result<(), ContentFault> {
        if let Some(odd) = config
            .diff_ids
            .iter()
            .find(|id| !id.is_empty() && Digest::parse(id).is_none())
        {
            return Err(ContentFault::DiffId(clipped(odd)));
        }
        if config.diff_ids.len() != self.layers.len() {
            return Err(ContentFault::LayerCount {
                layers: self.layers.len(),
                diff_ids: config.diff_ids.len(),
            });
        }
        let packed = config
            .diff_ids
            .iter()
            .zip(&self.layers)
            .find_map(|(diff_id, layer)| match layer {
                // Unpacked layers are always identified by sha256: another algorithm's digest of the same bytes proves nothing.
                Unpacked::AsItIs { digest, media_type } if digest.as_str().starts_with("sha256:") && digest.as_str() != diff_id => {
                    Some(media_type)
                }
                Unpacked::AsItIs { .. } | Unpacked::AsFound => None,
            });
        if let Some(media_type) = packed {
            return Err(ContentFault::CompressedUnderPlainType(media_type.clone()));
        }
        if let Some(odd) = config.diff_ids.iter().find(|id| !id.starts_with("sha256:")) {
            return Err(ContentFault::DiffId(clipped(odd)));
        }
        let own = config.platform.normalized();
        match self.platforms.iter().find(|said| said.normalized() != own) {
            Some(other) => Err(ContentFault::PartForOtherPlatform(other.normalized().to_string())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
