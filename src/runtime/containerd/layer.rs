//! The media types of layers.

/// What a layer's media type is to containerd (`images.IsLayerType`, `images.DiffCompression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// An image layer that is unpacked according to its first bytes; foreign layers included.
    Packed,
    /// An image layer that is taken for plain tar: its type says so, or names a compression that no runtime knows.
    AsItIs,
    /// An image layer by its type, which a runtime unpacks by a plugin or not at all.
    NeedsPlugin,
    /// Not a layer of an image.
    Foreign,
}

/// What this media type is to containerd.
pub(super) fn layer(media_type: &str) -> Layer {
    let mut parts = media_type.split('+');
    let base = parts.next().unwrap_or_default();
    let packings: Vec<&str> = parts.collect();
    let oci = match base.strip_prefix("application/vnd.oci.image.layer.") {
        Some("v1.tar" | "nondistributable.v1.tar") => true,
        // Its type is that of an image layer; its format is not known.
        Some(_) => return Layer::NeedsPlugin,
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
    if !oci && !docker {
        return Layer::Foreign;
    }
    if packings.contains(&"encrypted") {
        return Layer::NeedsPlugin;
    }
    // Of several compressions, containerd takes the last one in the alphabet.
    match packings.iter().max() {
        None if docker => Layer::Packed,
        Some(&("gzip" | "zstd")) if oci => Layer::Packed,
        Some(_) | None => Layer::AsItIs,
    }
}
