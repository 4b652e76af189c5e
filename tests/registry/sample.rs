//! Images made of a few bytes, and a scripted registry that serves them.

use crate::faulty::{Reply, Seen};
use pullgate::image::Digest;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A blob or a manifest.
#[derive(Debug, Clone)]
pub struct Blob {
    pub media_type: String,
    pub bytes: Vec<u8>,
    pub digest: String,
}

impl Blob {
    pub fn new(media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::sha256(&bytes).to_string(),
            bytes,
        }
    }

    pub fn descriptor(&self) -> String {
        format!(
            r#""mediaType":"{}","digest":"{}","size":{}"#,
            self.media_type,
            self.digest,
            self.bytes.len()
        )
    }
}

/// A single manifest with its config and one layer.
#[derive(Debug, Clone)]
pub struct Image {
    pub manifest: Blob,
    pub config: Blob,
    pub layer: Blob,
}

/// An image for `linux/architecture`, with a config of the given type and body.
pub fn image_with(config_type: &str, config: &str) -> Image {
    let layer = Blob::new(LAYER, format!("layer of {config}"));
    let config = Blob::new(config_type, config);
    let manifest = Blob::new(
        OCI_MANIFEST,
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{{}}},"layers":[{{{}}}]}}"#,
            config.descriptor(),
            layer.descriptor()
        ),
    );
    Image { manifest, config, layer }
}

/// An image for `linux/architecture`.
pub fn image(architecture: &str) -> Image {
    let zeros = "0".repeat(64);
    image_with(
        OCI_CONFIG,
        &format!(r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"type":"layers","diff_ids":["sha256:{zeros}"]}}}}"#),
    )
}

/// An index over manifests, each with a platform (`os/architecture`).
pub fn index(children: &[(&str, &Blob)]) -> Blob {
    let entries: Vec<String> = children
        .iter()
        .map(|(platform, child)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            format!(
                r#"{{{},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
                child.descriptor()
            )
        })
        .collect();
    Blob::new(
        OCI_INDEX,
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
            entries.join(",")
        ),
    )
}

/// A manifest as a good registry serves it.
pub fn served(blob: &Blob) -> Reply {
    Reply::new(200)
        .header("Content-Type", &blob.media_type)
        .header("Docker-Content-Digest", &blob.digest)
        .body(blob.bytes.clone())
}

/// The registry's envelope. To HEAD its header alone says that it comes from a registry.
pub fn error(status: u16, code: &str, message: &str) -> Reply {
    let reply = Reply::new(status).header("Docker-Distribution-Api-Version", "registry/2.0");
    reply.json(&format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

/// A good registry with `team/app:1`.
pub fn good(image: &Image, seen: &Seen) -> Reply {
    let path = seen.path.split('?').next().unwrap_or_default();
    let by_digest = format!("/v2/team/app/manifests/{}", image.manifest.digest);
    let config = format!("/v2/team/app/blobs/{}", image.config.digest);
    if path == "/v2/team/app/manifests/1" || path == by_digest {
        served(&image.manifest)
    } else if path == config {
        Reply::new(200)
            .header("Content-Type", "application/octet-stream")
            .body(image.config.bytes.clone())
    } else if path == "/v2/team/app/tags/list" {
        Reply::new(200).json(r#"{"name":"team/app","tags":["1"]}"#)
    } else {
        error(404, "MANIFEST_UNKNOWN", "manifest unknown")
    }
}
