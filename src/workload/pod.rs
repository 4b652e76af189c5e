//! What an object says about its pods: the images they use and what a pull of them depends on.

use super::{FieldPath, candidates::Scheduling};

/// Which object is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectId {
    /// `apps/v1`, `v1` …
    pub api_version: String,
    /// `Deployment` …
    pub kind: String,
    /// The request's namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The name, or `generateName` with a trailing `*`; may be empty.
    pub name: String,
}

/// An object, reduced to what decides about its pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which object.
    pub object: ObjectId,
    /// Its pod templates (one for the built-in kinds).
    pub templates: Vec<Template>,
    /// `metadata.annotations` (policy exemptions look at them).
    pub annotations: Vec<(String, String)>,
    /// The controller that owns it, as (apiVersion, kind).
    pub controller: Option<(String, String)>,
}

/// Whether the images belong to a pod itself or to a template of pods to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodKind {
    /// A Pod: service account, pull secrets and runtime class have been settled by admission.
    Pod,
    /// A template: what admission will do to its pods is emulated.
    Template,
}

/// One pod template: its images and what their pulls depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Pod or template.
    pub kind: PodKind,
    /// Secrets, service account, scheduling.
    pub needs: PodNeeds,
    /// The images, in the order of the object's fields: init containers, containers, ephemeral containers, volumes.
    pub uses: Vec<ImageUse>,
}

/// What a pull depends on beside the image's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodNeeds {
    /// Names in `imagePullSecrets`, in order, empty names included (a list of one empty name inherits nothing).
    pub pull_secrets: Vec<String>,
    /// `serviceAccountName`, else `serviceAccount`, else `default`.
    pub service_account: String,
    /// Where its pods may land.
    pub scheduling: Scheduling,
}

/// What kind of thing uses the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `initContainers[*]` (sidecars too).
    Init,
    /// `containers[*]`.
    Container,
    /// `ephemeralContainers[*]`.
    Ephemeral,
    /// `volumes[*].image`: may be an artifact; its platform and config are not enforced.
    Volume,
}

/// `imagePullPolicy`, written or defaulted (pull-semantics 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// Resolved at the registry at every start.
    Always,
    /// Pulled where the node does not hold it.
    IfNotPresent,
    /// Never pulled.
    Never,
}

/// One use of an image in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// Where the image stands: `spec.containers[0].image`.
    pub path: FieldPath,
    /// The container's (or volume's) name; empty where the object gives none.
    pub name: String,
    /// What uses it.
    pub role: Role,
    /// The image, byte for byte as written.
    pub image: String,
    /// Written, or defaulted by the table of pull-semantics 2.1.
    pub pull_policy: PullPolicy,
    /// Whether an UPDATE left everything that decides about this pull as it was.
    pub unchanged: bool,
}
