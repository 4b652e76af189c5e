//! The notation of the table of kinds.

mod rows;
mod sources;

pub(super) use rows::ROWS;
pub(super) use sources::SOURCES;

use super::{About, Doubt, Registration, Scope, Shape, Site, When};
use crate::workload::candidates::Spread;
use crate::workload::pod::{PodKind, Role};
use crate::workload::route::Route;

/// Kinds that describe their pods alike. Rows for the same kind add up.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) kinds: &'static [&'static str],
    pub(super) registration: Registration,
    pub(super) scope: Scope,
    pub(super) pod: PodKind,
    /// The common prefix of its sites' paths.
    pub(super) within: &'static str,
    pub(super) sites: &'static [Written],
}

/// A [`Site`] in the table's notation. A path with a leading `/` starts at the object's root; an empty path is `within` itself.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) at: &'static str,
    pub(super) images: &'static [(&'static str, Role)],
    pub(super) objects: bool,
    also: &'static [&'static str],
    unless: Option<&'static str>,
    spread: Spread,
    pub(super) doubts: &'static [Doubt],
    secrets: &'static [&'static str],
    account: Option<&'static str>,
}

impl Written {
    /// A site for objects with the prefix `within`; `None` for an invalid path, which a test rules out.
    pub(super) fn compile(&self, within: &str) -> Option<Site> {
        let within = Route::of(within)?;
        let from_within = |path: &str| match path.strip_prefix('/') {
            Some(path) => Route::of(path),
            None => Some(within.then(&Route::of(path)?)),
        };
        let below = |paths: &[&str]| paths.iter().map(|path| Route::of(path)).collect::<Option<Vec<_>>>();
        let shape = if self.objects {
            Shape::Objects
        } else if self.images.is_empty() {
            Shape::PodSpec
        } else {
            let images = self.images.iter().map(|(path, role)| Some((Route::of(path)?, *role)));
            Shape::Images(images.collect::<Option<_>>()?)
        };
        let also = self.also.iter().map(|path| from_within(path)).collect::<Option<_>>()?;
        let unless = match self.unless {
            Some(path) => Some(from_within(path)?),
            None => None,
        };
        let account = match self.account {
            Some(path) => Some(Route::of(path)?),
            None => None,
        };
        Some(Site {
            at: from_within(self.at)?,
            shape,
            also,
            unless,
            spread: self.spread,
            doubts: self.doubts.to_vec(),
            secrets: below(self.secrets)?,
            account,
        })
    }

    /// The places for fields missing in the site itself.
    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    const fn unless(self, path: &'static str) -> Self {
        Self {
            unless: Some(path),
            ..self
        }
    }

    const fn doubts(self, doubts: &'static [Doubt]) -> Self {
        Self { doubts, ..self }
    }

    const fn on_every_node(self) -> Self {
        Self {
            spread: Spread::Every,
            ..self
        }
    }

    const fn secrets(self, secrets: &'static [&'static str]) -> Self {
        Self { secrets, ..self }
    }

    const fn account(self, path: &'static str) -> Self {
        Self {
            account: Some(path),
            ..self
        }
    }
}

/// A `PodSpec` at a path.
const fn pods(at: &'static str) -> Written {
    Written {
        at,
        images: &[],
        objects: false,
        also: &[],
        unless: None,
        spread: Spread::Some,
        doubts: &[],
        secrets: &[],
        account: None,
    }
}

/// Whole objects at a path.
const fn objects(at: &'static str) -> Written {
    Written {
        objects: true,
        ..pods(at)
    }
}

/// Image names at paths below a place.
const fn images(at: &'static str, images: &'static [(&'static str, Role)]) -> Written {
    Written { images, ..pods(at) }
}

const fn built_in(group: &'static str, kinds: &'static [&'static str], sites: &'static [Written]) -> Row {
    Row {
        registration: Registration::BuiltIn,
        ..custom(group, kinds, "", sites)
    }
}

const fn custom(group: &'static str, kinds: &'static [&'static str], within: &'static str, sites: &'static [Written]) -> Row {
    Row {
        group,
        kinds,
        registration: Registration::Listed,
        scope: Scope::Namespaced,
        pod: PodKind::Template,
        within,
        sites,
    }
}

/// A cluster-scoped kind.
const fn cluster_wide(row: Row) -> Row {
    Row {
        scope: Scope::Cluster,
        ..row
    }
}

const fn image_doubt(when: When, why: &'static str) -> Doubt {
    let about = About::Image;
    Doubt { about, when, why }
}

const fn credentials_doubt(when: When, why: &'static str) -> Doubt {
    let about = About::Credentials;
    Doubt { about, when, why }
}
