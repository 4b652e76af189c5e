//! The files of a node with CRI-O, read at once.

use crate::files::{self, ReadError};
use crate::limits;
use crate::runtime::crio::registries_conf::RegistriesConf;
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

const MAIN: &str = "registries.conf";
const DROP_INS: &str = "registries.conf.d";

/// What was read, or why it could not be.
#[derive(Debug)]
pub(super) struct Folder {
    /// Of everything that was read.
    pub(super) id: [u8; 32],
    /// The main file, if any, and the drop-ins in the order of their names.
    main: Option<(PathBuf, Result<String, String>)>,
    drop_ins: Vec<(PathBuf, Result<String, String>)>,
    /// Why a folder could not be listed.
    problems: Vec<String>,
}

impl Folder {
    /// Reads a `registries.conf`, or a folder laid out as the nodes have it.
    pub(super) fn read(path: &Path) -> Self {
        let mut folder = Self {
            id: [0; 32],
            main: None,
            drop_ins: Vec::new(),
            problems: Vec::new(),
        };
        if path.is_dir() {
            let main = path.join(MAIN);
            folder.main = text(&main).map(|read| (main, read));
            match drop_ins(&path.join(DROP_INS)) {
                Ok(paths) => {
                    folder.drop_ins = paths
                        .into_iter()
                        .filter_map(|path| text(&path).map(|read| (path, read)))
                        .collect()
                }
                Err(why) => folder.problems.push(why),
            }
            if folder.main.is_none() && folder.drop_ins.is_empty() && folder.problems.is_empty() {
                let problem = format!("{}: there is no {MAIN} and nothing in {DROP_INS}/", path.display());
                folder.problems.push(problem);
            }
        } else {
            let read = text(path).unwrap_or_else(|| Err("there is no such file".to_owned()));
            folder.main = Some((path.to_owned(), read));
        }
        folder.id = folder.fingerprint();
        folder
    }

    fn files(&self) -> impl Iterator<Item = &(PathBuf, Result<String, String>)> {
        self.main.iter().chain(&self.drop_ins)
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for (path, read) in self.files() {
            part(path.as_os_str().as_encoded_bytes());
            let (kind, text): (&[u8], &str) = match read {
                Ok(text) => (b"text", text),
                Err(why) => (b"error", why),
            };
            part(kind);
            part(text.as_bytes());
        }
        for problem in &self.problems {
            part(problem.as_bytes());
        }
        hash.finalize().into()
    }

    /// What the files come to. The errors name the file.
    pub(super) fn parse(&self) -> Result<RegistriesConf, Vec<String>> {
        let unreadable = self
            .files()
            .filter_map(|(path, read)| Some(format!("{}: {}", path.display(), read.as_ref().err()?)));
        let problems: Vec<String> = unreadable.chain(self.problems.iter().cloned()).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let of = |read: &(PathBuf, Result<String, String>)| read.1.clone().unwrap_or_default();
        let main = self.main.as_ref().map(of).unwrap_or_default();
        let drop_ins: Vec<String> = self.drop_ins.iter().map(of).collect();
        let drop_ins: Vec<&str> = drop_ins.iter().map(String::as_str).collect();
        RegistriesConf::parse(&main, &drop_ins).map_err(|invalid| {
            let file = match invalid.drop_in {
                Some(at) => self.drop_ins.get(at),
                None => self.main.as_ref(),
            };
            let file = file.map_or_else(String::new, |(path, _)| format!("{}: ", path.display()));
            vec![format!("{file}{invalid}")]
        })
    }
}

/// The text of a file; `None` where there is none.
fn text(path: &Path) -> Option<Result<String, String>> {
    match files::read(path, limits::SETTINGS_FILE) {
        Ok(bytes) => Some(String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())),
        Err(error) if ReadError::is_not_found(&error) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// The `*.conf` in a folder, in the order of their names; none where there is no such folder.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "conf") && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
