//! From untyped JSON to a [`Workload`].

use super::Workload;
use serde_json::Value;

/// Why an object is allowed without being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// Not a kind that carries pods.
    OtherKind,
    /// `metadata.deletionTimestamp` is set.
    Deleting,
    /// A mirror pod (`kubernetes.io/config.mirror`): denying it does not stop the static pod.
    MirrorPod,
    /// A subresource that cannot change images (`status`, `scale`, `binding` …).
    Subresource,
    /// DELETE or CONNECT.
    Operation,
    /// An UPDATE that changed nothing that a pull depends on.
    Unchanged,
}

/// Reads the image uses of `object`. `old` is the object before an UPDATE. `namespace` is the request's namespace and stands in
/// where the object names none. Never fails: odd fields are left out.
pub fn extract(_object: &Value, _old: Option<&Value>, _namespace: &str) -> Result<Workload, Skip> {
    todo!()
}
