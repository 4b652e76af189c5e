//! `hosts.toml` trees and k3s' `registries.yaml`, explained to people.

use super::folder::{Folder, HOSTS, Meaning};
use super::k3s::K3s;
use crate::image::{Reference, Target, escape};
use crate::registry::K3sFile;
use crate::registry::show_section::{Section, place};
use crate::runtime::containerd::hosts::{Host, Schemes, contacted, is_loopback};
use crate::runtime::containerd::hosts_toml::{DEFAULT_FOLDER, File, Files, Line};
use crate::runtime::containerd::k3s::{ALL, Registries};
use crate::runtime::containerd::peers::{Latest, Shared, may_be_shared};
use crate::runtime::containerd::rewrites::Rewrites;
use crate::runtime::containerd::{Containerd, Fork};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

const OTHERS: &str = "every other registry";

/// By trees, the first that has a folder for a registry wins.
pub(in crate::registry) fn by_trees(roots: &[PathBuf], by: Containerd) -> Vec<Section> {
    let mut folders: BTreeMap<(bool, String), PathBuf> = BTreeMap::new();
    let mut sections = Vec::new();
    for root in roots {
        let entries = match std::fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) => {
                let why = format!("the folder cannot be read: {error}");
                sections.push(Section::new(root.display().to_string(), None).with(why));
                continue;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let Some(name) = path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            folders.entry((name == DEFAULT_FOLDER, registry(name))).or_insert(path);
        }
    }
    for ((others, name), path) in folders {
        let title = if others { OTHERS } else { &name };
        let folder = Folder::read(path);
        sections.push(section(title, &folder, by));
    }
    sections.extend(the_rest(&sections));
    sections
}

/// A registry that no section is about.
fn the_rest(sections: &[Section]) -> Option<Section> {
    let known = sections.iter().any(|section| section.title == OTHERS);
    let title = if sections.is_empty() { "every registry" } else { OTHERS };
    (!known).then(|| Section::new(title, None).with("1. the registry itself; credential: the pod's"))
}

/// `localhost_5000_` is `localhost:5000`.
fn registry(folder: &str) -> String {
    let underlined = folder.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    match underlined {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => format!("{host}:{port}"),
        Some(_) | None => folder.to_owned(),
    }
}

/// The same for one image.
pub(in crate::registry) fn image_by_trees(roots: &[PathBuf], by: Containerd, image: &Reference) -> Section {
    let Some(folder) = Folder::find(roots, image.registry()) else {
        return itself(image, None, "", "the pod's");
    };
    let path = folder.path.join(HOSTS);
    let (file, beside) = in_force(&folder, by);
    let mut section = Section::new(escape(&image.to_string()), Some(path.display().to_string()));
    match (file, beside) {
        (Some(file), _) => {
            let lines = lines(file, by);
            for line in &lines {
                let at = (line.at > 0).then(|| place(path.display(), line.at));
                asks(&mut section, line, image, "the pod's".to_owned(), at);
            }
            if !lines.iter().any(is_server(file)) {
                section.row(NO_SERVER, None);
            }
        }
        (None, Some(files)) => return itself(image, Some(folder.path.display().to_string()), &tls(files), "the pod's"),
        (None, None) => section.row(format!("not known: {}", folder.problem().unwrap_or_default()), None),
    }
    section
}

const NO_SERVER: &str = "the registry itself is not asked: there is no server line (k3s)";

/// An image for which only its own registry is asked.
fn itself(image: &Reference, at: Option<String>, notes: &str, credential: &str) -> Section {
    let mut section = Section::new(escape(&image.to_string()), at);
    let (base, path) = own(image.registry());
    section.asks(
        vec![url(&base, path, image.repository(), image)],
        notes,
        credential.to_owned(),
        None,
    );
    section
}

/// The address of a registry itself, and the path of its API.
fn own(registry: &str) -> (String, &'static str) {
    let base = match Host::of_registry(registry).server {
        Some(server) if server.schemes == Schemes::Http => server.http.to_string(),
        Some(server) => server.https.to_string(),
        None => format!("https://{registry}"),
    };
    (base, "/v2")
}

fn url(base: &str, path: &str, repository: &str, image: &Reference) -> String {
    let target = match image.target() {
        Target::Tag(tag) => tag,
        Target::Digest(digest) => digest.to_string(),
    };
    format!("{base}{}/{repository}/manifests/{target}", path.trim_end_matches('/'))
}

/// What a host is asked for an image, if it is.
fn asks(section: &mut Section, line: &Line, image: &Reference, credential: String, at: Option<String>) {
    let (base, path) = match &line.written {
        Some(written) if !written.authority.is_empty() => (
            format!("{}://{}", written.scheme.name(), written.authority),
            written.path.as_str(),
        ),
        Some(_) | None => own(image.registry()),
    };
    let by_tag = matches!(image.target(), Target::Tag(_));
    if line.written.is_some() && !(line.pull && (line.resolve || !by_tag)) {
        let (base, target) = (escape(&base), if by_tag { "tag" } else { "digest" });
        section.row(format!("{base} is not asked for a {target}: it lacks capabilities"), at);
        return;
    }
    let repository = image.repository();
    let names = match Rewrites::new(line.rewrites.clone()) {
        Ok(rewrites) => rewrites.names(repository).into_iter().map(Cow::into_owned).collect(),
        Err(_) => vec![repository.to_owned()],
    };
    let mut notes = tls(&line.tls);
    if names.iter().any(|name| name != repository) {
        notes.push_str(", rewritten");
    }
    let all = names.iter().map(|name| url(&base, path, name, image)).collect();
    section.asks(all, &notes, credential, at);
}

/// What counts of a folder for this containerd: its file, or the certificates.
fn in_force(folder: &Folder, by: Containerd) -> (Option<&File>, Option<&Files>) {
    let old = by.version.reads_hosts_as_1_x();
    match &folder.meaning {
        Meaning::File { beside: Some(files), .. } if old => (None, Some(files)),
        Meaning::File { file, .. } => (Some(file), None),
        Meaning::Older { file, .. } if old => (Some(file), None),
        Meaning::Older { beside, .. } | Meaning::Certificates(beside) => (None, Some(beside)),
        Meaning::Unreadable(_) => (None, None),
    }
}

/// The hosts of a file, as this runtime reads them.
fn lines(file: &File, by: Containerd) -> Vec<Line> {
    if reads_as_k3s(file, by) {
        file.lines_of_k3s()
    } else {
        file.lines()
    }
}

fn section(title: &str, folder: &Folder, by: Containerd) -> Section {
    let path = folder.path.join(HOSTS);
    let at = |line: usize| place(path.display(), line);
    let (file, beside) = in_force(folder, by);
    let mut section = Section::new(title, file.map(|_| at(0)).or_else(|| Some(folder.path.display().to_string())));
    match (file, beside) {
        (Some(file), _) => {
            let lines = lines(file, by);
            for (number, line) in (1..).zip(&lines) {
                let text = format!("{number}. {}; credential: the pod's", host(line));
                section.row(text, (line.at > 0).then(|| at(line.at)));
            }
            if !lines.iter().any(is_server(file)) {
                section.row(NO_SERVER, None);
            }
        }
        (None, Some(files)) => {
            if let Some(problem) = folder.problem() {
                section.row(format!("hosts.toml is not used: {problem}"), None);
            }
            let tls = tls(files);
            section.row(format!("1. the registry itself{tls}; credential: the pod's"), None);
        }
        (None, None) => section.row(format!("not known: {}", folder.problem().unwrap_or_default()), None),
    }
    section
}

/// The server's line comes last, whether it is written or not.
fn is_server(file: &File) -> impl Fn(&Line) -> bool {
    let server = file.server.clone();
    move |line| line.written == server.written && line.at == server.at
}

fn reads_as_k3s(file: &File, by: Containerd) -> bool {
    let rewrites = || file.hosts.iter().any(|line| !line.rewrites.is_empty());
    file.by_k3s || by.fork == Fork::K3s || (by.fork == Fork::Unknown && rewrites())
}

/// A host with everything that is special about it.
fn host(line: &Line) -> String {
    let mut text = match &line.written {
        Some(at) if at.authority.is_empty() => "the registry itself".to_owned(),
        Some(at) => format!("{}://{}{}", at.scheme.name(), escape(&at.authority), escape(&at.path)),
        None => "the registry itself".to_owned(),
    };
    match (line.pull, line.resolve) {
        (true, true) => {}
        (true, false) => text.push_str(", for content and digests only"),
        (false, true) => text.push_str(", for what tags stand for only"),
        (false, false) => text.push_str(", never asked: it has neither pull nor resolve"),
    }
    text.push_str(&tls(&line.tls));
    if !line.headers.is_empty() {
        let names: Vec<&str> = line.headers.keys().map(http::HeaderName::as_str).collect();
        let _ = write!(text, ", with header {}", names.join(", "));
    }
    for (pattern, replacement) in &line.rewrites {
        let _ = write!(text, ", rewrites \"{}\" to \"{}\"", escape(pattern), escape(replacement));
    }
    text
}

fn tls(files: &Files) -> String {
    let mut text = String::new();
    if files.skip_verify == Some(true) {
        text.push_str(", certificate not checked");
    }
    for ca in files.ca.iter().flatten() {
        let _ = write!(text, ", ca {}", escape(ca));
    }
    for (certificate, _) in files.client.iter().flatten() {
        let _ = write!(text, ", client certificate {}", escape(certificate));
    }
    text
}

/// By a `registries.yaml`. The error has the place of its fault.
pub(in crate::registry) fn by_k3s(file: &K3sFile, by: Containerd) -> Result<Vec<Section>, Vec<String>> {
    let registries = K3s::new(file.clone()).read().map_err(|why| vec![why])?;
    let tree = registries.tree(file.default_endpoint);
    let mut all: Vec<(&String, &File)> = tree.iter().collect();
    all.sort_by_key(|(name, _)| (name.as_str() == DEFAULT_FOLDER, name.as_str()));
    let mut sections: Vec<Section> = all
        .into_iter()
        .map(|(name, made)| {
            let title = if name == DEFAULT_FOLDER { OTHERS } else { name.as_str() };
            from_k3s(title, name, made, &registries, file, by)
        })
        .collect();
    let shared = registries.shared(file.default_endpoint);
    for name in shared
        .mirrors
        .iter()
        .filter(|name| !tree.contains_key(folder_of(name)) && !is_loopback(name))
    {
        let title = if name == ALL { OTHERS } else { name };
        let at = Some(place(file.path.display(), registries.line_of(name)));
        let mut section = Section::new(title, at).with("1. the registry itself; credential: the pod's");
        peers(&mut section, &shared, name);
        sections.push(section);
    }
    sections.sort_by(|one, other| (one.title == OTHERS, &one.title).cmp(&(other.title == OTHERS, &other.title)));
    sections.extend(the_rest(&sections));
    for note in &registries.notes {
        let mut section = Section::new("without effect", Some(place(file.path.display(), note.place().0)));
        section.row(note.to_string(), None);
        sections.push(section);
    }
    Ok(sections)
}

fn folder_of(registry: &str) -> &str {
    if registry == ALL { DEFAULT_FOLDER } else { registry }
}

/// Whether other nodes are asked for a registry's images.
fn peers(section: &mut Section, shared: &Shared, registry: &str) {
    const WHERE: &str = "where the node has the embedded registry (label p2p.k3s.cattle.io/enabled)";
    if is_loopback(registry) || !shared.has(registry) {
        return;
    }
    section.row(
        if shared.has_only_peers(registry) {
            format!("instead, other nodes alone, {WHERE}: disableDefaultEndpoint")
        } else {
            format!("before all of them, other nodes, {WHERE}")
        },
        None,
    );
}

/// By a `registries.yaml`, for one image. The error has the place of its fault.
pub(in crate::registry) fn image_by_k3s(yaml: &K3sFile, by: Containerd, image: &Reference) -> Result<Section, Vec<String>> {
    let registries = K3s::new(yaml.clone()).read().map_err(|why| vec![why])?;
    let registry = image.registry();
    let mut tree = registries.tree(yaml.default_endpoint);
    let (key, file) = match tree.remove(registry) {
        Some(file) => (registry, Some(file)),
        None => (ALL, tree.remove(DEFAULT_FOLDER)),
    };
    let credential = |host: &str| match registries.credential_at(host) {
        Some((key, on)) => format!("the pod's, else that of configs[\"{}\"] in line {on}", escape(key)),
        None => "the pod's".to_owned(),
    };
    let at = |line: usize| (line > 0).then(|| place(yaml.path.display(), line));
    let mut section = match file {
        None => itself(image, None, "", &credential(contacted(registry))),
        Some(file) => {
            let mut section = Section::new(escape(&image.to_string()), at(registries.line_of(key)));
            let is_k3s = by.fork != Fork::Upstream;
            let lines = if is_k3s { file.lines_of_k3s() } else { file.lines() };
            for line in &lines {
                let host = line.written.as_ref().map(|written| written.authority.as_str());
                let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| contacted(registry));
                asks(&mut section, line, image, credential(host), at(line.at));
            }
            if is_k3s && !lines.iter().any(is_server(&file)) {
                section.row("the registry itself is not asked (disableDefaultEndpoint)", None);
            }
            section
        }
    };
    if may_be_shared(image, Latest::Own) {
        peers(&mut section, &registries.shared(yaml.default_endpoint), registry);
    }
    Ok(section)
}

fn from_k3s(title: &str, registry: &str, file: &File, all: &Registries, yaml: &K3sFile, by: Containerd) -> Section {
    let at = |line: usize| (line > 0).then(|| place(yaml.path.display(), line));
    let mut section = Section::new(title, at(all.line_of(registry)));
    let is_k3s = by.fork != Fork::Upstream;
    let lines = if is_k3s { file.lines_of_k3s() } else { file.lines() };
    for (number, line) in (1..).zip(&lines) {
        let name = line.written.as_ref().map_or(registry, |written| written.authority.as_str());
        let own = all.credential_at(name);
        let credential = own.map_or_else(String::new, |(key, on)| {
            format!(", else that of configs[\"{}\"] in line {on}", escape(key))
        });
        let text = format!("{number}. {}; credential: the pod's{credential}", host(line));
        section.row(text, at(line.at));
    }
    if is_k3s && !lines.iter().any(is_server(file)) {
        section.row("the registry itself is not asked (disableDefaultEndpoint)", None);
    }
    let known = if registry == DEFAULT_FOLDER { ALL } else { registry };
    peers(&mut section, &all.shared(yaml.default_endpoint), known);
    section
}
