//! The images of the simulation: a few for each shape, the same in every world.

use pullgate::image::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A blob or a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    /// Of a manifest.
    pub media_type: Option<&'static str>,
    pub bytes: &'static [u8],
}

/// An image: what a tag names, and everything that belongs to it.
#[derive(Debug, Clone)]
pub struct Image {
    pub called: &'static str,
    pub root: String,
    pub parts: Vec<String>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

struct Catalog {
    objects: BTreeMap<String, Object>,
    images: Vec<Image>,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::make);

pub fn object(digest: &str) -> Option<&'static Object> {
    CATALOG.objects.get(digest)
}

pub fn images() -> &'static [Image] {
    &CATALOG.images
}

impl Catalog {
    fn make() -> Self {
        let mut catalog = Self {
            objects: BTreeMap::new(),
            images: Vec::new(),
        };
        for version in 0..3 {
            for (called, platforms) in [
                ("for amd64", &["amd64"][..]),
                ("for arm64", &["arm64"]),
                ("for amd64 and arm64", &["amd64", "arm64"]),
            ] {
                let alone = version % 2 == 0;
                let image = catalog.image(called, platforms, version, alone);
                catalog.images.push(image);
            }
        }
        catalog
    }

    fn put(&mut self, media_type: Option<&'static str>, text: String) -> (String, usize) {
        let bytes: &'static [u8] = text.into_bytes().leak();
        let digest = Digest::sha256(bytes).as_str().to_owned();
        self.objects.insert(digest.clone(), Object { media_type, bytes });
        (digest, bytes.len())
    }

    /// Of one platform it is a manifest where it stands alone, else an index.
    fn image(&mut self, called: &'static str, platforms: &[&str], version: usize, alone: bool) -> Image {
        let mut parts = Vec::new();
        let mut entries: Vec<Value> = Vec::new();
        for platform in platforms {
            let (layer, layer_size) = self.put(None, format!("layer of version {version} {called} on {platform}"));
            let config = json!({"architecture": platform, "os": "linux", "version": version,
                                "rootfs": {"type": "layers", "diff_ids": [layer]}});
            let (config, config_size) = self.put(None, config.to_string());
            let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size}]});
            let (manifest, size) = self.put(Some(MANIFEST), manifest.to_string());
            entries.push(json!({"mediaType": MANIFEST, "digest": manifest, "size": size,
                                "platform": {"os": "linux", "architecture": platform}}));
            parts.extend([layer, config, manifest]);
        }
        let root = if alone && platforms.len() == 1 {
            parts.pop().unwrap()
        } else {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
            self.put(Some(INDEX), index.to_string()).0
        };
        parts.push(root.clone());
        Image { called, root, parts }
    }
}
