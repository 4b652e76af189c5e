//! What all tests share: the registries, the gate, and the objects that they apply.

pub(crate) mod daemon;
pub(crate) mod gate;
pub(crate) mod kubectl;
pub(crate) mod objects;
pub(crate) mod policies;
pub(crate) mod registry;

use gate::Gate;
use registry::Registry;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

/// A registry address where nothing listens: the connection is refused.
pub(crate) const CLOSED: &str = "127.0.0.1:1";

/// Who may read [`Registries::private`].
pub(crate) const USER: &str = "ci";
/// And with which password.
pub(crate) const PASSWORD: &str = "sesame";

/// Registries with their images.
pub(crate) struct Registries {
    /// Anyone reads it. See [`push_images`].
    pub(crate) open: Registry,
    /// The same images, for [`USER`] with [`PASSWORD`].
    pub(crate) private: Registry,
    /// The digest of `shop/api:v1.0`.
    pub(crate) digest: String,
}

/// The registries that the tests share; they end with this process.
pub(crate) fn registries() -> &'static Registries {
    static SHARED: LazyLock<Registries> = LazyLock::new(|| {
        let open = Registry::open("open");
        let private = Registry::with_password("private", USER, PASSWORD);
        let digest = push_images(&open);
        push_images(&private);
        Registries { open, private, digest }
    });
    &SHARED
}

/// `pullgate serve`, registered at the API server; it ends with this process.
pub(crate) fn gate() -> &'static Gate {
    static SHARED: OnceLock<Option<Gate>> = OnceLock::new();
    let gate = SHARED.get_or_init(|| catch_unwind(Gate::start).ok());
    gate.as_ref()
        .expect("the gate did not start: the first test that failed says why")
}

/// `shop/api` with some tags, `shop/many` as an index that serves amd64 too, `shop/arm` as an index that does not, and `shop/armsingle`
/// as the single manifest of an arm64 image. Returns the digest of the first.
fn push_images(registry: &Registry) -> String {
    let digest = registry.push(&[], &["shop/api:v1.0", "shop/api:v1.1", "shop/api:v2.0"]);
    registry.push(
        &["--platform", "linux/amd64", "--platform", "linux/arm64/v8"],
        &["shop/many:v1"],
    );
    registry.push(&["--index", "--platform", "linux/arm64/v8"], &["shop/arm:v1"]);
    registry.push(&["--platform", "linux/arm64/v8"], &["shop/armsingle:v1"]);
    digest
}

/// A new folder of this run, for files and logs; they stay until the next run.
pub(crate) fn folder(name: &str) -> PathBuf {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        if root.exists() {
            std::fs::remove_dir_all(&root).unwrap();
        }
        root
    });
    let folder = ROOT.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
