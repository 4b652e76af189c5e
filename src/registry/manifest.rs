//! Manifest and config bytes, read as tolerantly as containerd reads them and no more (pull-semantics 5.2, 5.6). Pure.

use crate::image::{Digest, Platform};
use crate::verdict::evidence::{ContentFault, IndexEntry};
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest manifest that containerd reads: 4·1048·1048 bytes (sic).
pub(super) const LONGEST: u64 = 4_393_216;
/// More entries than any index has; an entry is hundreds of bytes in memory.
const MOST_ENTRIES: usize = 20_000;

/// `Accept` of a HEAD, in containerd's order. The reference registry wants every type by name.
pub(super) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, */*";

/// What a content type is to containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Docker or OCI manifest.
    Manifest,
    /// OCI index or Docker manifest list.
    Index,
    /// Docker schema 1 (`text/plain` too).
    Schema1,
    /// Taken for a blob, and not found as one.
    Other,
}

/// The media type of a `Content-Type`, without parameters. Its case counts: containerd compares it letter by letter.
pub(super) fn media_type(content_type: Option<&str>) -> String {
    let text = content_type.unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// What a media type stands for.
pub(super) fn form(media_type: &str) -> Form {
    match media_type {
        IMAGE_MANIFEST_MEDIA_TYPE | OCI_IMAGE_MEDIA_TYPE => Form::Manifest,
        IMAGE_MANIFEST_LIST_MEDIA_TYPE | OCI_IMAGE_INDEX_MEDIA_TYPE => Form::Index,
        "application/vnd.docker.distribution.manifest.v1+prettyjws"
        | "application/vnd.docker.distribution.manifest.v1+json"
        | "text/plain" => Form::Schema1,
        _ => Form::Other,
    }
}

/// A manifest that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Its entries, attestations among them.
    Index(Vec<IndexEntry>),
    /// An image; its config is still to be read.
    Image {
        /// The config's descriptor.
        config: Config,
        /// How many layers the runtimes would unpack.
        layers: usize,
    },
    /// Not an image to a runtime.
    Artifact {
        /// `artifactType`, the config's media type, or the media type of the layer that no runtime unpacks.
        kind: String,
        /// See [`crate::verdict::evidence::Content::Artifact`].
        unpack_fails: bool,
    },
}

/// The config of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) digest: Digest,
    pub(super) media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default, borrow)]
    config: Option<&'a RawValue>,
    #[serde(default, borrow)]
    layers: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow)]
    manifests: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow)]
    fs_layers: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    platform: Option<WrittenPlatform>,
}

#[derive(Deserialize, Default)]
struct WrittenPlatform {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default, rename = "os.version")]
    os_version: Option<String>,
    #[serde(default, rename = "os.features")]
    os_features: Option<Vec<String>>,
}

impl From<WrittenPlatform> for Platform {
    fn from(written: WrittenPlatform) -> Self {
        Self {
            os: written.os.unwrap_or_default(),
            architecture: written.architecture.unwrap_or_default(),
            variant: written.variant.unwrap_or_default(),
            os_version: written.os_version.unwrap_or_default(),
            os_features: written.os_features.unwrap_or_default(),
        }
    }
}

/// Reads a manifest that was served as `media_type` (one of the four that [`form`] calls a manifest or an index).
pub(super) fn read(media_type: &str, body: &[u8]) -> Result<Parsed, ContentFault> {
    let text = String::from_utf8_lossy(body);
    let document: Document<'_> = object(&text).map_err(|error| fault(&error, "manifest"))?;
    let is_index = form(media_type) == Form::Index;
    let says = document.media_type.as_deref().map_or(Form::Other, form);
    // containerd's validateMediaType.
    let mismatch = document.fs_layers.as_ref().is_some_and(|layers| !layers.is_empty())
        || if is_index {
            document.config.is_some() || document.layers.is_some() || says == Form::Manifest
        } else {
            document.manifests.is_some() || says == Form::Index
        };
    if mismatch {
        return Err(ContentFault::BodyMismatch);
    }
    if is_index { index(&document) } else { manifest(&document) }
}

fn index(document: &Document<'_>) -> Result<Parsed, ContentFault> {
    let written = document.manifests.as_deref().unwrap_or_default();
    if written.len() > MOST_ENTRIES {
        return Err(ContentFault::Structure(format!("the index has {} entries", written.len())));
    }
    let mut entries = Vec::with_capacity(written.len());
    for raw in written {
        let entry = descriptor(raw)?;
        entries.push(IndexEntry {
            digest: entry.digest.unwrap_or_default(),
            media_type: entry.media_type.unwrap_or_default(),
            platform: entry.platform.map(Platform::from),
            size: entry.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        });
    }
    let is_image = |entry: &IndexEntry| entry.platform.as_ref().is_none_or(|platform| !platform.is_unknown());
    if !entries.iter().any(is_image) {
        return Err(ContentFault::Structure("the index lists no image".to_owned()));
    }
    Ok(Parsed::Index(entries))
}

fn manifest(document: &Document<'_>) -> Result<Parsed, ContentFault> {
    let config = match document.config {
        Some(raw) => descriptor(raw)?,
        None => return Err(ContentFault::Structure("the manifest names no config".to_owned())),
    };
    let mut unpacked = 0_usize;
    let mut foreign: Option<String> = None;
    for raw in document.layers.as_deref().unwrap_or_default() {
        let media_type = descriptor(raw)?.media_type.unwrap_or_default();
        match layer(&media_type) {
            Layer::Known => unpacked += 1,
            Layer::UnknownCompression => {
                return Err(ContentFault::Structure(format!(
                    "no runtime unpacks a layer of type {}",
                    clipped(&media_type)
                )));
            }
            Layer::Foreign => foreign = foreign.or(Some(media_type)),
        }
    }
    let config_type = config.media_type.unwrap_or_default();
    if !matches!(config_type.as_str(), IMAGE_CONFIG_MEDIA_TYPE | IMAGE_DOCKER_CONFIG_MEDIA_TYPE) {
        let kind = document
            .artifact_type
            .as_deref()
            .filter(|kind| !kind.is_empty())
            .unwrap_or(&config_type);
        return Ok(Parsed::Artifact {
            kind: clipped(kind),
            // Such a config has no diff_ids to go with the layers.
            unpack_fails: unpacked > 0,
        });
    }
    if let Some(media_type) = foreign {
        // An image config over something else: the client-side pull misses layers, the transfer service passes over it.
        return Ok(Parsed::Artifact {
            kind: clipped(&media_type),
            unpack_fails: true,
        });
    }
    let digest = config.digest.unwrap_or_default();
    let Some(digest) = Digest::parse(&digest) else {
        return Err(ContentFault::Structure(format!(
            "the config's digest is malformed: {}",
            clipped(&digest)
        )));
    };
    Ok(Parsed::Image {
        config: Config {
            digest,
            media_type: clipped(&config_type),
        },
        layers: unpacked,
    })
}

/// Reads a JSON object; serde alone would take an array for a struct as well.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    if text.trim_start().starts_with('[') {
        serde_json::from_str::<serde::de::IgnoredAny>(text)?;
        return Err(serde::de::Error::custom("not an object"));
    }
    serde_json::from_str(text)
}

/// JSON `null` is an empty descriptor, as in Go.
fn descriptor(raw: &RawValue) -> Result<Descriptor, ContentFault> {
    serde_json::from_str::<Option<Descriptor>>(raw.get())
        .map(Option::unwrap_or_default)
        .map_err(|error| fault(&error, "descriptor"))
}

fn fault(error: &serde_json::Error, what: &str) -> ContentFault {
    match error.classify() {
        serde_json::error::Category::Data => ContentFault::Structure(format!("the {what} has a member of the wrong kind")),
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            ContentFault::NotJson
        }
    }
}

/// What a layer's media type is to containerd (`images.IsLayerType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// An image layer, foreign ones included.
    Known,
    /// An image layer by its name, packed in a way that no runtime knows.
    UnknownCompression,
    /// Not a layer of an image.
    Foreign,
}

fn layer(media_type: &str) -> Layer {
    let (base, packing) = match media_type.split_once('+') {
        Some((base, packing)) => (base, Some(packing)),
        None => (media_type, None),
    };
    let known = match base.strip_prefix("application/vnd.oci.image.layer.") {
        Some("v1.tar" | "nondistributable.v1.tar") => true,
        // Of the family by name; what it holds is not known.
        Some(_) => return Layer::Known,
        None => false,
    };
    let docker = matches!(
        base,
        "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    );
    match packing {
        _ if docker => Layer::Known,
        None | Some("gzip" | "zstd" | "encrypted" | "gzip+encrypted" | "zstd+encrypted") if known => Layer::Known,
        Some(_) if known => Layer::UnknownCompression,
        Some(_) | None => Layer::Foreign,
    }
}

/// Names from a registry that end up in messages.
fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// What an image's config says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadConfig {
    /// `None` where it names no architecture.
    pub(super) platform: Option<Platform>,
    /// `rootfs.diff_ids`.
    pub(super) diff_ids: usize,
}

#[derive(Deserialize)]
struct WrittenConfig<'a> {
    #[serde(default, borrow)]
    rootfs: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct RootFs<'a> {
    #[serde(default, borrow)]
    diff_ids: Option<Vec<&'a RawValue>>,
}

/// Reads a config.
pub(super) fn config(body: &[u8]) -> Result<ReadConfig, ContentFault> {
    let text = String::from_utf8_lossy(body);
    // Two passes: a flattened struct cannot borrow.
    let platform: WrittenPlatform = object(&text).map_err(|_| ContentFault::ConfigNotJson)?;
    let rest: WrittenConfig<'_> = object(&text).map_err(|_| ContentFault::ConfigNotJson)?;
    let rootfs = match rest.rootfs {
        Some(raw) => serde_json::from_str::<Option<RootFs<'_>>>(raw.get())
            .map_err(|_| ContentFault::ConfigNotJson)?
            .unwrap_or_default(),
        None => RootFs::default(),
    };
    let platform = Platform::from(platform);
    Ok(ReadConfig {
        platform: (!platform.architecture.is_empty()).then_some(platform),
        diff_ids: rootfs.diff_ids.map_or(0, |ids| ids.len()),
    })
}

#[cfg(test)]
mod tests;
