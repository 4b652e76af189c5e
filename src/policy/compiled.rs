//! A checked policy, ready to be applied to images.

use super::dates;
use super::exempt_entry::Exemption;
use super::kinds::{built_in_kinds, kind};
use super::model::{self, API_VERSION, Exempt, ImagePolicySpec, KIND, Mode, Operator};
use super::names::{Registries, Tags, held, lower_host};
use super::quantity;
use super::schema;
use super::selector::{Alphabet, Glob, Selector};
use super::{Circumstances, Matching, Problem, Requester, Subject};
use crate::image::{Pattern, Platform, Reference, escape};
use crate::verdict::cause::Property;
use crate::verdict::decision::PolicyMessage;
use crate::verdict::{Cause, Outlook, Verdict};
use crate::workload::Kinds;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a policy was read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyLocation {
    /// A file, as shown to people: `policies/production.yaml:1`.
    File(String),
    /// The cluster.
    Cluster,
}

/// A policy that passed every check.
#[derive(Debug, Clone)]
pub struct Policy {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Where it was read from.
    pub location: PolicyLocation,
    pub(super) mode: Mode,
    pub(super) namespaces: Option<Vec<Glob>>,
    pub(super) selector: Option<Selector>,
    pub(super) excluded_namespaces: Vec<Glob>,
    pub(super) kinds: Option<Vec<String>>,
    pub(super) excluded_kinds: Vec<String>,
    pub(super) registries: Registries,
    pub(super) tags: Tags,
    pub(super) platforms: Option<Vec<Platform>>,
    pub(super) size_max: Option<u64>,
    pub(super) actions: Actions,
    pub(super) enforce_from: Option<Timestamp>,
    pub(super) exemptions: Vec<Exemption>,
    /// What its author says to users.
    pub(super) message: Option<Arc<PolicyMessage>>,
}

/// Days until something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysLeft {
    /// Until the policy is enforced, 0 where it is; `None` without `enforceFrom`.
    pub enforced: Option<i64>,
    /// Until the next exemption ends; `None` if none will.
    pub exemption: Option<i64>,
}

/// `actions`, by cause and by outlook.
#[derive(Debug, Clone, Default)]
pub(super) struct Actions {
    causes: BTreeMap<Cause, Verdict>,
    outlooks: BTreeMap<Outlook, Verdict>,
}

impl Actions {
    fn compile(written: &BTreeMap<String, Verdict>) -> Self {
        let find = |name: &str| written.get(name).copied();
        Self {
            causes: Cause::ALL
                .iter()
                .filter_map(|cause| Some((*cause, find(cause.name())?)))
                .collect(),
            outlooks: Outlook::ALL
                .iter()
                .filter_map(|outlook| Some((*outlook, find(outlook.name())?)))
                .collect(),
        }
    }

    /// The action for the cause, or else for the outlook, if one is set.
    pub(super) fn of(&self, cause: Cause, outlook: Outlook) -> Option<Verdict> {
        self.causes.get(&cause).copied().or_else(|| self.of_outlook(outlook))
    }

    /// The action for the outlook, if one is set.
    pub(super) fn of_outlook(&self, outlook: Outlook) -> Option<Verdict> {
        self.outlooks.get(&outlook).copied()
    }

    /// The causes with an action of their own.
    pub(super) fn causes(&self) -> impl Iterator<Item = Cause> {
        self.causes.keys().copied()
    }
}

impl Policy {
    /// Checks and compiles a policy; the error lists everything that is wrong with it. Policies may name the kinds known without settings.
    pub fn compile(object: &Value, location: PolicyLocation) -> Result<Self, Vec<Problem>> {
        Self::compile_with(object, location, built_in_kinds())
    }

    /// The same with the `kinds` of the settings, which a policy may name.
    pub fn compile_with(object: &Value, location: PolicyLocation, kinds: &Kinds) -> Result<Self, Vec<Problem>> {
        let kind = object.get("kind").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != KIND) {
            // For another kind, no other problem matters.
            return Err(envelope(object).into_iter().take(1).collect());
        }
        if !object.is_object() {
            return Err(schema::check(object));
        }
        let mut problems = envelope(object);
        problems.extend(schema::check(object));
        // Parts that the schema refuses are left out, so that problems in the rest are reported too.
        let sound = problems
            .iter()
            .fold(object.clone(), |object, problem| without(object, &problem.path));
        let spec = sound.get("spec").cloned();
        let spec = spec.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let policy = match serde_json::from_value::<ImagePolicySpec>(spec) {
            Ok(spec) => Reading { problems: Vec::new() }.policy(&name_of(object), location, &spec, kinds),
            Err(_) if !problems.is_empty() => return Err(problems),
            Err(error) => Err(vec![Problem::at("spec", error.to_string())]),
        };
        match policy {
            Ok(policy) if problems.is_empty() => Ok(policy),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                problems.sort_by(|a, b| a.path.cmp(&b.path));
                Err(problems)
            }
        }
    }

    /// Whether it depends on the kind of an object.
    pub(super) fn depends_on_kind(&self) -> bool {
        self.kinds.is_some() || !self.excluded_kinds.is_empty()
    }

    /// Its mode as written.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The mode in which it acts at a time: until `enforceFrom` it warns.
    pub fn mode_at(&self, now: Timestamp) -> Mode {
        match self.enforce_from {
            Some(from) if now < from => self.mode.min(Mode::Warn),
            Some(_) | None => self.mode,
        }
    }

    /// How many exemptions it has, whether they have ended or not.
    pub fn exemptions(&self) -> usize {
        let each = self.exemptions.iter();
        each.map(Exemption::len).sum()
    }

    /// How many days are left until it is enforced, and until the next of its exemptions ends.
    pub fn days_left(&self, now: Timestamp) -> DaysLeft {
        let running = self.exemptions.iter().filter(|exemption| !exemption.ended(now));
        let first = running.filter_map(|exemption| exemption.until).min();
        DaysLeft {
            enforced: self.enforce_from.map(|from| dates::days_left(from, now)),
            exemption: first.map(|until| dates::days_left(until, now)),
        }
    }

    /// What changes on which date, as clauses. Does not depend on the current time.
    pub fn schedule(&self) -> Vec<String> {
        let from = self.enforce_from.map(|from| {
            let from = dates::written(from);
            format!("it warns until {from} and is enforced from then")
        });
        let ends = self.exemptions.iter().filter_map(|exemption| {
            let reason = exemption
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            Some(format!(
                "{} ends at {}{reason}",
                exemption.path,
                dates::written(exemption.until?)
            ))
        });
        from.into_iter().chain(ends).collect()
    }

    /// Whether it sets platforms or a size limit.
    pub(super) fn demands(&self) -> bool {
        self.platforms.is_some() || self.size_max.is_some()
    }

    /// Whether a finding of this cause may break its platforms or its size limit.
    pub(super) fn rules_on(&self, cause: Cause) -> bool {
        (self.platforms.is_some() && cause.has(Property::BreaksPlatforms))
            || (self.size_max.is_some() && cause.has(Property::BreaksSize))
    }

    /// The places its allow list names: registry and path before the first wildcard.
    pub fn places(&self) -> impl Iterator<Item = String> {
        let allowed = self.registries.allow.iter().flatten();
        allowed
            .map(|pattern| pattern.prefix().join("/"))
            .filter(|place| !place.is_empty())
    }
}

/// Replaces a list entry that the schema refuses: no user can write it, and the other entries keep their index.
const GAP: &str = "\0";

/// The object without what is at `path`. A removed list entry leaves a placeholder.
fn without(mut object: Value, path: &str) -> Value {
    let (list, entry) = path.split_once('[').map_or((path, None), |(list, entry)| (list, Some(entry)));
    let Some(entry) = entry else {
        remove(&mut object, path);
        return object;
    };
    let at = entry.split_once(']').and_then(|(at, _)| at.parse::<usize>().ok());
    let pointer = format!("/{}", list.replace('.', "/"));
    match at.and_then(|at| object.pointer_mut(&pointer)?.get_mut(at)) {
        // Lists whose entries are objects.
        Some(entry) if list.ends_with(".entries") => *entry = json!({"reason": GAP}),
        Some(entry) if list.ends_with(".matchExpressions") => *entry = json!({"key": GAP, "operator": Operator::Exists}),
        Some(entry) => *entry = GAP.into(),
        None => remove(&mut object, list),
    }
    object
}

/// Removes what is at `path`, if it still exists.
fn remove(value: &mut Value, path: &str) {
    let Some(fields) = value.as_object_mut() else { return };
    // Keys may contain dots: the longest match wins.
    let fits = |key: &&String| {
        path.strip_prefix(key.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let Some(key) = fields.keys().filter(fits).max_by_key(|key| key.len()).cloned() else {
        return;
    };
    match path.get(key.len() + 1..) {
        Some(rest) => {
            if let Some(below) = fields.get_mut(&key) {
                remove(below, rest);
            }
        }
        None => {
            fields.remove(&key);
        }
    }
}

fn name_of(object: &Value) -> String {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

/// `apiVersion`, `kind` and `metadata.name`.
fn envelope(object: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("kind") != KIND {
        let text = match object.get("kind") {
            Some(Value::String(kind)) => format!("expected {KIND}, got {kind:?}"),
            Some(_) | None => format!("expected {KIND}"),
        };
        problems.push(Problem::at("kind", text));
    }
    if text("apiVersion") != API_VERSION {
        problems.push(Problem::at(
            "apiVersion",
            format!("expected {API_VERSION}, got {:?}", text("apiVersion")),
        ));
    }
    let name = name_of(object);
    let is_label = |label: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = label.as_bytes();
        edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| edge(Some(b)) || *b == b'-')
    };
    if name.is_empty() {
        problems.push(Problem::at("metadata.name", "a policy needs a name: messages refer to it"));
    } else if name.len() > 253 || !name.split('.').all(is_label) {
        problems.push(Problem::at(
            "metadata.name",
            format!("{name:?} is not a valid object name: use lower-case letters, digits, - and ."),
        ));
    }
    problems
}

/// Compiles a spec and collects problems.
struct Reading {
    problems: Vec<Problem>,
}

impl Reading {
    fn policy(
        mut self,
        name: &str,
        location: PolicyLocation,
        spec: &ImagePolicySpec,
        kinds: &Kinds,
    ) -> Result<Policy, Vec<Problem>> {
        // Destructured, so that a new field cannot be forgotten.
        let ImagePolicySpec {
            matches,
            registries,
            tags,
            platforms,
            size,
            actions,
            mode,
            enforce_from,
            message,
            link,
            exempt,
        } = spec;
        let enforce_from = enforce_from.as_ref().and_then(|text| self.date(text, "spec.enforceFrom"));
        if enforce_from.is_some() && *mode != Mode::Enforce {
            let text = format!(
                "it puts off mode: Enforce, and the mode is {}: leave out mode, or enforceFrom",
                mode.name()
            );
            self.problems.push(Problem::at_key("spec.enforceFrom", text));
        }
        let exemptions = self.exemptions(exempt, enforce_from);
        let registries = Registries {
            allow: registries
                .allow
                .as_ref()
                .map(|list| self.each(list, "spec.registries.allow", pattern)),
            deny: self.list(registries.deny.as_ref(), "spec.registries.deny", pattern),
        };
        // In lists with placeholders, indexes are not reliable.
        let gap = |list: &Option<Vec<String>>| list.iter().flatten().any(|text| text == GAP);
        let whole = self.problems.is_empty() && !gap(&spec.registries.allow);
        for dead in registries.contradicted().filter(|_| whole) {
            let text = format!("{:?} allows nothing: {}", dead.allow.as_str(), dead.why());
            self.problems
                .push(Problem::at(format!("spec.registries.allow[{}]", dead.at), text));
        }
        let policy = Policy {
            name: Arc::from(name),
            location,
            mode: *mode,
            namespaces: matches
                .namespaces
                .as_ref()
                .map(|list| self.each(list, "spec.match.namespaces", namespace)),
            selector: matches
                .namespace_selector
                .as_ref()
                .map(|selector| Selector::compile(selector, "spec.match.namespaceSelector", &mut self.problems)),
            excluded_namespaces: self.list(matches.exclude_namespaces.as_ref(), "spec.match.excludeNamespaces", namespace),
            kinds: matches
                .kinds
                .as_ref()
                .map(|list| self.each(list, "spec.match.kinds", |text| kind(text, kinds))),
            excluded_kinds: self.list(matches.exclude_kinds.as_ref(), "spec.match.excludeKinds", |text| {
                kind(text, kinds)
            }),
            registries,
            tags: Tags {
                deny: self.list(tags.deny.as_ref(), "spec.tags.deny", tag),
                require_digest: tags.require_digest.unwrap_or(false),
            },
            platforms: platforms
                .as_ref()
                .map(|list| self.each(list, "spec.platforms", Platform::parse)),
            size_max: size.max.as_ref().and_then(|text| match quantity::bytes(&text.to_string()) {
                Ok(bytes) => Some(bytes),
                Err(why) => {
                    self.problems.push(Problem::at("spec.size.max", why));
                    None
                }
            }),
            actions: Actions::compile(actions),
            enforce_from,
            exemptions,
            message: self.policy_message(message.as_deref(), link.as_deref()),
        };
        if self.problems.is_empty() {
            Ok(policy)
        } else {
            Err(self.problems)
        }
    }

    /// `exempt` and its entries.
    fn exemptions(&mut self, written: &Exempt, enforce_from: Option<Timestamp>) -> Vec<Exemption> {
        // Destructured, so that a new field cannot be forgotten.
        let Exempt {
            images,
            namespaces,
            users,
            groups,
            until,
            reason,
            entries,
        } = written.clone();
        let whole = model::Exemption {
            images,
            namespaces,
            users,
            groups,
            until,
            reason,
        };
        let mut all = Vec::new();
        if whole != model::Exemption::default() {
            all.push(self.exemption(&whole, "exempt".to_owned(), enforce_from));
        }
        for (at, entry) in entries.iter().flatten().enumerate() {
            all.push(self.exemption(entry, format!("exempt.entries[{at}]"), enforce_from));
        }
        all
    }

    fn exemption(&mut self, written: &model::Exemption, path: String, enforce_from: Option<Timestamp>) -> Exemption {
        let at = |field: &str| format!("spec.{path}.{field}");
        let model::Exemption {
            images,
            namespaces,
            users,
            groups,
            until,
            reason,
        } = written;
        let is_gap = reason.as_deref() == Some(GAP);
        let names_some = images.is_some() || namespaces.is_some() || users.is_some() || groups.is_some();
        if !names_some && !is_gap {
            self.problems.push(Problem::at(
                format!("spec.{path}"),
                "it names no images, namespaces, users or groups, and exempts nothing",
            ));
        }
        let end = until.as_ref().and_then(|text| self.date(text, &at("until")));
        if let (Some(end), Some(from)) = (end, enforce_from)
            && end < from
        {
            let text = format!(
                "it ends before the policy is enforced ({}), and so exempts from no denial",
                dates::written(from)
            );
            self.problems.push(Problem::at(at("until"), text));
        }
        Exemption {
            images: self.list(images.as_ref(), &at("images"), pattern),
            namespaces: self.list(namespaces.as_ref(), &at("namespaces"), namespace),
            users: self.list(users.as_ref(), &at("users"), person),
            groups: self.list(groups.as_ref(), &at("groups"), person),
            until: end,
            reason: reason.as_deref().map(|text| Arc::from(one_line(text))),
            path,
        }
    }

    fn date(&mut self, text: &str, path: &str) -> Option<Timestamp> {
        let read = dates::parse(text);
        read.map_err(|why| self.problems.push(Problem::at(path, why))).ok()
    }

    fn policy_message(&mut self, message: Option<&str>, link: Option<&str>) -> Option<Arc<PolicyMessage>> {
        let link = link.and_then(|text| match is_link(text) {
            Ok(()) => Some(text.to_owned()),
            Err(why) => {
                self.problems.push(Problem::at("spec.link", why));
                None
            }
        });
        let message = message.map(one_line).filter(|message| !message.is_empty());
        (message.is_some() || link.is_some()).then(|| Arc::new(PolicyMessage { message, link }))
    }

    fn each<T>(&mut self, list: &[String], path: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut read_each = |(at, text): (usize, &String)| match read(text) {
            _ if text == GAP => None,
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(Problem::at(format!("{path}[{at}]"), why));
                None
            }
        };
        list.iter().enumerate().filter_map(&mut read_each).collect()
    }

    fn list<T>(&mut self, list: Option<&Vec<String>>, path: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        list.map_or_else(Vec::new, |list| self.each(list, path, read))
    }
}

/// A pattern on normalised names. A plain name is normalised like an image: `nginx` is `docker.io/library/nginx`.
fn pattern(text: &str) -> Result<Pattern, String> {
    let lower = lower_host(text);
    Pattern::parse(&lower).or_else(|why| {
        let Some(name) = Reference::parse_plain(&lower).filter(|_| !text.contains('*')) else {
            // As its author wrote it.
            return Err(Pattern::parse(text).err().unwrap_or(why));
        };
        // A bare host would be a Docker Hub repository, which nobody means.
        let (host, port) = text.split_once(':').unwrap_or((text, "0"));
        let is_host = (host.contains('.') || host == "localhost") && port.bytes().all(|b| b.is_ascii_digit());
        if is_host && !text.contains('/') {
            return Err(format!(
                "{text:?} names no repository; for everything in that registry, write {text}/**"
            ));
        }
        if name.tag().is_some() || name.digest().is_some() {
            return Err(format!(
                "{text:?} has a tag or a digest; a pattern matches names only: {} (for tags, use tags.deny)",
                name.name()
            ));
        }
        Pattern::parse(&held(&name))
    })
}

/// An author's text on one line: white space becomes one space, and what does not print is escaped.
fn one_line(text: &str) -> String {
    escape(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The error is a clause for its author.
fn is_link(text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} is not a URL that people can open: write https://HOST/PATH");
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let plain = text.chars().all(|c| c.is_ascii_graphic());
    let web = matches!(url.scheme(), "http" | "https") && url.has_host() && text.contains("://");
    if !plain || !web {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a link that everybody is shown must not have a user name or password in it".to_owned());
    }
    Ok(())
}

fn namespace(text: &str) -> Result<Glob, String> {
    Glob::parse(text, Alphabet::Namespaces)
}

fn tag(text: &str) -> Result<Glob, String> {
    Glob::parse(text, Alphabet::Tags)
}

fn person(text: &str) -> Result<Glob, String> {
    Glob::parse(text, Alphabet::Names)
}

/// All policies in force, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct Policies(Vec<Arc<Policy>>);

impl Policies {
    /// These policies.
    ///
    /// Names are unique within one source only. If a file and the cluster use the same name, the cluster's policy is called
    /// `NAME (in the cluster)`, so that one does not vote for the other.
    pub fn new(mut policies: Vec<Arc<Policy>>) -> Self {
        policies.sort_by(|a, b| (&a.name, &a.location).cmp(&(&b.name, &b.location)));
        let taken: BTreeSet<Arc<str>> = policies
            .iter()
            .filter(|policy| policy.location != PolicyLocation::Cluster)
            .map(|policy| Arc::clone(&policy.name))
            .collect();
        for policy in &mut policies {
            if policy.location == PolicyLocation::Cluster && taken.contains(&policy.name) {
                let name = format!("{} (in the cluster)", policy.name);
                Arc::make_mut(policy).name = Arc::from(name);
            }
        }
        Self(policies)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any depends on the kind of an object.
    pub fn mind_kinds(&self) -> bool {
        self.iter().any(|policy| policy.depends_on_kind())
    }

    /// Whether there are none, so that the defaults apply.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policies that apply to an object, minus those that exempt the requester.
    pub fn matching(&self, subject: &Subject<'_>, requester: &Requester, circumstances: Circumstances<'_>) -> Matching {
        Matching::of(self.iter(), subject, requester, circumstances)
    }
}
