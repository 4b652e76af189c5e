//! Which kinds carry pods, and where (pull-semantics 3.1 and 3.5): those of Kubernetes itself, the popular custom ones, and those that
//! the settings name. Group and kind decide; versions are not looked at.

mod table;

use super::candidates::Spread;
use super::pod::{PodKind, Role};
use super::route::Route;
use std::collections::HashMap;

/// A kind of the settings (`workloads`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Where its `PodSpec`s are.
    pub pod_specs: Vec<Route>,
    /// Where plain image names are. Without these and `PodSpec`s, those of the table hold.
    pub images: Vec<Route>,
    /// Whether its objects have a namespace; unsaid, what the table says, else they have.
    pub scope: Option<Scope>,
}

/// On whose word a kind is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A kind of Kubernetes itself: always registered.
    BuiltIn,
    /// A custom kind of our table: judged where somebody registers it. Nobody may have.
    Listed,
    /// A custom kind that the settings name: its registration is on their word.
    Configured,
}

/// All kinds that carry pods. Immutable; made once for the settings.
#[derive(Debug, Clone)]
pub struct Kinds(HashMap<String, Vec<Kind>>);

/// One kind.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    group: String,
    pub(super) standing: Standing,
    pub(super) scope: Scope,
    pub(super) pod: PodKind,
    pub(super) sites: Vec<Site>,
}

/// Whether objects of a kind have a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// They have.
    Namespaced,
    /// They belong to the whole cluster.
    Cluster,
}

/// Where objects of a kind describe pods; every place that `at` leads to is one of them.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) at: Route,
    pub(super) shape: Shape,
    /// Places that hold what `at` leaves unsaid: pull secrets, service account, what chooses nodes. The first that says a thing wins.
    pub(super) also: Vec<Route>,
    /// Where this says something, `at` is not in use.
    pub(super) unless: Option<Route>,
    pub(super) spread: Spread,
    pub(super) doubts: Vec<Doubt>,
    /// Names of single pull secrets, below `at`; all of them are the pod's.
    pub(super) secrets: Vec<Route>,
    /// The service account, below `at`.
    pub(super) account: Option<Route>,
}

/// What stands at a site.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A `PodSpec`.
    PodSpec,
    /// Image names, at these routes below it.
    Images(Vec<(Route, Role)>),
}

/// Why what a site says cannot be taken at its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) about: About,
    pub(super) when: When,
    /// A clause.
    pub(super) why: &'static str,
}

/// What a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Pods may run another image.
    Image,
    /// Pods may have other pull secrets.
    Credentials,
}

/// When a doubt applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Where the site, or a place of `also`, has this field.
    Said(&'static str),
    /// Where none of them has it.
    Unsaid(&'static str),
}

/// The settings name only where the image is.
const NAMED_IN_SETTINGS: [Doubt; 2] = [
    Doubt {
        about: About::Image,
        when: When::Always,
        why: "what makes the pods of this kind may change the image",
    },
    Doubt {
        about: About::Credentials,
        when: When::Always,
        why: "which pull secrets the pods of this kind have is not known",
    },
];

impl Default for Kinds {
    fn default() -> Self {
        Self::with(&[])
    }
}

impl Kinds {
    /// The table, and the kinds of the settings; these replace the table's where they say paths.
    pub fn with(configured: &[Configured]) -> Self {
        let mut kinds = Self(HashMap::new());
        for row in table::ROWS {
            for name in row.kinds {
                let sites = row.sites.iter().filter_map(|site| site.compile(row.within));
                let kind = kinds.entry(row.group, name);
                kind.standing = row.standing;
                kind.scope = row.scope;
                kind.pod = row.pod;
                kind.sites.extend(sites);
            }
        }
        for written in configured {
            let kind = kinds.entry(&written.group, &written.kind);
            if kind.standing == Standing::BuiltIn {
                continue;
            }
            kind.standing = Standing::Configured;
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
        let kinds = self.0.entry(name.to_owned()).or_default();
        let at = kinds.iter().position(|kind| kind.group == group).unwrap_or(kinds.len());
        if at == kinds.len() {
            kinds.push(Kind {
                group: group.to_owned(),
                standing: Standing::Listed,
                scope: Scope::Namespaced,
                pod: PodKind::Template,
                sites: Vec::new(),
            });
        }
        &mut kinds[at]
    }

    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        // The core group writes its version alone.
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.get(group, kind)
    }

    fn get(&self, group: &str, kind: &str) -> Option<&Kind> {
        self.0.get(kind)?.iter().find(|known| known.group == group)
    }

    /// Group and kind of each.
    pub fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        let kinds = self.0.iter();
        kinds.flat_map(|(name, groups)| groups.iter().map(|known| (known.group.as_str(), name.as_str())))
    }

    /// On whose word a kind is judged; `None` where it is not.
    pub fn standing(&self, group: &str, kind: &str) -> Option<Standing> {
        self.get(group, kind).map(|known| known.standing)
    }

    /// Whether objects of this kind surely come before the gate, so that what they own need not: a kind of Kubernetes itself, or one
    /// that the settings name (docs/decisions/0006).
    pub fn judged_for_sure(&self, api_version: &str, kind: &str) -> bool {
        self.find(api_version, kind).is_some_and(|kind| match kind.standing {
            Standing::BuiltIn | Standing::Configured => true,
            Standing::Listed => false,
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
