//! `registries.conf`, version 2, as CRI-O reads it (`pkg/sysregistriesv2` of containers/image): a value, and a pure reader of its texts.

use crate::image::{Reference, escape, is_domain};
use crate::runtime::crio::short_names;
use crate::yaml;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml::de::DeTable;
use toml::{Table, Value};

/// The merged contents of a node's `registries.conf` and its drop-ins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RegistriesConf {
    /// The `[[registry]]` entries in the order of their prefixes, each prefix once.
    pub registries: Vec<Registry>,
    /// `unqualified-search-registries`: `host[:port]`, put before names without a registry.
    pub search: Vec<String>,
    /// `[aliases]`: the full name of a repository by its short one.
    pub aliases: BTreeMap<String, String>,
    /// Where the search registries are written.
    pub search_at: Line,
    /// Where aliases are written.
    pub aliases_at: BTreeMap<String, Line>,
    /// crio.conf has `short_name_mode = "disabled"`: if there are several search registries, all are tried.
    pub tries_all: bool,
}

/// A line of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Line {
    /// 0 is the main file; the drop-ins follow in their order.
    pub file: usize,
    /// From 1; 0 if it is written nowhere.
    pub line: usize,
}

/// A `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Registry {
    /// The names that it applies to: `host[:port][/path]`, or `*.domain`.
    pub prefix: String,
    /// What replaces the prefix; empty if the name stays as it is (`*.domain` only).
    pub location: String,
    /// Plain HTTP is allowed, and certificates are not checked.
    pub insecure: bool,
    /// It must not be asked.
    pub blocked: bool,
    /// Its mirrors are asked for digests only.
    pub mirror_by_digest_only: bool,
    /// Asked before the registry itself, in order.
    pub mirrors: Vec<Mirror>,
    /// Where it is written.
    pub at: Line,
}

/// A mirror of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// What replaces the prefix.
    pub location: String,
    /// Plain HTTP is allowed, and certificates are not checked.
    pub insecure: bool,
    /// `pull-from-mirror`: what it is asked for.
    pub asked_for: AskedFor,
    /// Where it is written.
    pub at: Line,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedFor {
    /// Tags and digests.
    All,
    /// `digest-only`
    Digests,
    /// `tag-only`
    Tags,
}

/// Why CRI-O does not start with these files, or keeps its earlier settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Which drop-in; `None`: the main file.
    pub drop_in: Option<usize>,
    /// Line and column from 1, in characters.
    pub place: (usize, usize),
    /// One line.
    pub why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.place;
        write!(f, "{line}:{column}: {}", self.why)
    }
}

impl std::error::Error for Invalid {}

/// One file.
#[derive(Debug, Default)]
struct File {
    registries: Vec<Registry>,
    search: Option<Vec<String>>,
    search_at: Line,
    /// An empty value removes an earlier alias.
    aliases: BTreeMap<String, String>,
    aliases_at: BTreeMap<String, Line>,
}

/// What is wrong, and where: in a top-level key, in a `[[registry]]`, or in one of its mirrors.
#[derive(Debug)]
struct Wrong {
    key: &'static str,
    registry: Option<usize>,
    mirror: Option<usize>,
    /// A key of that entry, or an alias; empty for the entry as a whole.
    field: Cow<'static, str>,
    why: String,
}

/// The fault of a value: its key (empty if it is about the table as a whole), and why.
type Fault = (&'static str, String);

/// The known keys at the top of a file, in `[[registry]]`, in `[[registry.mirror]]`, and in `[registries]` of version 1.
const TOP: &[&str] = &[
    "registry",
    "unqualified-search-registries",
    "credential-helpers",
    "short-name-mode",
    "additional-layer-store-auth-helper",
    "aliases",
    "registries",
];
const ENTRY: &[&str] = &[
    "prefix",
    "location",
    "insecure",
    "blocked",
    "mirror-by-digest-only",
    "mirror",
    "pull-from-mirror",
];
const MIRROR: &[&str] = &["location", "insecure", "pull-from-mirror"];
const OLD: &[&str] = &["search", "insecure", "block"];

/// The positions of keys and entries in a file.
struct Places<'a> {
    text: &'a str,
    root: Option<DeTable<'a>>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text,
            root: DeTable::parse(text).ok().map(toml::Spanned::into_inner),
        }
    }

    fn span(&self, key: &str, registry: Option<usize>, mirror: Option<usize>) -> Option<Range<usize>> {
        self.span_of(key, registry, mirror, "")
    }

    /// The position of a key of an entry, if it is written there; otherwise that of the entry.
    fn span_of(&self, key: &str, registry: Option<usize>, mirror: Option<usize>, field: &str) -> Option<Range<usize>> {
        let root = self.root.as_ref()?;
        let find = |table: &DeTable<'a>, key: &str| {
            let exact = table.iter().find(|(name, _)| name.get_ref() == key);
            let any = || table.iter().find(|(name, _)| name.get_ref().eq_ignore_ascii_case(key));
            exact.or_else(any).map(|(name, value)| (name.span(), value.clone()))
        };
        let (at, value) = find(root, key)?;
        let Some(registry) = registry else { return Some(at) };
        let mut entry = value.get_ref().as_array()?.get(registry)?.clone();
        if let Some(mirror) = mirror {
            let (_, mirrors) = find(entry.get_ref().as_table()?, "mirror")?;
            entry = mirrors.get_ref().as_array()?.get(mirror)?.clone();
        }
        let field = entry.get_ref().as_table().and_then(|table| find(table, field));
        Some(field.map_or_else(|| entry.span(), |(at, _)| at))
    }

    /// The keys that containers/image ignores, with the known keys in their places.
    fn unknown(&self) -> Vec<(Range<usize>, String, &'static [&'static str])> {
        fn collect(
            table: &DeTable<'_>,
            known: &'static [&'static str],
            found: &mut Vec<(Range<usize>, String, &'static [&'static str])>,
        ) {
            for (key, value) in table {
                let name = key.get_ref();
                if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                    found.push((key.span(), name.to_string(), known));
                    continue;
                }
                let below = match name.to_ascii_lowercase().as_str() {
                    "registry" => ENTRY,
                    "mirror" => MIRROR,
                    "registries" if std::ptr::eq(known, TOP) => OLD,
                    "search" | "insecure" | "block" if std::ptr::eq(known, OLD) => &["registries"],
                    _ => continue,
                };
                let tables = value.get_ref().as_array().into_iter().flatten();
                for entry in tables
                    .filter_map(|entry| entry.get_ref().as_table())
                    .chain(value.get_ref().as_table())
                {
                    collect(entry, below, found);
                }
            }
        }
        let mut found = Vec::new();
        if let Some(root) = &self.root {
            collect(root, TOP, &mut found);
        }
        found.sort_by_key(|(span, _, _)| span.start);
        found
    }

    fn alias(&self, name: &str) -> Option<Range<usize>> {
        let (_, aliases) = self
            .root
            .as_ref()?
            .iter()
            .find(|(key, _)| key.get_ref().eq_ignore_ascii_case("aliases"))?;
        let (key, _) = aliases.get_ref().as_table()?.iter().find(|(key, _)| key.get_ref() == name)?;
        Some(key.span())
    }

    /// Line and column.
    fn place(&self, span: Option<Range<usize>>) -> (usize, usize) {
        let before = self.text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}

/// Makes a fault of this key.
fn of(key: &'static str) -> impl Fn(String) -> Wrong {
    move |why| Wrong {
        key,
        registry: None,
        mirror: None,
        field: Cow::Borrowed(""),
        why,
    }
}

impl RegistriesConf {
    /// Reads the main file (empty if there is none) and the drop-ins (`registries.conf.d/*.conf`, in the order of their names). A later
    /// entry replaces an earlier one with the same prefix, later search registries replace earlier ones.
    pub fn parse(main: &str, drop_ins: &[&str]) -> Result<Self, Invalid> {
        let mut merged: BTreeMap<String, Registry> = BTreeMap::new();
        let mut conf = Self::default();
        let files = std::iter::once((None, main)).chain(drop_ins.iter().enumerate().map(|(at, text)| (Some(at), *text)));
        for (drop_in, text) in files {
            let places = Places::of(text);
            let mut file = File::read(text, drop_in.is_none()).map_err(|wrong| Invalid {
                drop_in,
                place: match wrong.key {
                    // The text itself cannot be parsed.
                    "" => syntax(text),
                    "aliases" if !wrong.field.is_empty() => places.place(places.alias(&wrong.field)),
                    key => places.place(places.span_of(key, wrong.registry, wrong.mirror, &wrong.field)),
                },
                why: wrong.why,
            })?;
            file.locate(&places, drop_in.map_or(0, |at| at + 1));
            merged.extend(
                file.registries
                    .into_iter()
                    .map(|registry| (registry.prefix.clone(), registry)),
            );
            if let Some(search) = file.search {
                (conf.search, conf.search_at) = (search, file.search_at);
            }
            conf.aliases_at.extend(file.aliases_at);
            for (name, full) in file.aliases {
                if full.is_empty() {
                    conf.aliases.remove(&name);
                } else {
                    conf.aliases.insert(name, full);
                }
            }
        }
        conf.registries = merged.into_values().collect();
        Ok(conf)
    }

    /// The keys of one file that CRI-O ignores: line, column, and a clause.
    pub fn passed_over(text: &str) -> Vec<Invalid> {
        let places = Places::of(text);
        let unknown = places.unknown().into_iter();
        unknown
            .map(|(span, key, known)| Invalid {
                drop_in: None,
                place: places.place(Some(span)),
                why: format!("{}; CRI-O ignores it", yaml::unknown("key", &key, known)),
            })
            .collect()
    }

    /// The entry for a repository (`docker.io/library/app`): the one with the longest matching prefix (`FindRegistry`).
    pub(crate) fn find(&self, name: &str) -> Option<&Registry> {
        let matching = self.registries.iter().filter(|registry| registry.matches(name).is_some());
        matching.reduce(|longest, next| {
            if next.prefix.len() > longest.prefix.len() {
                next
            } else {
                longest
            }
        })
    }
}

impl Registry {
    /// How much of a name its prefix matches (`refMatchingPrefix`): up to a slash or a colon, so that `quay.test` matches
    /// `quay.test:8443/x`.
    pub(super) fn matches(&self, name: &str) -> Option<usize> {
        let end = match self.prefix.strip_prefix('*') {
            Some(domain) if domain.starts_with('.') => {
                let at = name.find(domain)?;
                name.get(..at).filter(|before| !before.contains('/'))?;
                at + domain.len()
            }
            Some(_) | None => name.starts_with(&self.prefix).then_some(self.prefix.len())?,
        };
        let rest = name.get(end..)?;
        (rest.is_empty() || rest.starts_with([':', '/', '@'])).then_some(end)
    }
}

impl File {
    /// Reads one file. Only the main one may have the old format (`[registries.search]`).
    fn read(text: &str, main: bool) -> Result<Self, Wrong> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| of("")(escape(error.message())))?;
        if let Some(old) = Old::read(&table).map_err(of("registries"))? {
            if !main {
                return Err(of("registries")("registry must be in v2 format but is in v1".to_owned()));
            }
            let mut new = TOP.iter().filter(|key| **key != "registries");
            if new.any(|key| get(&table, key).is_some()) {
                return Err(of("registries")("mixing sysregistry v1/v2 is not supported".to_owned()));
            }
            return old.file();
        }
        let mut registries = Vec::new();
        for (at, entry) in tables(&table, "registry").map_err(of("registry"))?.into_iter().enumerate() {
            registries.push(Registry::read(entry, at)?);
        }
        let search = texts(&table, "unqualified-search-registries").map_err(of("unqualified-search-registries"))?;
        texts(&table, "credential-helpers").map_err(of("credential-helpers"))?;
        text_of(&table, "additional-layer-store-auth-helper").map_err(|(key, why)| of(key)(why))?;
        // CRI-O does not use it, but rejects an invalid one.
        let mode = text_of(&table, "short-name-mode").map_err(|(key, why)| of(key)(why))?;
        if !["", "disabled", "enforcing", "permissive"].contains(&mode) {
            return Err(of("short-name-mode")(format!(
                "invalid short-name mode: \"{}\"",
                escape(mode)
            )));
        }
        let mut aliases = BTreeMap::new();
        if let Some(written) = get(&table, "aliases") {
            let written = written
                .as_table()
                .ok_or_else(|| of("aliases")("aliases must be a table".to_owned()))?;
            for (name, full) in written {
                let wrong = |why: String| Wrong {
                    field: Cow::Owned(name.clone()),
                    ..of("aliases")(why)
                };
                let full = full.as_str().ok_or_else(|| wrong("an alias must be text".to_owned()))?;
                aliases.insert(name.clone(), alias(name, full).map_err(wrong)?);
            }
        }
        Self {
            registries,
            search,
            aliases,
            ..Self::default()
        }
        .checked()
    }

    /// Notes where things are written.
    fn locate(&mut self, places: &Places<'_>, file: usize) {
        let line = |span: Option<Range<usize>>| Line {
            file,
            line: span.map_or(0, |span| places.place(Some(span)).0),
        };
        for registry in &mut self.registries {
            let at = registry.at.line;
            // Until now it held the number of the entry, from 1.
            let nth = at.checked_sub(1);
            registry.at = line(nth.and_then(|nth| places.span("registry", Some(nth), None)));
            for (mirror_nth, mirror) in registry.mirrors.iter_mut().enumerate() {
                mirror.at = line(nth.and_then(|nth| places.span("registry", Some(nth), Some(mirror_nth))));
            }
        }
        self.search_at = line(
            places
                .span("unqualified-search-registries", None, None)
                .or_else(|| places.span("registries", None, None)),
        );
        for name in self.aliases.keys() {
            self.aliases_at.insert(name.clone(), line(places.alias(name)));
        }
    }

    /// The checks over all entries of one file (`postProcessRegistries`). Of two entries with the same prefix, the first counts.
    fn checked(mut self) -> Result<Self, Wrong> {
        for (at, one) in self.registries.iter().enumerate() {
            let place = |registry: &Registry| {
                if registry.location.is_empty() {
                    registry.prefix.clone()
                } else {
                    registry.location.clone()
                }
            };
            for other in self.registries.iter().skip(at + 1).filter(|other| place(other) == place(one)) {
                let conflict = [
                    ("insecure", one.insecure, other.insecure),
                    ("blocked", one.blocked, other.blocked),
                ];
                if let Some((setting, _, _)) = conflict.iter().find(|(_, one, other)| one != other) {
                    let location = escape(&one.location);
                    return Err(Wrong {
                        key: "registry",
                        registry: other.at.line.checked_sub(1),
                        mirror: None,
                        field: Cow::Borrowed(""),
                        why: format!("registry '{location}' is defined multiple times with conflicting '{setting}' setting"),
                    });
                }
            }
        }
        let mut seen = BTreeMap::new();
        for registry in std::mem::take(&mut self.registries) {
            seen.entry(registry.prefix.clone()).or_insert(registry);
        }
        self.registries = seen.into_values().collect();
        let wrong = of("unqualified-search-registries");
        for registry in self.search.iter_mut().flatten() {
            *registry = location(registry).map_err(&wrong)?;
            if !is_domain(registry) || registry.starts_with('[') {
                let entry = escape(registry);
                return Err(wrong(format!("invalid unqualified-search-registries entry \"{entry}\"")));
            }
        }
        Ok(self)
    }
}

impl Registry {
    /// The entry at this position, counted from 0.
    fn read(table: &Table, at: usize) -> Result<Self, Wrong> {
        let wrong = |(field, why): Fault| Wrong {
            key: "registry",
            registry: Some(at),
            mirror: None,
            field: Cow::Borrowed(field),
            why,
        };
        let mut registry = Self::of(table).map_err(wrong)?;
        registry.at.line = at + 1;
        let mirrors = tables(table, "mirror").map_err(|why| wrong(("mirror", why)))?;
        for (nth, mirror) in mirrors.into_iter().enumerate() {
            let mirror = registry.mirror(mirror).map_err(|fault| Wrong {
                mirror: Some(nth),
                ..wrong(fault)
            })?;
            registry.mirrors.push(mirror);
        }
        Ok(registry)
    }

    fn of(table: &Table) -> Result<Self, Fault> {
        let place = |key: &'static str| location(text_of(table, key)?).map_err(|why| (key, why));
        let whole = |why: &str| Err(("", why.to_owned()));
        let mut registry = Self {
            prefix: place("prefix")?,
            location: place("location")?,
            insecure: truth(table, "insecure")?,
            blocked: truth(table, "blocked")?,
            mirror_by_digest_only: truth(table, "mirror-by-digest-only")?,
            mirrors: Vec::new(),
            at: Line::default(),
        };
        if registry.prefix.is_empty() {
            registry.prefix.clone_from(&registry.location);
        }
        if registry.prefix.is_empty() {
            return whole("invalid condition: both location and prefix are unset");
        }
        let prefix = escape(&registry.prefix);
        if registry.prefix.starts_with("*.") {
            if registry.prefix.contains(['/', '@', ':']) {
                let why = format!("a prefix with a wildcard should be in the format *.example.com, and \"{prefix}\" is not");
                return Err(("prefix", why));
            }
        } else if registry.location.is_empty() {
            return whole("invalid condition: location is unset and prefix is not in the format: *.example.com");
        }
        if !text_of(table, "pull-from-mirror")?.is_empty() {
            let why = format!("pull-from-mirror must not be set for a non-mirror registry \"{prefix}\"");
            return Err(("pull-from-mirror", why));
        }
        Ok(registry)
    }

    fn mirror(&self, mirror: &Table) -> Result<Mirror, Fault> {
        let prefix = escape(&self.prefix);
        let at = location(text_of(mirror, "location")?).map_err(|why| ("location", why))?;
        if at.is_empty() {
            return Err(("location", "invalid condition: mirror location is unset".to_owned()));
        }
        let asked_for = text_of(mirror, "pull-from-mirror")?;
        if self.mirror_by_digest_only && !asked_for.is_empty() {
            let why = format!(
                "cannot set mirror usage mirror-by-digest-only for the registry (\"{prefix}\") and pull-from-mirror for per-mirror \
                 (\"{}\") at the same time",
                escape(&at)
            );
            return Err(("pull-from-mirror", why));
        }
        Ok(Mirror {
            asked_for: match asked_for {
                "" | "all" => AskedFor::All,
                "digest-only" => AskedFor::Digests,
                "tag-only" => AskedFor::Tags,
                other => {
                    let (other, at) = (escape(other), escape(&at));
                    let why = format!("unsupported pull-from-mirror value \"{other}\" for mirror \"{at}\"");
                    return Err(("pull-from-mirror", why));
                }
            },
            location: at,
            insecure: truth(mirror, "insecure")?,
            at: Line::default(),
        })
    }
}

/// The format of version 1: lists of hosts.
struct Old {
    search: Option<Vec<String>>,
    insecure: Option<Vec<String>>,
    block: Option<Vec<String>>,
}

impl Old {
    fn read(table: &Table) -> Result<Option<Self>, String> {
        let Some(all) = get(table, "registries") else {
            return Ok(None);
        };
        let all = all.as_table().ok_or("registries must be a table")?;
        let list = |name: &str| match get(all, name) {
            None => Ok(None),
            Some(list) => texts(
                list.as_table().ok_or_else(|| format!("registries.{name} must be a table"))?,
                "registries",
            ),
        };
        let old = Self {
            search: list("search")?,
            insecure: list("insecure")?,
            block: list("block")?,
        };
        let is_set = old.search.is_some() || old.insecure.is_some() || old.block.is_some();
        Ok(is_set.then_some(old))
    }

    fn file(self) -> Result<File, Wrong> {
        let mut registries: BTreeMap<String, Registry> = BTreeMap::new();
        let lists = [(self.block, true), (self.insecure, false)];
        for (host, blocks) in lists
            .into_iter()
            .flat_map(|(list, blocks)| list.into_iter().flatten().map(move |host| (host, blocks)))
        {
            let host = location(&host).map_err(of("registries"))?;
            let registry = registries.entry(host.clone()).or_insert_with(|| Registry {
                prefix: host.clone(),
                location: host,
                ..Registry::default()
            });
            registry.blocked |= blocks;
            registry.insecure |= !blocks;
        }
        let file = File {
            registries: registries.into_values().collect(),
            search: self.search,
            ..File::default()
        };
        file.checked()
    }
}

/// Line and column of a syntax error.
fn syntax(text: &str) -> (usize, usize) {
    let error = text.parse::<Table>().err();
    Places { text, root: None }.place(error.and_then(|error| error.span()))
}

/// `parseLocation`: strips trailing slashes, and refuses a scheme.
fn location(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.starts_with("http://") || trimmed.starts_with("https://") {
        return Err(format!("invalid location '{}': URI schemes are not supported", escape(text)));
    }
    Ok(trimmed.to_owned())
}

/// The full name that an alias stands for; empty if it removes one.
fn alias(name: &str, full: &str) -> Result<String, String> {
    let path = name
        .split_once('/')
        .filter(|(first, _)| is_domain(first))
        .map_or(name, |(_, path)| path);
    let is_path = Reference::parse(&format!("registry.example/{path}")).is_ok_and(|one| one.path() == path);
    if short_names::written(name) != Some(name) || !is_path {
        return Err(format!("invalid short name \"{}\"", escape(name)));
    }
    if full.is_empty() {
        return Ok(String::new());
    }
    let bare = |one: &Reference| one.tag().is_none() && one.digest().is_none();
    let reference = Reference::parse(full)
        .ok()
        .filter(|one| bare(one) && short_names::written(full).is_none());
    let reference = reference.ok_or_else(|| format!("invalid alias \"{}\": must contain registry and repository", escape(full)))?;
    Ok(reference.name())
}

/// A value by its key. If no key matches exactly, case is ignored (as in `BurntSushi/toml`).
fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    table.get(key).or_else(|| {
        let similar = table.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
        similar.map(|(_, value)| value)
    })
}

fn text_of<'a>(table: &'a Table, key: &'static str) -> Result<&'a str, Fault> {
    get(table, key).map_or(Ok(""), |value| {
        value.as_str().ok_or_else(|| (key, format!("{key} must be text")))
    })
}

fn truth(table: &Table, key: &'static str) -> Result<bool, Fault> {
    get(table, key).map_or(Ok(false), |value| {
        value.as_bool().ok_or_else(|| (key, format!("{key} must be true or false")))
    })
}

fn texts(table: &Table, key: &str) -> Result<Option<Vec<String>>, String> {
    let wrong = || format!("{key} must be a list of texts");
    let Some(value) = get(table, key) else {
        return Ok(None);
    };
    let list = value.as_array().ok_or_else(wrong)?;
    let texts = list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong));
    texts.collect::<Result<_, _>>().map(Some)
}

fn tables<'a>(table: &'a Table, key: &str) -> Result<Vec<&'a Table>, String> {
    let wrong = || format!("{key} must be a list of tables");
    let Some(value) = get(table, key) else {
        return Ok(Vec::new());
    };
    let list = value.as_array().ok_or_else(wrong)?;
    list.iter().map(|one| one.as_table().ok_or_else(wrong)).collect()
}

#[cfg(test)]
#[path = "registries_conf_tests.rs"]
mod tests;
