//! Names that something replaces before pods are created, as far as the object and its namespace show it.

use crate::cluster::{Facts, Visible};
use crate::workload::{ImageUse, Injection, Template};

/// The container whose image Istio's injector fills in, and the image that says so.
const PROXY: &str = "istio-proxy";
const AUTO: &str = "auto";

/// Whether Istio's injector will replace the image: it has the name `auto`, and the pod or its namespace asks for injection. A namespace
/// that refuses it outranks the pod; of one that cannot be seen, the container's name must do.
pub(super) fn injected(name: &str, image: &ImageUse, template: &Template, facts: &Facts) -> bool {
    if name != AUTO || template.injection == Injection::Refused {
        return false;
    }
    let labels = match &facts.namespace {
        Visible::Seen(Some(namespace)) => Some(namespace.labels.as_slice()),
        Visible::Seen(None) if facts.complete => Some(&[][..]),
        Visible::Seen(None) | Visible::Hidden(_) => None,
    };
    let label = |key: &str| {
        labels
            .into_iter()
            .flatten()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    };
    match (label("istio-injection"), label("istio.io/rev")) {
        (Some("enabled"), _) | (None, Some(_)) => true,
        (Some(_), _) => false,
        (None, None) => template.injection == Injection::Wanted || (labels.is_none() && image.name == PROXY),
    }
}
