//! The kinds with pods, and where their pod specs are (pull-semantics 3.1 and 3.5): built-in kinds, popular custom kinds, and those
//! of the settings. Group and kind decide; versions are ignored.

mod document;
pub(super) mod site;
mod suggest;
mod table;

pub use document::document;
pub(super) use site::{About, Doubt, Shape, Site, When};
pub use suggest::{Suggested, suggest};

use super::candidates::Spread;
use super::keep::Keep;
use super::pod::{PodKind, Role};
use super::route::Route;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A kind of the settings (`workloads`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// The paths of its `PodSpec`s.
    pub pod_specs: Vec<Route>,
    /// The paths of bare image names. Without any path, those of the table apply.
    pub images: Vec<Route>,
    /// Whether it is namespaced; if unset, as in the table, or else namespaced.
    pub scope: Option<Scope>,
}

/// How certain it is that a kind is sent to the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Built into Kubernetes: always registered.
    BuiltIn,
    /// A custom kind of our table: judged if somebody has registered it, which may not be the case.
    Listed,
    /// A custom kind of the settings: assumed to be registered.
    Configured,
}

/// All kinds with pods. Immutable; built once from the settings.
#[derive(Debug, Clone)]
pub struct Kinds {
    by_name: HashMap<String, Vec<Kind>>,
    /// What is read of an object of any other kind.
    unknown: Keep,
}

/// One kind.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    group: String,
    pub(super) registration: Registration,
    pub(super) scope: Scope,
    pub(super) pod: PodKind,
    pub(super) sites: Vec<Site>,
    /// What is read of its objects; made when the first one comes.
    keep: OnceLock<Keep>,
}

/// Whether objects of a kind belong to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They are cluster-scoped.
    Cluster,
}

/// The settings only say where the image is, not how it is pulled.
const NAMED_IN_SETTINGS: [Doubt; 2] = [
    Doubt {
        about: About::Image,
        when: When::Always,
        why: "the controller of this kind may change the image",
    },
    Doubt {
        about: About::Credentials,
        when: When::Always,
        why: "it is not known which pull secrets the pods of this kind have",
    },
];

impl Default for Kinds {
    fn default() -> Self {
        Self::with(&[])
    }
}

/// Whether a text may be a kind: kinds begin with a capital letter, except for a few that are known here (`postgresql`).
pub fn is_kind(text: &str) -> bool {
    let capital = text.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
    text.bytes().all(|b| b.is_ascii_alphanumeric()) && (capital || Kinds::default().each().any(|(_, known)| known == text))
}

impl Kinds {
    /// The table, and the kinds of the settings; these replace the table's paths if they have their own.
    pub fn with(configured: &[Configured]) -> Self {
        let mut kinds = Self {
            by_name: HashMap::new(),
            unknown: Keep::unknown(),
        };
        for row in table::ROWS {
            for name in row.kinds {
                let sites = row.sites.iter().filter_map(|site| site.compile(row.within));
                let kind = kinds.entry(row.group, name);
                kind.registration = row.registration;
                kind.scope = row.scope;
                kind.pod = row.pod;
                kind.sites.extend(sites);
            }
        }
        for written in configured {
            let kind = kinds.entry(&written.group, &written.kind);
            if kind.registration == Registration::BuiltIn {
                continue;
            }
            kind.registration = Registration::Configured;
            kind.scope = written.scope.unwrap_or(kind.scope);
            let images = written.images.iter().map(|route| Site {
                also: Route::of("spec").into_iter().collect(),
                doubts: NAMED_IN_SETTINGS.to_vec(),
                ..Site::new(Route::default(), Shape::Images(vec![(route.clone(), Role::Container)]))
            });
            let pod_specs = written.pod_specs.iter().map(|route| Site::new(route.clone(), Shape::PodSpec));
            let sites: Vec<Site> = pod_specs.chain(images).collect();
            if !sites.is_empty() {
                kind.sites = sites;
            }
        }
        kinds
    }

    fn entry(&mut self, group: &str, name: &str) -> &mut Kind {
        let kinds = self.by_name.entry(name.to_owned()).or_default();
        let at = kinds.iter().position(|kind| kind.group == group).unwrap_or(kinds.len());
        if at == kinds.len() {
            kinds.push(Kind {
                group: group.to_owned(),
                registration: Registration::Listed,
                scope: Scope::Namespaced,
                pod: PodKind::Template,
                sites: Vec::new(),
                keep: OnceLock::new(),
            });
        }
        &mut kinds[at]
    }

    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        // In the core group, apiVersion is the version alone.
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.get(group, kind)
    }

    fn get(&self, group: &str, kind: &str) -> Option<&Kind> {
        self.by_name.get(kind)?.iter().find(|known| known.group == group)
    }

    /// What is read of an object of this kind.
    pub fn keep(&self, api_version: &str, kind: &str) -> &Keep {
        self.find(api_version, kind)
            .map_or(&self.unknown, |known| known.keep.get_or_init(|| Keep::of(&known.sites)))
    }

    /// Group and kind of each.
    pub fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        let kinds = self.by_name.iter();
        kinds.flat_map(|(name, groups)| groups.iter().map(|known| (known.group.as_str(), name.as_str())))
    }

    /// The group of the built-in kind that an object seems to mean, and its name, if it gives another group or another case: `apps/v1` `Pod`,
    /// `apps/v1` `deployment`. The API server has no such kind and refuses it. Custom kinds are in groups with a dot.
    pub fn meant(&self, api_version: &str, kind: &str) -> Option<(&str, &str)> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        if group.contains('.') || self.get(group, kind).is_some() {
            return None;
        }
        let (name, kinds) = self.by_name.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind))?;
        let built_in = kinds.iter().filter(|known| known.registration == Registration::BuiltIn);
        let groups = || built_in.clone().map(|known| known.group.as_str());
        let same = groups().find(|known| *known == group);
        Some((same.or_else(|| groups().next())?, name))
    }

    /// How certain it is that a kind is sent to the webhook; `None` if it is not judged.
    pub fn registration(&self, group: &str, kind: &str) -> Option<Registration> {
        self.get(group, kind).map(|known| known.registration)
    }

    /// Whether objects of this kind are certain to be judged, so that the objects they own need not be: built-in kinds and those of
    /// the settings (docs/decisions/0006).
    pub fn judged_for_sure(&self, api_version: &str, kind: &str) -> bool {
        self.find(api_version, kind).is_some_and(|kind| match kind.registration {
            Registration::BuiltIn | Registration::Configured => true,
            Registration::Listed => false,
        })
    }
}

impl Site {
    fn new(at: Route, shape: Shape) -> Self {
        Self {
            at,
            shape,
            also: Vec::new(),
            unless: None,
            spread: Spread::Some,
            doubts: Vec::new(),
            secrets: Vec::new(),
            account: None,
        }
    }
}

#[cfg(test)]
mod tests;
