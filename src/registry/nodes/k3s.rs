//! `registries.yaml` of nodes with k3s or RKE2 as a file: read on demand; while it is broken, the last good one stays in force.

use super::folder::{Folder, Meaning};
use crate::credentials::Credential;
use crate::files;
use crate::limits;
use crate::registry::K3sFile;
use crate::registry::show_section::place;
use crate::runtime::containerd::hosts_toml::{DEFAULT_FOLDER, Files, Line};
use crate::runtime::containerd::k3s::{ALL, Registries};
use crate::runtime::containerd::peers::Shared;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The file of some nodes.
pub(super) struct K3s {
    file: K3sFile,
    /// The last usable file, and the version of it that was logged last.
    good: Mutex<Good>,
}

#[derive(Default)]
struct Good {
    text: Vec<u8>,
    registries: Option<Arc<Registries>>,
    logged: [u8; 32],
}

impl K3s {
    pub(super) fn new(file: K3sFile) -> Self {
        Self {
            file,
            good: Mutex::default(),
        }
    }

    /// Reads the file. The error has its place.
    pub(super) fn read(&self) -> Result<Arc<Registries>, String> {
        self.latest().map(|(_, registries)| registries)
    }

    /// What the file says now, with its bytes; `Err` where it cannot be used.
    fn latest(&self) -> Result<(Vec<u8>, Arc<Registries>), String> {
        let path = self.file.path.display();
        let bytes = files::read(&self.file.path, limits::SETTINGS_FILE).map_err(|error| format!("{path}: {error}"))?;
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registries) = good.registries.as_ref().filter(|_| good.text == bytes) {
            return Ok((bytes, Arc::clone(registries)));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{path}: the file is not UTF-8 text"))?;
        let registries = Registries::parse(text).map_err(|problem| format!("{path}:{problem}"))?;
        for note in &registries.notes {
            tracing::warn!(file = %path, why = %note, "a line of registries.yaml has no effect");
        }
        let registries = Arc::new(registries);
        good.text.clone_from(&bytes);
        good.registries = Some(Arc::clone(&registries));
        Ok((bytes, registries))
    }

    /// The registries whose images nodes give each other; `None` where no good file was ever seen.
    pub(super) fn shared(&self) -> Option<Arc<Shared>> {
        let (_, registries) = self.in_force().ok()?;
        Some(Arc::new(registries.shared(self.file.default_endpoint)))
    }

    /// The file, or the last good one; `Err` where no good file was ever seen.
    fn in_force(&self) -> Result<(Vec<u8>, Arc<Registries>), String> {
        self.latest().or_else(|why| {
            let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
            let id = Sha256::digest(why.as_bytes()).into();
            let Some(registries) = good.registries.clone() else {
                return Err(why);
            };
            if good.logged != id {
                good.logged = id;
                tracing::warn!(
                    why,
                    "the changed registries.yaml cannot be used; the last good one stays in force"
                );
            }
            Ok((good.text.clone(), registries))
        })
    }

    /// The nodes' configuration for a registry; `Err` if no usable file was ever seen.
    pub(super) fn of(&self, registry: &str) -> Result<Entry, String> {
        let (bytes, registries) = self.in_force()?;
        let mut tree = registries.tree(self.file.default_endpoint);
        let (file, key) = match tree.remove(registry) {
            Some(file) => (Some(file), registry),
            None => (tree.remove(DEFAULT_FOLDER), ALL),
        };
        let line = file.as_ref().map_or(0, |_| registries.line_of(key));
        let from = place(self.file.path.display(), line);
        let folder = file.map(|file| {
            let beside = self.file.path.parent().unwrap_or(Path::new(""));
            let lines = file.hosts.iter().chain([&file.server]);
            let names = lines.flat_map(|line: &Line| Files::names(&line.tls));
            let read = |name: &String| files::read(&beside.join(name), limits::SETTINGS_FILE).map_err(|error| error.to_string());
            Folder {
                path: beside.to_owned(),
                files: names.map(|name| (name.clone(), read(name))).collect::<BTreeMap<_, _>>(),
                text: bytes.clone(),
                meaning: Meaning::File {
                    file: Box::new(file),
                    beside: None,
                },
            }
        });
        Ok(Entry {
            folder,
            from,
            bytes,
            registries,
        })
    }
}

/// What a `registries.yaml` has for one registry.
pub(super) struct Entry {
    pub(super) folder: Option<Folder>,
    /// `FILE:LINE`, or the file alone where it says nothing of the registry.
    pub(super) from: String,
    bytes: Vec<u8>,
    registries: Arc<Registries>,
}

impl Entry {
    /// Of everything that was read.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        match &self.folder {
            Some(folder) => folder.fingerprint(),
            None => Sha256::digest(&self.bytes).into(),
        }
    }

    /// The credential for a host.
    pub(super) fn credential(&self, host: &str) -> Option<&Credential> {
        self.registries.credential(host)
    }

    /// Whether there is any credential.
    pub(super) fn has_credentials(&self) -> bool {
        self.registries.has_credentials()
    }
}
