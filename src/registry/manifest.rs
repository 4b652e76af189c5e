//! Manifest bytes, and in [`config`] those of configs, read as tolerantly as containerd reads them and no more (pull-semantics 5.2, 5.6). Pure.

mod config;
mod layer;

use crate::limits;
pub(super) use config::config;
use layer::{Layer, layer};

use super::host::authority;
use crate::go::json::{self, Pointer, loose};
use crate::image::{Digest, Platform};
use crate::verdict::evidence::{BlobRef, Body, ContentFault, IndexEntry, Unpack};
use base64::Engine as _;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use url::Url;

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

/// The media type of a `Content-Type`, without parameters. Its case counts, and so does a space before the semicolon: containerd compares
/// it letter by letter.
pub(super) fn media_type(content_type: Option<&str>) -> String {
    let text = content_type.unwrap_or_default();
    text.split(';').next().unwrap_or_default().to_owned()
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
        /// What it refers to.
        body: Body,
    },
    /// Not an image to a runtime.
    Artifact {
        /// `artifactType`, the config's media type, or the media type of the layer that no runtime unpacks.
        kind: String,
        /// Which runtimes stumble over it.
        unpack: Unpack,
        /// What it refers to.
        body: Body,
    },
}

/// The config of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// As written; runtimes hold the config against it.
    pub(super) size: i64,
    /// The host of its first `urls`, where runtimes look before they ask the registry.
    pub(super) elsewhere: Option<String>,
    /// What it has to go with.
    pub(super) claims: Arc<Claims>,
}

/// What a manifest says that its config has to go with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Claims {
    /// The layers that runtimes unpack, in order.
    pub(super) layers: Vec<Unpacked>,
    /// For which platforms config and layers say that they are, where they do: a runtime on another one passes over such a part.
    pub(super) platforms: Vec<Platform>,
}

/// How a layer is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Unpacked {
    /// By what its first bytes say.
    AsFound,
    /// Without a look, for its media type names no packing that containerd knows: its own digest must be the `diff_id`.
    AsItIs { digest: Digest, media_type: String },
}

loose! {
    struct Document<'a> {
        "schemaversion" => _version: i64,
        "mediatype" => media_type: String,
        "artifacttype" => artifact_type: &'a RawValue,
        "subject" => subject: &'a RawValue,
        "config" => config: Descriptor<'a>,
        "layers" => layers: Vec<Option<Descriptor<'a>>>,
        "manifests" => manifests: Vec<Option<Descriptor<'a>>>,
        "annotations" => _annotations: HashMap<String, Option<String>>,
    }
}

loose! {
    struct Descriptor<'a> {
        "mediatype" => media_type: String,
        "digest" => digest: String,
        "size" => size: i64,
        "urls" => urls: Vec<Option<String>>,
        "annotations" => _annotations: HashMap<String, Option<String>>,
        "platform" => platform: Pointer<WrittenPlatform<'a>>,
        "artifacttype" => _artifact_type: String,
        "data" => data: String,
    }
}

loose! {
    struct WrittenPlatform<'a> {
        "os" => os: String,
        "architecture" => architecture: String,
        "variant" => variant: String,
        "os.version" => os_version: String,
        "os.features" => os_features: Vec<Option<String>>,
    }
}

impl From<WrittenPlatform<'_>> for Platform {
    fn from(written: WrittenPlatform<'_>) -> Self {
        Self {
            os: written.os.unwrap_or_default(),
            architecture: written.architecture.unwrap_or_default(),
            variant: written.variant.unwrap_or_default(),
            os_version: written.os_version.unwrap_or_default(),
            os_features: written.os_features.unwrap_or_default().into_iter().flatten().collect(),
        }
    }
}

/// Reads a manifest that was served as `media_type` (one of the four that [`form`] calls a manifest or an index).
pub(super) fn read(media_type: &str, body: &[u8]) -> Result<Parsed, ContentFault> {
    let text = json::text(body);
    if json::is_too_deep(&text) {
        return Err(ContentFault::NotJson);
    }
    let document = serde_json::from_str::<Option<Document<'_>>>(&text)
        .map_err(|error| fault(&error, "manifest"))?
        .unwrap_or_default();
    let is_index = form(media_type) == Form::Index;
    let says = document.media_type.as_deref().map_or(Form::Other, form);
    // containerd's validateMediaType.
    let members = members(&text);
    let has = |name: &str| members.contains(name);
    if has("fslayers") {
        return Err(ContentFault::BodyMismatch("schema 1 not supported".to_owned()));
    }
    if is_index && (has("config") || has("layers") || says == Form::Manifest) {
        let why = format!("expected index but found manifest ({media_type})");
        return Err(ContentFault::BodyMismatch(why));
    }
    if !is_index && (has("manifests") || says == Form::Index) {
        let why = format!("expected manifest but found index ({media_type})");
        return Err(ContentFault::BodyMismatch(why));
    }
    if is_index { index(document) } else { manifest(document) }
}

/// The members of an object in lower case, whatever they hold: `null` and `[]` are something as well.
fn members(text: &str) -> HashSet<String> {
    let members: Option<HashMap<String, &RawValue>> = serde_json::from_str(text).unwrap_or_default();
    members.into_iter().flatten().map(|(name, _)| json::folded(&name)).collect()
}

fn index(document: Document<'_>) -> Result<Parsed, ContentFault> {
    // Of its `artifactType` and `subject` containerd 1.x knows nothing.
    let odd = [
        ("artifactType", misread::<String>(document.artifact_type)),
        ("subject", misread::<Descriptor<'_>>(document.subject)),
    ];
    let written = document.manifests.unwrap_or_default();
    if written.len() > limits::INDEX_ENTRIES {
        return Err(ContentFault::Structure(format!("the index has {} entries", written.len())));
    }
    let mut entries = Vec::with_capacity(written.len());
    for entry in written {
        let entry = entry.unwrap_or_default();
        decodable(&entry)?;
        entries.push(IndexEntry {
            digest: entry.digest.unwrap_or_default(),
            media_type: entry.media_type.unwrap_or_default(),
            platform: entry.platform.map(|Pointer(platform)| Platform::from(platform)),
            size: entry.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        });
    }
    let is_image = |entry: &IndexEntry| entry.platform.as_ref().is_none_or(|platform| !platform.is_unknown());
    if !entries.iter().any(is_image) {
        return Err(ContentFault::NoImage);
    }
    newer(&odd)?;
    Ok(Parsed::Index(entries))
}

/// Whether a member that was given is not of this kind.
fn misread<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> bool {
    raw.is_some_and(|raw| serde_json::from_str::<Option<T>>(raw.get()).is_err())
}

/// Members that only newer runtimes know, and whether they are of the wrong kind.
fn newer(members: &[(&str, bool)]) -> Result<(), ContentFault> {
    match members.iter().find(|(_, odd)| *odd) {
        Some((name, _)) => Err(ContentFault::Newer(format!("its {name} is of the wrong kind"))),
        None => Ok(()),
    }
}

fn manifest(document: Document<'_>) -> Result<Parsed, ContentFault> {
    if misread::<Descriptor<'_>>(document.subject) {
        return Err(ContentFault::WrongKind("descriptor"));
    }
    let Some(config) = document.config else {
        return Err(ContentFault::SizeOf {
            part: "config",
            digest: String::new(),
            says: 0,
        });
    };
    decodable(&config)?;
    let odd = [("artifactType", misread::<String>(document.artifact_type))];
    // Only the config of an image makes containerd fetch and unpack image layers; below another they are left alone.
    let of_image = matches!(
        config.media_type.as_deref().unwrap_or_default(),
        IMAGE_CONFIG_MEDIA_TYPE | IMAGE_DOCKER_CONFIG_MEDIA_TYPE
    );
    let mut claims = Claims::default();
    let mut foreign: Option<String> = None;
    let mut blobs = Vec::new();
    for layer_of in document.layers.unwrap_or_default() {
        let layer_of = layer_of.unwrap_or_default();
        decodable(&layer_of)?;
        let fetched = blob("layer", &layer_of);
        let media_type = layer_of.media_type.unwrap_or_default();
        let kind = layer(&media_type);
        match kind {
            Layer::Foreign => foreign = foreign.or(Some(media_type)),
            Layer::NeedsPlugin if of_image => return Err(ContentFault::NeedsPlugin(clipped(&media_type))),
            Layer::Packed | Layer::AsItIs | Layer::NeedsPlugin => {
                let plain = Digest::parse(&fetched.digest).filter(|_| kind == Layer::AsItIs);
                claims.layers.push(plain.map_or(Unpacked::AsFound, |digest| Unpacked::AsItIs {
                    digest,
                    media_type: clipped(&media_type),
                }));
                claims
                    .platforms
                    .extend(layer_of.platform.map(|Pointer(platform)| Platform::from(platform)));
                if !of_image {
                    continue;
                }
            }
        }
        blobs.push(fetched);
    }
    let unpacked = claims.layers.len();
    let config_blob = blob("config", &config);
    let size = size(blobs.iter().chain([&config_blob]));
    let elsewhere = config_blob.elsewhere.clone();
    let named = config_blob.digest.clone();
    let config_type = config.media_type.unwrap_or_default();
    newer(&odd)?;
    if !of_image {
        let says = document
            .artifact_type
            .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let kind = says.as_deref().filter(|kind| !kind.is_empty()).unwrap_or(&config_type);
        blobs.push(config_blob);
        return Ok(Parsed::Artifact {
            kind: clipped(kind),
            // Such a config has no diff_ids to go with the layers.
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
    // What stands beside layers of an image is passed over by all.
    if let Some(media_type) = foreign.filter(|_| unpacked == 0) {
        // An image config over something else: the client-side pull misses layers, the transfer service passes over it.
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
    let digest = config.digest.unwrap_or_default();
    let Some(digest) = Digest::parse(&digest) else {
        return Err(ContentFault::Structure(format!(
            "the config's digest is malformed: {}",
            clipped(&digest)
        )));
    };
    claims
        .platforms
        .extend(config.platform.map(|Pointer(platform)| Platform::from(platform)));
    Ok(Parsed::Image {
        config: Config {
            digest,
            media_type: clipped(&config_type),
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

/// What a manifest says of a blob.
fn blob(part: &'static str, descriptor: &Descriptor<'_>) -> BlobRef {
    let url = |text: &String| Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let first = descriptor.urls.iter().flatten().flatten().find_map(url);
    BlobRef {
        part,
        digest: clipped(descriptor.digest.as_deref().unwrap_or_default()),
        media_type: clipped(descriptor.media_type.as_deref().unwrap_or_default()),
        size: descriptor.size.unwrap_or_default(),
        elsewhere: first.map(|url| clipped(&authority(&url))),
    }
}

/// All of them in bytes, each digest once; `None` where one has no sensible size.
fn size<'a>(blobs: impl Iterator<Item = &'a BlobRef>) -> Option<u64> {
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

/// Runtimes decode what a descriptor embeds, whatever it is.
fn decodable(descriptor: &Descriptor<'_>) -> Result<(), ContentFault> {
    let is_base64 = |data: &String| {
        let data: Vec<u8> = data.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        base64::engine::general_purpose::STANDARD.decode(data).is_ok()
    };
    if descriptor.data.as_ref().is_none_or(is_base64) {
        Ok(())
    } else {
        Err(ContentFault::Structure("the data of a descriptor is not base64".to_owned()))
    }
}

fn fault(error: &serde_json::Error, what: &'static str) -> ContentFault {
    match error.classify() {
        serde_json::error::Category::Data => ContentFault::WrongKind(what),
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            ContentFault::NotJson
        }
    }
}

/// Names from a registry that end up in messages.
fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(140).collect()
}

#[cfg(test)]
mod tests;
