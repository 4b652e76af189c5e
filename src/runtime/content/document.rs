//! A manifest or an index as its JSON states it. Every member is read, whatever the media type; the runtime judges those that do not belong
//! there.

use super::schema1::layers as schema1_layers;
use crate::budget::Claim;
use crate::go::json::{self, Pointer, loose};
use crate::go::json_scanner;
use crate::image::Platform;
use crate::runtime::fault::ContentFault;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use url::Url;

/// The contents of a manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "which members stand there")]
pub struct Document {
    /// `mediaType`; empty where it has none.
    pub media_type: String,
    /// `config`.
    pub config: Option<Descriptor>,
    /// `layers`.
    pub layers: Vec<Descriptor>,
    /// `manifests`.
    pub manifests: Vec<Descriptor>,
    /// `artifactType`, if it is a string.
    pub artifact_type: Option<String>,
    /// `artifactType` is present and not a string.
    pub odd_artifact_type: bool,
    /// `subject` is present and not a descriptor.
    pub odd_subject: bool,
    /// `config` is present, even if only as `null`.
    pub has_config: bool,
    /// `layers` is present, even if only as `null`.
    pub has_layers: bool,
    /// `manifests` is present, even if only as `null`.
    pub has_manifests: bool,
    /// `fsLayers` is present: that makes it a Docker schema 1 manifest.
    pub has_fs_layers: bool,
    /// `signatures` is present, as in a signed Docker schema 1 manifest.
    pub has_signatures: bool,
    /// `schemaVersion`; 0 if absent.
    pub schema_version: i64,
    /// Which of the members that tell one kind of manifest from another are present and not `null`.
    pub members: Members,
    /// For a Docker schema 1 manifest: the digests of its layers, the lowest first, or what is wrong with it. `None` for any other.
    pub schema1: Option<Result<Vec<String>, String>>,
    /// The memory that a long document takes, reserved from the budget.
    pub held: Claim,
}

impl Document {
    /// Its size in memory in bytes, roughly.
    pub fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let all = self.config.iter().chain(&self.layers).chain(&self.manifests);
        let schema1 = match &self.schema1 {
            Some(Ok(digests)) => digests.iter().map(|digest| size_of::<String>() + digest.len()).sum(),
            Some(Err(_)) | None => 0,
        };
        size_of::<Self>() + self.media_type.len() + text(&self.artifact_type) + schema1 + all.map(Descriptor::weight).sum::<usize>()
    }
}

/// Members that tell one kind of manifest from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "which members stand there")]
pub struct Members {
    /// `config`.
    pub config: bool,
    /// `fsLayers`.
    pub fs_layers: bool,
    /// `history`.
    pub history: bool,
    /// `layers`.
    pub layers: bool,
    /// `manifests`.
    pub manifests: bool,
}

/// A descriptor: of a config, a layer or an entry of an index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// `mediaType`, as written.
    pub media_type: String,
    /// `digest`, as written.
    pub digest: String,
    /// `size` in bytes, as written.
    pub size: Option<i64>,
    /// The host of the first http(s) URL of `urls`.
    pub elsewhere: Option<String>,
    /// `data` is valid base64, or absent.
    pub data_decodes: bool,
    /// `platform`.
    pub platform: Option<Platform>,
    /// Annotated as compressed with zstd, which containers/image prefers (`io.github.containers.compression.zstd`).
    pub zstd: bool,
}

impl Descriptor {
    /// Its size in memory in bytes, roughly.
    fn weight(&self) -> usize {
        let elsewhere = self.elsewhere.as_ref().map_or(0, String::len);
        let platform = self.platform.as_ref().map_or(0, Platform::weight);
        size_of::<Self>() + self.media_type.len() + self.digest.len() + elsewhere + platform
    }
}

loose! {
    struct WrittenDocument<'a> {
        "schemaversion" => version: i64,
        "mediatype" => media_type: String,
        "artifacttype" => artifact_type: &'a RawValue,
        "subject" => subject: &'a RawValue,
        "config" => config: WrittenDescriptor<'a>,
        "layers" => layers: Vec<Option<WrittenDescriptor<'a>>>,
        "manifests" => manifests: Vec<Option<WrittenDescriptor<'a>>>,
        "annotations" => _annotations: HashMap<String, Option<String>>,
    }
}

loose! {
    struct WrittenDescriptor<'a> {
        "mediatype" => media_type: String,
        "digest" => digest: String,
        "size" => size: i64,
        "urls" => urls: Vec<Option<String>>,
        "annotations" => annotations: HashMap<String, Option<String>>,
        "platform" => platform: Pointer<WrittenPlatform<'a>>,
        "artifacttype" => _artifact_type: String,
        "data" => data: String,
    }
}

loose! {
    pub(super) struct WrittenPlatform<'a> {
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

/// Reads a manifest or an index. The error is [`ContentFault::NotJson`], or a member of the wrong type.
pub fn document(body: &[u8]) -> Result<Document, ContentFault> {
    let text = json::text(body);
    let written = read::<WrittenDocument<'_>>(&text)
        .ok_or_else(|| fault(body, ContentFault::NotJson, ContentFault::WrongKind("manifest")))?;
    let members = members(&text);
    let has = |name: &str| members.contains_key(name);
    let is_set = |name: &str| members.get(name).is_some_and(|raw| raw.get() != "null");
    let version = written.version.unwrap_or_default();
    let all = |descriptors: Option<Vec<Option<WrittenDescriptor<'_>>>>| {
        let descriptors = descriptors.unwrap_or_default().into_iter();
        descriptors.map(|one| Descriptor::from(one.unwrap_or_default())).collect()
    };
    Ok(Document {
        media_type: written.media_type.unwrap_or_default(),
        config: written.config.map(Descriptor::from),
        layers: all(written.layers),
        manifests: all(written.manifests),
        artifact_type: written
            .artifact_type
            .and_then(|raw| serde_json::from_str::<Option<String>>(raw.get()).ok()?),
        odd_artifact_type: misread::<String>(written.artifact_type),
        odd_subject: misread::<WrittenDescriptor<'_>>(written.subject),
        has_config: has("config"),
        has_layers: has("layers"),
        has_manifests: has("manifests"),
        has_fs_layers: has("fslayers"),
        has_signatures: has("signatures"),
        schema_version: version,
        members: Members {
            config: is_set("config"),
            fs_layers: is_set("fslayers"),
            history: is_set("history"),
            layers: is_set("layers"),
            manifests: is_set("manifests"),
        },
        schema1: (version == 1).then(|| {
            let text = |name: &str| members.get(name).map_or("null", |raw| raw.get());
            schema1_layers(text("fslayers"), text("history"))
        }),
        held: Claim::default(),
    })
}

impl From<WrittenDescriptor<'_>> for Descriptor {
    fn from(written: WrittenDescriptor<'_>) -> Self {
        let url = |text: &String| Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let elsewhere = written.urls.iter().flatten().flatten().find_map(url);
        let zstd = written
            .annotations
            .iter()
            .flatten()
            .any(|(key, value)| key == "io.github.containers.compression.zstd" && value.as_deref() == Some("true"));
        Self {
            elsewhere: elsewhere.map(|url| clipped(&authority(&url))),
            data_decodes: written.data.as_ref().is_none_or(|data| is_base64(data)),
            media_type: written.media_type.unwrap_or_default(),
            digest: written.digest.unwrap_or_default(),
            size: written.size,
            platform: written.platform.map(|Pointer(platform)| Platform::from(platform)),
            zstd,
        }
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_base64(data: &str) -> bool {
    let data: Vec<u8> = data.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    base64::engine::general_purpose::STANDARD.decode(data).is_ok()
}

/// Whether a member is present and not of this type.
fn misread<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> bool {
    raw.is_some_and(|raw| serde_json::from_str::<Option<T>>(raw.get()).is_err())
}

/// The members of an object by their names in lower case, `null` and `[]` included.
fn members(text: &str) -> BTreeMap<String, &RawValue> {
    let members: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text).unwrap_or_default();
    members
        .into_iter()
        .flatten()
        .map(|(name, raw)| (json::folded(&name), raw))
        .collect()
}

/// Reads a document, unless it is nested too deep.
pub(super) fn read<'a, T: Deserialize<'a> + Default>(text: &'a str) -> Option<T> {
    if json::is_too_deep(text) { None } else { json::only(text) }
}

/// Why Go does not read a body: it checks the syntax of all of it before it looks at the first member.
pub(super) fn fault(body: &[u8], not_json: impl FnOnce(String) -> ContentFault, wrong_kind: ContentFault) -> ContentFault {
    match json_scanner::check(body) {
        Err(said) => not_json(said),
        Ok(()) => wrong_kind,
    }
}

/// Shortens a name from a registry for use in messages.
pub(crate) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(140).collect()
}
