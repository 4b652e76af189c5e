//! What an object says about its pods: the images they use and what a pull of them depends on.

use super::{FieldPath, candidates::Scheduling, json, running};
use crate::image::Reference;
use serde_json::Value;
use std::collections::HashSet;

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
    /// Its pod templates: one for the kinds of Kubernetes itself, any number for others. Places of an object that share everything a
    /// pull depends on (the templates of an Argo Workflow) are one template.
    pub templates: Vec<Template>,
    /// `metadata.annotations` (policy exemptions look at them).
    pub annotations: Vec<(String, String)>,
    /// The controller that owns it, as (apiVersion, kind).
    pub controller: Option<(String, String)>,
}

impl Workload {
    /// The object belongs to no namespace: whose secrets its pods will have is not known, whatever it says of itself.
    pub fn leave_namespace(&mut self) {
        self.object.namespace.clear();
        for template in &mut self.templates {
            let why = "the object belongs to no namespace, and its pods take the pull secrets of theirs";
            template.nature.other_credentials.get_or_insert(why);
        }
    }

    /// Takes `object`, from which it was read, as the one that is there: its pods run what it names.
    pub fn recall(&mut self, object: &Value) {
        let before = self.templates.clone();
        running::recall(&mut self.templates, object, &before);
    }
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
    /// What may still become of it.
    pub nature: Nature,
    /// What its pods ran before an UPDATE, with the same pull secrets and service account; by the word of the object's own status.
    pub ran: Vec<ImageUse>,
}

/// How far what a template says can be taken at its word. The default is a template of Kubernetes' own kinds: entirely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nature {
    /// Where it stands, by names where the elements of lists have names: the same template before and after an UPDATE.
    pub key: String,
    /// Whether something fills in `{{x}}` and `$(x)`.
    pub parameters: Parameters,
    /// Why pods may run other images, as a clause.
    pub other_image: Option<&'static str>,
    /// Why pods may have other pull secrets, as a clause.
    pub other_credentials: Option<&'static str>,
}

/// What becomes of `{{x}}` and `$(x)` in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parameters {
    /// Nothing: the kubelet gets them as they are.
    #[default]
    Literal,
    /// The controller of a custom kind may put values in their place.
    FilledIn,
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
    /// `volumes[*].image` that a container mounts: the container waits for it.
    Volume,
    /// `volumes[*].image` that no container mounts: it is pulled, and nothing waits for it (docs/kubelet.md).
    UnmountedVolume,
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

impl PullPolicy {
    /// The policy as written; anything else is defaulted as the API server does (pull-semantics 2.1, `SetDefaults_Container`).
    pub(super) fn read(written: Option<&str>, image: &str) -> Self {
        match written {
            Some("Always") => Self::Always,
            Some("IfNotPresent") => Self::IfNotPresent,
            Some("Never") => Self::Never,
            Some(_) | None => Self::default_for(image),
        }
    }

    /// `Always` for `latest` and for a name with neither tag nor digest, also beside a digest; an image that does not parse is
    /// `IfNotPresent`.
    pub fn default_for(image: &str) -> Self {
        let always = Reference::parse_plain(image)
            .is_some_and(|reference| reference.tag().map_or(reference.digest().is_none(), |tag| tag == "latest"));
        if always { Self::Always } else { Self::IfNotPresent }
    }
}

impl Role {
    /// The word for it in a message: `container`, `init container` …
    pub fn word(self) -> &'static str {
        match self {
            Self::Init => "init container",
            Self::Container => "container",
            Self::Ephemeral => "ephemeral container",
            Self::Volume | Self::UnmountedVolume => "volume",
        }
    }
}

/// Reads a `PodSpec` that stands at `path`.
pub(super) fn read(kind: PodKind, spec: &Value, path: &FieldPath, scheduling: Scheduling) -> Template {
    let mut uses = Vec::new();
    for (field, role) in [
        ("initContainers", Role::Init),
        ("containers", Role::Container),
        ("ephemeralContainers", Role::Ephemeral),
    ] {
        let path = path.field(field);
        let containers = json::list(spec, field).iter().enumerate();
        uses.extend(containers.filter_map(|(at, container)| read_container(kind, role, container, &path.index(at))));
    }
    let volumes = path.field("volumes");
    let mounted = mounted(spec);
    uses.extend(
        json::list(spec, "volumes")
            .iter()
            .enumerate()
            .filter_map(|(at, volume)| read_volume(volume, &mounted, &volumes.index(at))),
    );
    let needs = PodNeeds {
        // An entry without a name counts: a list that is not empty inherits nothing (pull-semantics 4.1).
        pull_secrets: json::list(spec, "imagePullSecrets")
            .iter()
            .map(|secret| json::string(secret, "name"))
            .collect(),
        service_account: json::non_empty(spec, "serviceAccountName")
            .or_else(|| json::non_empty(spec, "serviceAccount"))
            .unwrap_or("default")
            .to_owned(),
        scheduling,
    };
    Template {
        kind,
        needs,
        uses,
        nature: Nature::default(),
        ran: Vec::new(),
    }
}

/// A container's image. Without one, or with something that is no text, there is nothing to judge: the API server refuses it.
fn read_container(kind: PodKind, role: Role, container: &Value, path: &FieldPath) -> Option<ImageUse> {
    let image = json::text(container, "image")?;
    // In a template a single space stands for an image that an OpenShift trigger fills in (pull-semantics 1.5).
    if kind == PodKind::Template && image == " " {
        return None;
    }
    Some(ImageUse {
        path: path.field("image"),
        name: json::string(container, "name"),
        role,
        image: image.to_owned(),
        pull_policy: PullPolicy::read(json::text(container, "imagePullPolicy"), image),
        unchanged: false,
    })
}

/// The volumes that containers of any kind mount.
fn mounted(spec: &Value) -> HashSet<&str> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| json::list(spec, field))
        .flat_map(|container| json::list(container, "volumeMounts"))
        .filter_map(|mount| json::text(mount, "name"))
        .collect()
}

/// An image volume. A template may leave its reference empty for something to fill in later (pull-semantics 1.5).
fn read_volume(volume: &Value, mounted: &HashSet<&str>, path: &FieldPath) -> Option<ImageUse> {
    let source = volume.get("image")?;
    let image = json::non_empty(source, "reference")?;
    let name = json::string(volume, "name");
    let role = if mounted.contains(name.as_str()) {
        Role::Volume
    } else {
        Role::UnmountedVolume
    };
    Some(ImageUse {
        path: path.field("image.reference"),
        name,
        role,
        image: image.to_owned(),
        pull_policy: PullPolicy::read(json::text(source, "pullPolicy"), image),
        unchanged: false,
    })
}
