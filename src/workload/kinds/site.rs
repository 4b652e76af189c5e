//! Where objects of a kind describe pods, and what that leaves open.

use crate::workload::candidates::Spread;
use crate::workload::pod::Role;
use crate::workload::route::Route;

/// Where objects of a kind describe pods; `at` may match several places.
#[derive(Debug, Clone)]
pub(in crate::workload) struct Site {
    pub(in crate::workload) at: Route,
    pub(in crate::workload) shape: Shape,
    /// Places for fields missing in `at`: pull secrets, service account, node selection. The first place that has a field wins.
    pub(in crate::workload) also: Vec<Route>,
    /// If this is set, `at` is not used.
    pub(in crate::workload) unless: Option<Route>,
    pub(in crate::workload) spread: Spread,
    pub(in crate::workload) doubts: Vec<Doubt>,
    /// Single pull secret names, below `at`; the pod gets all of them.
    pub(in crate::workload) secrets: Vec<Route>,
    /// The service account, below `at`.
    pub(in crate::workload) account: Option<Route>,
}

/// What is at a site.
#[derive(Debug, Clone)]
pub(in crate::workload) enum Shape {
    /// A `PodSpec`.
    PodSpec,
    /// Image names, at these routes below the site.
    Images(Vec<(Route, Role)>),
    /// Whole objects of other kinds, which the controller creates.
    Objects,
}

/// Why a site does not say everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workload) struct Doubt {
    pub(in crate::workload) about: About,
    pub(in crate::workload) when: When,
    /// A clause.
    pub(in crate::workload) why: &'static str,
}

/// What a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workload) enum About {
    /// Pods may run another image.
    Image,
    /// Pods may have other pull secrets.
    Credentials,
}

/// When a doubt applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workload) enum When {
    Always,
    /// If the site, or a place of `also`, has this field.
    FieldSet(&'static str),
    /// If none of them has it.
    FieldUnset(&'static str),
    /// If the pods have neither pull secrets nor a service account that the object names: the controller gives them one.
    NoAccount,
}
