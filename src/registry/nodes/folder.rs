//! The folder of a registry in the tree, read at once with everything that it names.

use crate::files::{self, ReadError};
use crate::limits;
use crate::runtime::containerd::hosts_toml::{self, DEFAULT_FOLDER, File, Files, Readers};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

pub(super) const HOSTS: &str = "hosts.toml";

/// A folder as it was.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) meaning: Meaning,
    /// What the meaning names, or why it could not be read.
    pub(super) files: BTreeMap<String, Result<Vec<u8>, String>>,
    /// `hosts.toml`, as it was.
    pub(super) text: Vec<u8>,
}

/// What a folder means to containerd.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A `hosts.toml`.
    File {
        file: Box<File>,
        /// What older runtimes read in its place, where they pass over the file: the certificates beside it.
        beside: Option<Files>,
    },
    /// A `hosts.toml` that newer runtimes take for broken, and older ones read.
    Older {
        file: Box<File>,
        /// What newer ones read in its place.
        beside: Files,
        /// Why.
        problem: String,
    },
    /// No `hosts.toml`, or one that cannot be parsed: certificates, laid out as Docker has them.
    Certificates(Files),
    /// What we may not read; a clause.
    Unreadable(String),
}

impl Folder {
    /// The folder for `registry` below the first root that has one; `None` when none has.
    pub(super) fn find(roots: &[PathBuf], registry: &str) -> Option<Self> {
        // No name of a registry holds these; nothing outside the tree may be looked into.
        if registry.is_empty() || registry.contains(['/', '\\', '\0']) || matches!(registry, "." | "..") {
            return None;
        }
        for root in roots {
            for name in names(registry) {
                let path = root.join(name);
                match std::fs::metadata(&path) {
                    Ok(_) => return Some(Self::read(path)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        let why = format!("{}: {error}", path.display());
                        return Some(Self::unreadable(path, why));
                    }
                }
            }
        }
        None
    }

    fn unreadable(path: PathBuf, why: String) -> Self {
        Self {
            path,
            meaning: Meaning::Unreadable(why),
            files: BTreeMap::new(),
            text: Vec::new(),
        }
    }

    pub(super) fn read(path: PathBuf) -> Self {
        let named = path.join(HOSTS);
        let text = match content(&named) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => {
                let why = format!("{}: {error}", named.display());
                return Self::unreadable(path, why);
            }
        };
        let parsed = if text.is_empty() { None } else { parse(&text).ok() };
        let beside = certificates(&path);
        let meaning = match (parsed, beside) {
            (Some(file), beside) => match &file.readers {
                Readers::All => Meaning::File {
                    file: Box::new(file),
                    beside: None,
                },
                Readers::Newer => Meaning::File {
                    file: Box::new(file),
                    beside: Some(beside.unwrap_or_default()),
                },
                Readers::Older(problem) => Meaning::Older {
                    problem: problem.to_string(),
                    file: Box::new(file),
                    beside: beside.unwrap_or_default(),
                },
            },
            (None, Ok(files)) => Meaning::Certificates(files),
            (None, Err(error)) => Meaning::Unreadable(format!("{}: {error}", path.display())),
        };
        let (file, beside) = match &meaning {
            Meaning::File { file, beside } => (Some(file), beside.as_ref()),
            Meaning::Older { file, beside, .. } => (Some(file), Some(beside)),
            Meaning::Certificates(files) => (None, Some(files)),
            Meaning::Unreadable(_) => (None, None),
        };
        let lines = file.iter().flat_map(|file| file.hosts.iter().chain([&file.server]));
        let all = lines.map(|line| &line.tls).chain(beside);
        let wanted: BTreeSet<&String> = all.flat_map(Files::names).collect();
        let read = |name: &String| content(&path.join(name)).map_err(|error| error.to_string());
        let files = wanted.into_iter().map(|name| (name.clone(), read(name))).collect();
        Self {
            path,
            meaning,
            files,
            text,
        }
    }

    /// Of everything that was read.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.path.as_os_str().as_encoded_bytes());
        part(&self.text);
        match &self.meaning {
            Meaning::File { .. } | Meaning::Older { .. } => part(b"file"),
            Meaning::Certificates(_) => part(b"certificates"),
            Meaning::Unreadable(why) => part(why.as_bytes()),
        }
        for (name, content) in &self.files {
            part(name.as_bytes());
            match content {
                Ok(bytes) => part(bytes),
                Err(why) => part(why.as_bytes()),
            }
        }
        hash.finalize().into()
    }

    /// Why an existing `hosts.toml` is not used, with its place.
    pub(super) fn problem(&self) -> Option<String> {
        match &self.meaning {
            Meaning::File { .. } => None,
            Meaning::Older { problem, .. } => Some(format!("{}:{problem}", self.path.join(HOSTS).display())),
            Meaning::Unreadable(why) => Some(why.clone()),
            Meaning::Certificates(_) if self.text.is_empty() => None,
            Meaning::Certificates(_) => {
                let why = parse(&self.text).err()?;
                Some(format!("{}:{why}", self.path.join(HOSTS).display()))
            }
        }
    }
}

/// `localhost_5000_`, `localhost:5000`, `_default`.
fn names(registry: &str) -> impl Iterator<Item = String> {
    let underlined = match registry.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some(format!("{host}_{port}_")),
        Some(_) | None => None,
    };
    underlined.into_iter().chain([registry.to_owned(), DEFAULT_FOLDER.to_owned()])
}

fn content(path: &Path) -> Result<Vec<u8>, ReadError> {
    files::read(path, limits::SETTINGS_FILE)
}

fn parse(text: &[u8]) -> Result<File, String> {
    let text = std::str::from_utf8(text).map_err(|_| "1:1: the file is not UTF-8 text".to_owned())?;
    hosts_toml::parse(text).map_err(|problem| problem.to_string())
}

/// `*.crt` are authorities, `*.cert` with `*.key` beside it are client certificates.
fn certificates(folder: &Path) -> io::Result<Files> {
    let (mut ca, mut client) = (Vec::new(), Vec::new());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A file name that is not UTF-8 cannot be a certificate's.
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    for name in names.into_iter().filter(|name| !folder.join(name).is_dir()) {
        match name.rsplit_once('.') {
            Some((_, "crt")) => ca.push(name),
            Some((stem, "cert")) => {
                let key = format!("{stem}.key");
                let key = folder.join(&key).exists().then_some(key);
                client.push((name, key));
            }
            Some(_) | None => {}
        }
    }
    Ok(Files {
        ca: (!ca.is_empty()).then_some(ca),
        client: (!client.is_empty()).then_some(client),
        skip_verify: None,
    })
}

/// What is wrong in a whole tree, with places: for the admin, at the start.
pub(super) fn problems(root: &Path) -> Vec<String> {
    match folders(root) {
        Ok(folders) => folders.iter().filter_map(Folder::problem).collect(),
        Err(why) => vec![why],
    }
}

/// What nodes pass over in a whole tree, with places.
pub(super) fn notes(root: &Path) -> Vec<String> {
    let notes = |folder: &Folder| {
        let text = std::str::from_utf8(&folder.text).unwrap_or_default();
        let at = folder.path.join(HOSTS);
        let passed = hosts_toml::passed_over(text);
        let passed = passed.iter().map(|note| format!("{}:{note}", at.display()));
        passed.collect::<Vec<_>>()
    };
    let sound = folders(root).unwrap_or_default();
    sound
        .iter()
        .filter(|folder| folder.problem().is_none())
        .flat_map(notes)
        .collect()
}

/// The folders of a tree. The error is why it cannot be read.
fn folders(root: &Path) -> Result<Vec<Folder>, String> {
    let entries = std::fs::read_dir(root).map_err(|error| format!("registries.hostsDir: {}: {error}", root.display()))?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Ok(folders.into_iter().map(Folder::read).collect())
}
