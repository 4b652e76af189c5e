//! From a case's content to manifests and blobs. Every case has digests of its own: what a node has pulled once, it does not ask for
//! again.

use crate::cases::{Content, Data, Layer, Types, fill, fill_value, merge};
use pullgate::image::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes, and the type they are served with.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

/// Everything one case's registry holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    /// By tag and by digest.
    pub(crate) manifests: BTreeMap<String, Stored>,
    /// By digest.
    pub(crate) blobs: BTreeMap<String, Stored>,
    pub(crate) tags: Vec<String>,
    /// Digests by name: `digest`, `digest-TAG`, `config-TAG`, `layer-TAG`.
    pub(crate) names: BTreeMap<String, String>,
}

fn digest(bytes: &[u8]) -> String {
    Digest::sha256(bytes).to_string()
}

impl Types {
    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }
    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }
    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// What one content became.
struct Made {
    media_type: String,
    digest: String,
    size: usize,
    config: Option<String>,
    layer: Option<String>,
}

impl Shelf {
    /// Builds all of a case's content; `values` are what `{…}` in it stands for, `salt` sets it apart from other cases'.
    pub(crate) fn build(content: &BTreeMap<String, Content>, salt: &str, values: &BTreeMap<String, String>) -> Self {
        let mut shelf = Self::default();
        let mut values = values.clone();
        // What others refer to comes before them.
        for (tag, content) in content
            .iter()
            .filter(|(tag, _)| *tag == "base")
            .chain(content.iter().filter(|(tag, _)| *tag != "base"))
        {
            let made = shelf.put(content, &format!("{salt}/{tag}"), &values, Some(tag));
            shelf.tags.push(tag.clone());
            for (kind, digest) in [("digest", Some(made.digest)), ("config", made.config), ("layer", made.layer)] {
                let Some(digest) = digest else { continue };
                let stored = shelf.manifests.get(&digest).or_else(|| shelf.blobs.get(&digest));
                let size = stored.map_or(0, |stored| stored.bytes.len());
                shelf.names.insert(format!("{kind}-{tag}-size"), size.to_string());
                // As many digits as tools show of an ID.
                let short: String = digest.chars().take("sha256:".len() + 12).collect();
                shelf.names.insert(format!("{kind}-{tag}-short"), short);
                shelf.names.insert(format!("{kind}-{tag}"), digest);
            }
            values.extend(shelf.names.clone());
        }
        if let Some(digest) = shelf.names.get("digest-v1").cloned() {
            shelf.names.insert("digest".to_owned(), digest);
        }
        shelf
    }

    fn put(&mut self, content: &Content, salt: &str, values: &BTreeMap<String, String>, tag: Option<&str>) -> Made {
        let mut config = None;
        let mut layer = None;
        let (own_type, mut bytes) = if let Some(raw) = &content.raw {
            (content.types.manifest(), fill(raw, values).into_bytes())
        } else if let Some(entries) = &content.index {
            (content.types.index(), self.index(content, entries, salt, values))
        } else {
            let (bytes, of_config, of_layer) = self.image(content, salt, values);
            (config, layer) = (of_config, of_layer);
            (content.types.manifest(), bytes)
        };
        if let Some(length) = content.bytes {
            // White space at the end is JSON still.
            bytes.resize(length.max(bytes.len()), b' ');
        }
        let stored = Stored {
            media_type: content.served_as.clone().unwrap_or_else(|| own_type.to_owned()),
            digest: digest(&bytes),
            bytes,
        };
        let made = Made {
            media_type: own_type.to_owned(),
            digest: stored.digest.clone(),
            size: stored.bytes.len(),
            config,
            layer,
        };
        if !content.missing.contains("manifest") {
            self.manifests
                .extend(tag.into_iter().map(|tag| (tag.to_owned(), stored.clone())));
            self.manifests.insert(stored.digest.clone(), stored);
        }
        made
    }

    fn index(&mut self, content: &Content, entries: &[Content], salt: &str, values: &BTreeMap<String, String>) -> Vec<u8> {
        let entries: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| {
                let made = self.put(entry, &format!("{salt}/{at}"), values, None);
                let mut written = json!({"mediaType": made.media_type, "digest": made.digest, "size": made.size});
                let declared = match &entry.declares {
                    Some(Value::String(text)) if text == "none" => None,
                    Some(Value::String(text)) => Some(platform(text)),
                    Some(other) => Some(other.clone()),
                    // An index in an index has no platform of its own.
                    None if entry.index.is_some() => None,
                    None => Some(platform(entry.platform.as_deref().unwrap_or("linux/amd64"))),
                };
                if let Some(declared) = declared {
                    written["platform"] = declared;
                }
                written
            })
            .collect();
        let mut index = json!({"schemaVersion": 2, "mediaType": content.types.index(), "manifests": entries,
                               "annotations": {"case": salt}});
        merge(&mut index, &fill_value(&content.manifest, values));
        index.to_string().into_bytes()
    }

    /// A manifest, and the digests of its config and first layer.
    fn image(
        &mut self,
        content: &Content,
        salt: &str,
        values: &BTreeMap<String, String>,
    ) -> (Vec<u8>, Option<String>, Option<String>) {
        let usual = [Layer::default()];
        let layers = content.layers.as_deref().unwrap_or(&usual);
        let named = content.platform.as_deref().unwrap_or("linux/amd64");
        let mut diff_ids = Vec::new();
        let mut descriptors = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let tar = tar(&format!("{salt}/{at}"), named);
            diff_ids.push(digest(&tar));
            let bytes = match layer.data {
                Data::Gzip => gzip(&tar),
                Data::Tar => tar,
                Data::Text => format!("a text for {salt}/{at}").into_bytes(),
            };
            let media_type = layer.media_type.as_deref().unwrap_or(content.types.layer());
            let mut descriptor = json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len()});
            if !layer.urls.is_empty() {
                descriptor["urls"] = layer.urls.iter().map(|url| fill(url, values)).collect();
            }
            if !layer.missing && !content.missing.contains("layers") {
                self.blob(bytes);
            }
            descriptors.push(descriptor);
        }
        if let Some(count) = content.diff_ids {
            diff_ids.resize(count, digest(b"of no layer"));
        }
        let config = if let Value::String(text) = &content.config {
            fill(text, values).into_bytes()
        } else {
            let mut config = json!({"config": {"Entrypoint": ["/program"]}, "author": salt,
                                    "rootfs": {"type": "layers", "diff_ids": diff_ids}});
            merge(&mut config, &platform(named));
            merge(&mut config, &fill_value(&content.config, values));
            config.to_string().into_bytes()
        };
        let config_type = content.config_type.as_deref().unwrap_or(content.types.config());
        let config_digest = digest(&config);
        let mut manifest = json!({"schemaVersion": 2, "mediaType": content.types.manifest(),
            "config": {"mediaType": config_type, "digest": config_digest, "size": config.len()}, "layers": descriptors});
        if content.types == Types::Oci {
            manifest["annotations"] = json!({"case": salt});
        }
        if !content.missing.contains("config") {
            self.blob(config);
        }
        merge(&mut manifest, &fill_value(&content.manifest, values));
        let first = descriptors
            .first()
            .and_then(|descriptor| descriptor["digest"].as_str().map(str::to_owned));
        (manifest.to_string().into_bytes(), Some(config_digest), first)
    }

    fn blob(&mut self, bytes: Vec<u8>) {
        let stored = Stored {
            media_type: "application/octet-stream".to_owned(),
            digest: digest(&bytes),
            bytes,
        };
        self.blobs.insert(stored.digest.clone(), stored);
    }
}

/// `linux/arm/v7` as an object.
fn platform(text: &str) -> Value {
    if text == "none" {
        return json!({});
    }
    let mut parts = text.split('/');
    let mut platform = json!({"os": parts.next().unwrap_or_default(), "architecture": parts.next().unwrap_or_default()});
    if let Some(variant) = parts.next() {
        platform["variant"] = variant.into();
    }
    platform
}

/// A layer with `/program`, which ends at once with 0, and a file that says whose it is.
fn tar(salt: &str, platform: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, mode, data) in [
        ("program", 0o755, program(platform)),
        ("salt", 0o644, salt.as_bytes().to_vec()),
    ] {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let mut octal = |at: usize, digits: usize, value: usize| {
            let text = format!("{value:0digits$o}");
            header[at..at + digits].copy_from_slice(text.as_bytes());
        };
        octal(100, 7, mode);
        octal(108, 7, 0);
        octal(116, 7, 0);
        octal(124, 11, data.len());
        octal(136, 11, 0);
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(&data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// The smallest program there is: `exit(0)` for amd64. For another architecture its header names that one, so that it cannot start.
fn program(platform: &str) -> Vec<u8> {
    const CODE: &[u8] = &[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    const BASE: u64 = 0x40_0000;
    let machine: u16 = if platform.contains("arm64") { 183 } else { 62 };
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2, machine] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes());
    for long in [BASE + 120, 64, 0] {
        elf.extend(long.to_le_bytes());
    }
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    let size = 120 + CODE.len() as u64;
    elf.extend(1_u32.to_le_bytes());
    elf.extend(5_u32.to_le_bytes());
    for long in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(long.to_le_bytes());
    }
    elf.extend_from_slice(CODE);
    elf
}

/// gzip without compression.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut chunks = data.chunks(0xffff).peekable();
    while let Some(chunk) = chunks.next() {
        out.push(u8::from(chunks.peek().is_none()));
        let length = u16::try_from(chunk.len()).unwrap();
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out
}
