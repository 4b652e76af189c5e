//! The files of a CRI-O node, all read together.

use super::crio_conf::CrioConf;
use crate::credentials::Credential;
use crate::files::{self, ReadError};
use crate::image::escape;
use crate::limits;
use crate::runtime::crio::auth::NodeAuth;
use crate::runtime::crio::policy::Policy;
use crate::runtime::crio::registries_conf::RegistriesConf;
use crate::yaml;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAIN: &str = "registries.conf";
const DROP_INS: &str = "registries.conf.d";
/// How deep the files of a node lie.
const DEEPEST: usize = 3;
/// Files of a folder: there is one for each namespace, and some for each registry.
const MOST: usize = 10_000;

/// The contents, or why they could not be read.
#[derive(Debug)]
pub(super) struct Folder {
    /// Of everything that was read.
    pub(super) id: [u8; 32],
    root: PathBuf,
    /// By their paths below the folder.
    files: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
    /// The main file.
    main: PathBuf,
    /// Why a folder could not be listed.
    problems: Vec<String>,
}

/// What the files come to.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) registries: RegistriesConf,
    pub(super) policy: Option<Arc<Policy>>,
    /// By namespace.
    pub(super) policies: BTreeMap<String, Arc<Policy>>,
    pub(super) auth: Arc<NodeAuth>,
    /// By `NAMESPACE-sha256(name)`.
    pub(super) auths: BTreeMap<String, Arc<NodeAuth>>,
    /// Everything that is in `auth` and `auths`.
    pub(super) credentials: Vec<Credential>,
    /// By `host[:port]`.
    pub(super) certificates: BTreeMap<String, Result<Certificates, String>>,
    /// The files of `registries`, in the order in which it counts them.
    pub(super) files: Vec<Arc<str>>,
}

/// Files and folders that `crio.conf` may name otherwise.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) auth: PathBuf,
    pub(super) auths: PathBuf,
    pub(super) policy: PathBuf,
    pub(super) policies: PathBuf,
}

/// What lies in `certs.d` for a host.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    pub(super) roots: Vec<Vec<u8>>,
    /// A certificate and its key.
    pub(super) identity: Option<Vec<u8>>,
}

impl Folder {
    /// Reads a `registries.conf`, or a folder laid out as the nodes have it.
    pub(super) fn read(path: &Path) -> Self {
        let mut folder = Self {
            id: [0; 32],
            root: PathBuf::new(),
            files: BTreeMap::new(),
            main: PathBuf::from(MAIN),
            problems: Vec::new(),
        };
        if path.is_dir() {
            path.clone_into(&mut folder.root);
            folder.list(path, Path::new(""), 0);
            let any = |at: &Path| at == folder.main || at.starts_with(DROP_INS);
            if folder.problems.is_empty() && !folder.files.keys().any(|at| any(at)) {
                let problem = format!("{}: there is no {MAIN} and nothing in {DROP_INS}/", path.display());
                folder.problems.push(problem);
            }
        } else {
            let read = content(path).unwrap_or_else(|| Err("there is no such file".to_owned()));
            path.clone_into(&mut folder.main);
            folder.files.insert(path.to_owned(), read);
        }
        folder.id = folder.fingerprint();
        folder
    }

    /// Reads everything below a folder, except hidden files and folders: a mounted ConfigMap has some, a node does not.
    fn list(&mut self, folder: &Path, below: &Path, depth: usize) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(format!("{}: {error}", folder.display())),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.problems.push(format!("{}: {error}", folder.display())),
            };
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, at) = (entry.path(), below.join(&name));
            if path.is_dir() {
                if depth < DEEPEST {
                    self.list(&path, &at, depth + 1);
                }
            } else if self.files.len() >= MOST {
                return self
                    .problems
                    .push(format!("{}: there are more than {MOST} files", self.root.display()));
            } else if let Some(read) = content(&path) {
                self.files.insert(at, read);
            }
        }
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for (path, read) in &self.files {
            part(path.as_os_str().as_encoded_bytes());
            let (kind, content): (&[u8], &[u8]) = match read {
                Ok(content) => (b"content", content),
                Err(why) => (b"error", why.as_bytes()),
            };
            part(kind);
            part(content);
        }
        for problem in &self.problems {
            part(problem.as_bytes());
        }
        hash.finalize().into()
    }

    pub(super) fn shown(&self, at: &Path) -> String {
        self.root.join(at).display().to_string()
    }

    /// The `*ENDING` in a folder, by name.
    fn below<'a>(&'a self, folder: &'a Path, ending: &'a str) -> impl Iterator<Item = (&'a Path, &'a Result<Vec<u8>, String>)> {
        let is_it = move |at: &Path| at.parent() == Some(folder) && at.extension().is_some_and(|found| found == ending);
        self.files
            .iter()
            .filter(move |(at, _)| is_it(at))
            .map(|(at, read)| (at.as_path(), read))
    }

    pub(super) fn text(&self, at: &Path) -> Result<&str, String> {
        match self.files.get(at) {
            None => Ok(""),
            Some(Ok(bytes)) => {
                std::str::from_utf8(bytes).map_err(|_| format!("{}:1:1: the file is not UTF-8 text", self.shown(at)))
            }
            Some(Err(why)) => Err(format!("{}: {why}", self.shown(at))),
        }
    }

    /// A file by the name that crio.conf has for it; a node's `/etc/crio/policies` lies here by its last name. `usual`, where it names none.
    fn named(&self, written: Option<&str>, usual: &str) -> PathBuf {
        let Some(written) = written.filter(|written| !written.is_empty()) else {
            return PathBuf::from(usual);
        };
        let below = Path::new(written).strip_prefix("/").unwrap_or(Path::new(written));
        let is_here = |at: &Path| self.files.keys().any(|file| file.starts_with(at));
        if is_here(below) {
            return below.to_owned();
        }
        below
            .file_name()
            .map(PathBuf::from)
            .filter(|name| is_here(name))
            .unwrap_or_else(|| PathBuf::from(usual))
    }

    /// What the files come to. The errors name file, line and column.
    pub(super) fn parse(&self) -> Result<Parsed, Vec<String>> {
        let mut problems = self.problems.clone();
        let mut keep = |read: Result<(), String>| problems.extend(read.err());
        let crio_conf = self.crio_conf();
        let mut settings = CrioConf::default();
        keep(crio_conf.map(|read| settings = read));
        let mut registries = RegistriesConf::default();
        let (drop_ins, files) = self.registries();
        keep(self.registries_conf(&drop_ins).map(|read| registries = read));
        registries.tries_all = settings.short_name_mode.as_deref() == Some("disabled");

        let mut policy_of = |at: &Path, read: &Result<Vec<u8>, String>| -> Option<Arc<Policy>> {
            let parsed = read
                .as_ref()
                .map_err(|why| format!("{}: {why}", self.shown(at)))
                .and_then(|bytes| {
                    let wrong = |error: serde_json::Error| {
                        let text = error.to_string();
                        let suffix = format!(" at line {} column {}", error.line(), error.column());
                        let text = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
                        format!("{}:{}:{}: {text}", self.shown(at), error.line(), error.column())
                    };
                    Policy::parse(bytes).map_err(wrong)
                });
            match parsed {
                Ok(policy) => Some(Arc::new(policy)),
                Err(why) => {
                    keep(Err(why));
                    None
                }
            }
        };
        let at = self.named(settings.signature_policy.as_deref(), "policy.json");
        let policy = self.files.get(&at).and_then(|read| policy_of(&at, read));
        let folder = self.named(settings.signature_policy_dir.as_deref(), "policies");
        let policies = self.below(&folder, "json");
        let policies = policies
            .filter_map(|(at, read)| Some((stem(at)?, policy_of(at, read)?)))
            .collect();

        let mut credentials = Vec::new();
        let mut auth_of = |at: &Path, read: &Result<Vec<u8>, String>| -> Option<Arc<NodeAuth>> {
            let read = read.as_ref().map_err(|why| format!("{}: {why}", self.shown(at)));
            match read.and_then(|bytes| NodeAuth::parse(bytes).map_err(|why| format!("{}:{why}", self.shown(at)))) {
                Ok((auth, all)) => {
                    credentials.extend(all);
                    Some(Arc::new(auth))
                }
                Err(why) => {
                    problems.push(why);
                    None
                }
            }
        };
        let at = self.named(settings.global_auth_file.as_deref(), "auth.json");
        let auth = match self.files.get(&at) {
            Some(read) => auth_of(&at, read).unwrap_or_default(),
            // A node has one that is not here.
            None => Arc::new(NodeAuth {
                unknown: settings.global_auth_file.is_some_and(|file| !file.is_empty()),
                ..NodeAuth::default()
            }),
        };
        let folder = self.named(settings.namespaced_auth_dir.as_deref(), "auth");
        let auths = self.below(&folder, "json");
        let auths = auths.filter_map(|(at, read)| Some((stem(at)?, auth_of(at, read)?))).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Parsed {
            registries,
            policy,
            policies,
            auth,
            auths,
            credentials,
            certificates: self.certificates(),
            files,
        })
    }

    /// What CRI-O ignores in files that it can use, and what makes some pulls fail.
    pub(super) fn notes(&self, parsed: &Parsed) -> Vec<String> {
        let mut notes = Vec::new();
        let (drop_ins, _) = self.registries();
        for at in std::iter::once(self.main.as_path()).chain(drop_ins) {
            let unread = RegistriesConf::passed_over(self.text(at).unwrap_or_default());
            notes.extend(unread.iter().map(|note| format!("{}:{note}", self.shown(at))));
        }
        if let Ok(names) = self.names() {
            let own = parsed
                .auths
                .iter()
                .map(|(name, auth)| (names.auths.join(format!("{name}.json")), auth));
            for (at, auth) in own.chain([(names.auth.clone(), &parsed.auth)]) {
                let text = self.text(&at).unwrap_or_default();
                let documents = yaml::documents(text).documents;
                for (key, _) in auth.entries.iter().filter(|(_, entry)| entry.is_none()) {
                    let place = documents
                        .first()
                        .map(|document| document.place_of(&format!("auths[{key}].auth")));
                    let (line, column) = place.unwrap_or((1, 1));
                    notes.push(format!(
                        "{}:{line}:{column}: auth must be user:password in base64; every pull from {:?} fails",
                        self.shown(&at),
                        escape(key)
                    ));
                }
            }
        }
        for (host, certificates) in &parsed.certificates {
            if let Err(why) = certificates {
                notes.push(format!("{why}; every pull from {:?} fails", escape(host)));
            }
        }
        notes
    }

    /// Which of the files are those that `crio.conf` may name otherwise.
    pub(super) fn names(&self) -> Result<Names, Vec<String>> {
        let settings = self.crio_conf().map_err(|why| vec![why])?;
        Ok(Names {
            auth: self.named(settings.global_auth_file.as_deref(), "auth.json"),
            auths: self.named(settings.namespaced_auth_dir.as_deref(), "auth"),
            policy: self.named(settings.signature_policy.as_deref(), "policy.json"),
            policies: self.named(settings.signature_policy_dir.as_deref(), "policies"),
        })
    }

    /// The drop-ins in the order of their names, and all files as people see them.
    fn registries(&self) -> (Vec<&Path>, Vec<Arc<str>>) {
        let drop_ins: Vec<&Path> = self.below(Path::new(DROP_INS), "conf").map(|(at, _)| at).collect();
        let all = std::iter::once(self.main.as_path()).chain(drop_ins.iter().copied());
        let files = all.map(|at| Arc::from(self.shown(at))).collect();
        (drop_ins, files)
    }

    fn registries_conf(&self, drop_ins: &[&Path]) -> Result<RegistriesConf, String> {
        let main = self.text(&self.main)?;
        let texts = drop_ins
            .iter()
            .map(|at| self.text(at))
            .collect::<Result<Vec<&str>, String>>()?;
        RegistriesConf::parse(main, &texts).map_err(|invalid| {
            let at = invalid.drop_in.and_then(|at| drop_ins.get(at)).copied();
            format!("{}:{invalid}", self.shown(at.unwrap_or(&self.main)))
        })
    }

    fn crio_conf(&self) -> Result<CrioConf, String> {
        let mut conf = CrioConf::default();
        // CRI-O reads every file of the folder, whatever its ending.
        let any = self
            .files
            .keys()
            .map(PathBuf::as_path)
            .filter(|at| at.parent() == Some(Path::new("crio.conf.d")));
        for at in std::iter::once(Path::new("crio.conf")).chain(any) {
            let text = self.text(at)?;
            conf.add(text).map_err(|why| format!("{}:{why}", self.shown(at)))?;
        }
        Ok(conf)
    }

    /// `certs.d/HOST:PORT/`: `*.crt` are authorities, `*.cert` with `*.key` the client's.
    fn certificates(&self) -> BTreeMap<String, Result<Certificates, String>> {
        let mut hosts: BTreeMap<String, Result<Certificates, String>> = BTreeMap::new();
        for (at, read) in self.files.iter().filter(|(at, _)| at.starts_with("certs.d")) {
            let Some(host) = at
                .parent()
                .filter(|parent| parent.parent() == Some(Path::new("certs.d")))
                .and_then(Path::file_name)
            else {
                continue;
            };
            let Some(host) = host.to_str() else { continue };
            let ending = at.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let kept = hosts.entry(host.to_owned()).or_insert_with(|| Ok(Certificates::default()));
            let Ok(certificates) = kept else { continue };
            let content = |at: &Path, read: &Result<Vec<u8>, String>| match read {
                Ok(bytes) => Ok(bytes.clone()),
                Err(why) => Err(format!("{}: {why}", self.shown(at))),
            };
            let added = match ending {
                "crt" => content(at, read).map(|bytes| certificates.roots.push(bytes)),
                "cert" => content(at, read).and_then(|mut pem| {
                    let key = at.with_extension("key");
                    let missing = || format!("{}: its key is not there", self.shown(at));
                    let bytes = content(&key, self.files.get(&key).ok_or_else(missing)?)?;
                    pem.push(b'\n');
                    pem.extend(bytes);
                    certificates.identity.get_or_insert(pem);
                    Ok(())
                }),
                _ => Ok(()),
            };
            if let Err(why) = added {
                *kept = Err(why);
            }
        }
        hosts
    }
}

fn stem(at: &Path) -> Option<String> {
    at.file_stem()?.to_str().map(str::to_owned)
}

/// The contents of a file; `None` if it does not exist.
fn content(path: &Path) -> Option<Result<Vec<u8>, String>> {
    match files::read(path, limits::SETTINGS_FILE) {
        Ok(bytes) => Some(Ok(bytes)),
        Err(error) if ReadError::is_not_found(&error) => None,
        Err(error) => Some(Err(error.to_string())),
    }
}
