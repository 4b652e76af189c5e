//! How CRI-O reads a manifest or an index (`manifest`, `internal/manifest` and `internal/image` of containers/image).

use crate::image::Digest;
use crate::runtime::content::{
    BlobRef, Body, Content, Descriptor, Document, IndexEntry, ReadConfig, UNSIGNED_SCHEMA1, Unpack, clipped,
};
use crate::runtime::crio::version::Version;
use crate::runtime::outcome::{ContentFault, UnreadLayer};
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use std::sync::{Arc, LazyLock};

/// The longest manifest or config that CRI-O reads, in bytes.
pub(crate) const LONGEST: u64 = 4 << 20;
const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// `Accept` of a manifest, in containers/image's order (`DefaultRequestedManifestMIMETypes`).
pub(super) static ACCEPT: LazyLock<Arc<str>> = LazyLock::new(|| {
    Arc::from(
        "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
         application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.docker.distribution.manifest.v1+json, \
         application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json",
    )
});

/// The format in which a manifest is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// OCI manifest.
    Oci,
    /// Docker manifest, schema 2.
    Docker,
    /// OCI index.
    OciIndex,
    /// Docker manifest list.
    DockerList,
    /// Docker schema 1. Any other type counts as this one (`NormalizedMIMEType`).
    Schema1,
}

impl Form {
    /// The format for a `Content-Type`.
    pub(super) fn of(content_type: &str) -> Self {
        Self::of_media_type(&Self::media_type(content_type))
    }

    /// The media type of a `Content-Type`, without parameters, in lower case; empty if it is invalid (`simplifyContentType`).
    pub(super) fn media_type(content_type: &str) -> String {
        let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let media_type = media_type.trim().to_ascii_lowercase();
        let (kind, name) = media_type.split_once('/').unwrap_or((&media_type, "any"));
        if is_token(kind) && is_token(name) && are_parameters(parameters) {
            media_type
        } else {
            String::new()
        }
    }

    fn of_media_type(media_type: &str) -> Self {
        match media_type {
            OCI_IMAGE_MEDIA_TYPE => Self::Oci,
            IMAGE_MANIFEST_MEDIA_TYPE => Self::Docker,
            OCI_IMAGE_INDEX_MEDIA_TYPE => Self::OciIndex,
            IMAGE_MANIFEST_LIST_MEDIA_TYPE => Self::DockerList,
            _ => Self::Schema1,
        }
    }

    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    fn media_type_of(self) -> &'static str {
        match self {
            Self::Oci => OCI_IMAGE_MEDIA_TYPE,
            Self::Docker => IMAGE_MANIFEST_MEDIA_TYPE,
            Self::OciIndex => OCI_IMAGE_INDEX_MEDIA_TYPE,
            Self::DockerList => IMAGE_MANIFEST_LIST_MEDIA_TYPE,
            Self::Schema1 => SCHEMA_1_SIGNED,
        }
    }
}

/// A token of a MIME type.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c))
}

/// Whether this is a list of parameters behind a media type. Go rejects the whole value if one of them is invalid (`mime.ParseMediaType`).
fn are_parameters(mut text: &str) -> bool {
    let mut seen: Vec<String> = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return true;
        }
        let Some((name, rest)) = text.split_once('=') else {
            return false;
        };
        let name = name.trim_end().to_ascii_lowercase();
        if !is_token(&name) || seen.contains(&name) {
            return false;
        }
        seen.push(name);
        let rest = rest.trim_start();
        let end = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                match end {
                    Some(end) => end + 2,
                    None => return false,
                }
            }
            None => rest
                .find(|c: char| !is_token(c.encode_utf8(&mut [0; 4])))
                .unwrap_or(rest.len()),
        };
        let behind = rest.get(end..).unwrap_or_default().trim_start();
        match behind.strip_prefix(';') {
            Some(next) if end > 0 => text = next,
            None if end > 0 && behind.is_empty() => return true,
            Some(_) | None => return false,
        }
    }
}

/// A manifest of one image or artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) form: Form,
    /// `None` for schema 1.
    pub(super) config: Option<BlobRef>,
    /// The lowest first, as written.
    pub(super) layers: Vec<BlobRef>,
    /// `artifactType`.
    artifact_type: String,
}

/// Reads a manifest that was served in this format.
pub(super) fn manifest(version: Version, form: Form, media_type: &str, document: &Document) -> Result<Manifest, ContentFault> {
    let members = document.members;
    let foreign = [
        ("config", members.config && form == Form::Schema1),
        ("fsLayers", members.fs_layers && form != Form::Schema1),
        ("history", members.history && form != Form::Schema1),
        ("layers", members.layers && form == Form::Schema1),
        ("manifests", members.manifests),
    ];
    match form {
        Form::Oci => {
            not_odd(document)?;
            unambiguous(form, &foreign)?;
            document.config.iter().chain(&document.layers).try_for_each(decodable)?;
        }
        Form::Docker => {
            unambiguous(form, &foreign)?;
            let types = std::iter::once(&document.media_type).chain(document.layers.iter().map(|layer| &layer.media_type));
            if let Some(other) = types.into_iter().find(|one| !is_docker(version, one)) {
                let text = format!("unsupported docker v2s2 media type: \"{}\"", clipped(other));
                return Err(ContentFault::BodyMismatch(text));
            }
        }
        Form::Schema1 => {
            let is_schema_1 = [UNSIGNED_SCHEMA1, SCHEMA_1_SIGNED].contains(&media_type);
            let fault = |why: String| {
                if is_schema_1 {
                    ContentFault::BodyMismatch(why)
                } else {
                    ContentFault::MediaType(clipped(media_type))
                }
            };
            if document.schema_version != 1 {
                return Err(fault(format!("unsupported schema version {}", document.schema_version)));
            }
            unambiguous(form, &foreign)?;
            let layers = document.schema1.clone().unwrap_or_else(|| Ok(Vec::new())).map_err(fault)?;
            let layer = |digest: String| BlobRef {
                part: "layer",
                digest: clipped(&digest),
                media_type: String::new(),
                size: -1,
                elsewhere: None,
            };
            return Ok(Manifest {
                form,
                config: None,
                layers: layers.into_iter().map(layer).collect(),
                artifact_type: String::new(),
            });
        }
        Form::OciIndex | Form::DockerList => {
            return Err(ContentFault::Structure(
                "it is an index where a manifest is expected".to_owned(),
            ));
        }
    }
    Ok(Manifest {
        form,
        config: Some(BlobRef::of("config", &document.config.clone().unwrap_or_default())),
        layers: document.layers.iter().map(|layer| BlobRef::of("layer", layer)).collect(),
        artifact_type: document.artifact_type.clone().unwrap_or_default(),
    })
}

/// Reads an index that was served in this format.
pub(super) fn index(form: Form, document: &Document) -> Result<Vec<IndexEntry>, ContentFault> {
    let members = document.members;
    if form == Form::OciIndex {
        not_odd(document)?;
        document.manifests.iter().try_for_each(decodable)?;
    }
    let foreign = [
        ("config", members.config),
        ("fsLayers", members.fs_layers),
        ("history", members.history),
        ("layers", members.layers),
    ];
    unambiguous(form, &foreign)?;
    let entries: Vec<IndexEntry> = document.manifests.iter().map(IndexEntry::of).collect();
    let is_image = |entry: &IndexEntry| entry.platform.as_ref().is_none_or(|platform| !platform.is_unknown());
    if entries.iter().any(is_image) {
        Ok(entries)
    } else {
        Err(ContentFault::NoImage)
    }
}

impl Manifest {
    fn config_type(&self) -> &str {
        self.config.as_ref().map_or("", |config| &config.media_type)
    }

    /// The name of its type if it is not an image: `artifactType`, otherwise the config's media type.
    pub(super) fn kind(&self) -> String {
        let kind = Some(self.artifact_type.as_str()).filter(|kind| !kind.is_empty());
        clipped(kind.unwrap_or(self.config_type()))
    }

    /// Whether it describes an image (`OCIConfig` in `internal/image/oci.go`). In Docker's own manifests the config's type does not matter.
    pub(super) fn is_image(&self) -> Result<bool, ContentFault> {
        match (self.form, self.config_type()) {
            (Form::Oci, IMAGE_DOCKER_CONFIG_MEDIA_TYPE) => Err(ContentFault::BodyMismatch(format!(
                "invalid mixed OCI image with Docker v2s2 config (\"{IMAGE_DOCKER_CONFIG_MEDIA_TYPE}\")"
            ))),
            (form, config_type) => Ok(form != Form::Oci || config_type == IMAGE_CONFIG_MEDIA_TYPE),
        }
    }

    /// Whether CRI-O takes it for an artifact, in versions that check (`EnsureNotContainerImage`).
    pub(super) fn is_artifact(&self) -> bool {
        let of_image = ["", IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE];
        self.form != Form::Schema1 && (!of_image.contains(&self.config_type()) || !self.artifact_type.is_empty())
    }

    /// Its blobs.
    pub(super) fn body(&self) -> Body {
        Body {
            size: BlobRef::bytes(self.layers.iter().chain(&self.config)).filter(|_| self.form != Form::Schema1),
            config: self.config.as_ref().map(|config| config.digest.clone()).unwrap_or_default(),
            blobs: self.layers.clone(),
        }
    }

    /// The same for an artifact, whose config is not read either. CRI-O unpacks nothing of it.
    pub(super) fn artifact(&self) -> Content {
        let mut body = self.body();
        body.blobs.extend(self.config.clone());
        Content::Artifact {
            kind: self.kind(),
            unpack: if self.layers.is_empty() {
                Unpack::Nothing
            } else {
                Unpack::Foreign
            },
            body,
        }
    }

    /// Why an image may still fail once all its parts are fetched (`PutBlobWithOptions`, `commitLayer` and `PutManifest` in
    /// `storage/storage_dest.go`).
    pub(super) fn commits(
        &self,
        version: Version,
        document: &Document,
        config: Option<(&ReadConfig, u64)>,
    ) -> Result<(), ContentFault> {
        let encrypted = |layer: &&BlobRef| self.form == Form::Oci && layer.media_type.ends_with("+encrypted");
        if let Some(layer) = self.layers.iter().find(encrypted) {
            return Err(ContentFault::NeedsPlugin(layer.media_type.clone()));
        }
        if let (Some((config, length)), Some(said)) = (config, &self.config) {
            let has = i64::try_from(length).unwrap_or(i64::MAX);
            // A missing size counts as 0; negative sizes are not compared.
            if said.size >= 0 && said.size != has {
                return Err(ContentFault::OtherSize {
                    part: "config",
                    by: "manifest",
                    has,
                    says: said.size,
                });
            }
            self.diff_ids(&config.diff_ids)?;
            self.unnamed_packing(&config.diff_ids)?;
        }
        // The manifest that is stored is read again, in the format that its body declares.
        let kept = guessed(document);
        if kept == self.form {
            return Ok(());
        }
        match manifest(version, kept, kept.media_type_of(), document) {
            Ok(_) if kept != Form::Oci || self.config_type() == IMAGE_CONFIG_MEDIA_TYPE => Ok(()),
            Ok(_) | Err(_) => {
                let says = clipped(&document.media_type);
                let text = format!(
                    "it is served as \"{}\" and says that it is \"{says}\"",
                    self.form.media_type_of()
                );
                Err(ContentFault::BodyMismatch(text))
            }
        }
    }

    /// How many of its layers are requested: none for which a config with `diff_ids` lacks one (`PutBlobPartial`).
    pub(super) fn counted(&self, config: Option<&ReadConfig>) -> usize {
        let ids = config
            .map(|config| &config.diff_ids)
            .filter(|ids| !ids.iter().all(String::is_empty));
        ids.map_or(self.layers.len(), Vec::len)
    }

    /// CRI-O detects how a layer is compressed from its bytes (`DetectCompressionFormat`), which we do not read. A layer whose digest is
    /// its `diff_id` is not compressed. If the type of any other layer names no compression, we cannot know.
    fn unnamed_packing(&self, ids: &[String]) -> Result<(), ContentFault> {
        let names_packing = |media_type: &str| ["gzip", "zstd"].iter().any(|packing| media_type.ends_with(packing));
        let mut pairs = self.layers.iter().zip(ids);
        match pairs.find(|(layer, id)| !id.is_empty() && layer.digest != **id && !names_packing(&layer.media_type)) {
            Some((layer, _)) => Err(ContentFault::CrioMayFail(UnreadLayer::Packing(layer.media_type.clone()))),
            None => Ok(()),
        }
    }

    /// No `diff_ids` at all are fine, and so are more than there are layers; each must match its layer (`untrustedLayerDiffID`).
    fn diff_ids(&self, ids: &[String]) -> Result<(), ContentFault> {
        if ids.iter().all(String::is_empty) {
            return Ok(());
        }
        if ids.len() < self.layers.len() {
            return Err(ContentFault::LayerCount {
                layers: self.layers.len(),
                diff_ids: ids.len(),
            });
        }
        let is_sha256 = |id: &str| Digest::parse(id).is_some_and(|id| id.algorithm() == "sha256");
        match ids.iter().take(self.layers.len()).find(|id| !is_sha256(id)) {
            Some(odd) => Err(ContentFault::DiffId(clipped(odd))),
            None => Ok(()),
        }
    }
}

/// The format of a manifest by its body (`GuessMIMEType`).
fn guessed(document: &Document) -> Form {
    match Form::of_media_type(&document.media_type) {
        Form::Schema1 => {}
        known => return known,
    }
    let config_type = document.config.as_ref().map_or("", |config| config.media_type.as_str());
    match (document.schema_version, config_type) {
        (2, IMAGE_CONFIG_MEDIA_TYPE) => Form::Oci,
        (2, IMAGE_DOCKER_CONFIG_MEDIA_TYPE) => Form::Docker,
        (2, "") if !document.manifests.is_empty() => Form::OciIndex,
        (2, _) if document.manifests.is_empty() => Form::Oci,
        (_, _) => Form::Schema1,
    }
}

/// Whether Docker's manifests may refer to content of this type (`SupportedSchema2MediaType`).
fn is_docker(version: Version, media_type: &str) -> bool {
    match media_type {
        UNSIGNED_SCHEMA1
        | SCHEMA_1_SIGNED
        | IMAGE_MANIFEST_MEDIA_TYPE
        | IMAGE_MANIFEST_LIST_MEDIA_TYPE
        | IMAGE_DOCKER_CONFIG_MEDIA_TYPE
        | "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => true,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => version.takes_docker_zstd(),
        _ => false,
    }
}

/// Members of another kind make a manifest ambiguous (`ValidateUnambiguousManifestFormat`).
fn unambiguous(form: Form, foreign: &[(&str, bool)]) -> Result<(), ContentFault> {
    let unexpected: Vec<&str> = foreign.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if unexpected.is_empty() {
        return Ok(());
    }
    Err(ContentFault::BodyMismatch(format!(
        "rejecting ambiguous manifest, unexpected fields {} in supposedly {}",
        unexpected.join(", "),
        form.media_type_of()
    )))
}

fn not_odd(document: &Document) -> Result<(), ContentFault> {
    match (document.odd_artifact_type, document.odd_subject) {
        (true, _) => Err(ContentFault::WrongKind("manifest")),
        (false, true) => Err(ContentFault::WrongKind("descriptor")),
        (false, false) => Ok(()),
    }
}

fn decodable(descriptor: &Descriptor) -> Result<(), ContentFault> {
    if descriptor.data_decodes {
        Ok(())
    } else {
        Err(ContentFault::Structure("the data of a descriptor is not base64".to_owned()))
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
