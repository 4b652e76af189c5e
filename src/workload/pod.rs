//! What an object says about its pods: the images they use and what pulling those depends on.

use super::owner::{OwnerKind, OwnerReference};
use super::stream_tag::StreamTag;
use super::{FieldPath, candidates::Scheduling, json};
use crate::image::Reference;
use serde_json::Value;
use std::collections::HashSet;

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
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

impl ObjectId {
    /// Its kind as an owner, if it is a built-in one.
    pub fn owner_kind(&self) -> Option<OwnerKind> {
        OwnerKind::of(&self.api_version, &self.kind)
    }
}

/// An object, reduced to what matters for pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which object.
    pub object: ObjectId,
    /// Its pod templates: one for built-in kinds, any number for others. Places in an object that share everything that a pull
    /// depends on (the templates of an Argo Workflow) form one template.
    pub templates: Vec<Template>,
    /// `metadata.annotations` (for exemptions).
    pub annotations: Vec<(String, String)>,
    /// Its controller, as (apiVersion, kind).
    pub controller: Option<(String, String)>,
    /// The same in full, as the object says it. It proves nothing ([`super::owner`]).
    pub owner: Option<OwnerReference>,
    /// `metadata.uid`; empty for an object that is not stored yet.
    pub uid: String,
}

/// So much of an annotation, in bytes, tells it from another one.
const LONGEST_ANNOTATION: usize = 1024;

/// What a small text, or an entry of a list, takes besides its bytes, wherever a review keeps it again.
const ENTRY: usize = 256;

impl Workload {
    /// The memory that a review needs until the answer for what the object lists besides images, in bytes, roughly: users choose how many
    /// pull secrets a pod has, and how its nodes are selected. Of images only the length of their names counts.
    pub fn weight(&self) -> usize {
        let annotations = self.annotations.iter().map(|(key, value)| ENTRY + key.len() + value.len());
        let templates = self.templates.iter().map(|template| {
            let needs = &template.needs;
            let secrets = needs.pull_secrets.iter().map(|name| ENTRY + name.len());
            let uses = template.uses.iter().map(|image| image.name.len() + 4 * image.image.len());
            secrets.chain(uses).sum::<usize>() + needs.scheduling.bytes(ENTRY)
        });
        annotations.chain(templates).sum()
    }

    /// Gives back the memory that its lists do not use (a list of one template has room for four), and what is beyond the beginning of
    /// long annotations: `kubectl apply` leaves the whole object in one.
    pub fn shrink(&mut self) {
        for (_, value) in &mut self.annotations {
            let end = (0..=LONGEST_ANNOTATION).rev().find(|at| value.is_char_boundary(*at));
            value.truncate(end.unwrap_or_default());
            value.shrink_to_fit();
        }
        self.templates.shrink_to_fit();
        self.annotations.shrink_to_fit();
        for template in &mut self.templates {
            template.uses.shrink_to_fit();
        }
    }

    /// Marks the object as cluster-scoped: it is not known which namespace's secrets its pods will have.
    pub fn leave_namespace(&mut self) {
        self.object.namespace.clear();
        for template in &mut self.templates {
            let why = "the object is cluster-scoped, and its pods use the pull secrets of their own namespace";
            template.nature.other_credentials.get_or_insert(why);
        }
    }
}

/// Whether the images belong to a pod or to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PodKind {
    /// A Pod: admission has already set its service account, pull secrets and runtime class.
    Pod,
    /// A template: what admission will do to its pods is emulated.
    Template,
}

/// A pod template: its images and what pulling them depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template {
    /// Pod or template.
    pub kind: PodKind,
    /// Secrets, service account, scheduling.
    pub needs: PodNeeds,
    /// The images, in the order of the object's fields: init containers, containers, ephemeral containers, volumes.
    pub uses: Vec<ImageUse>,
    /// How it may still change.
    pub nature: Nature,
    /// What its pods' labels say about Istio's injector.
    pub injection: Injection,
    /// What its pods ran before an UPDATE, with the same pull secrets and service account, according to the object's own status.
    pub ran: Vec<ImageUse>,
}

/// How reliable a template is. The default is for built-in kinds: completely.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Nature {
    /// Its position, with names instead of indexes where list elements have names: it identifies the template across an update.
    pub key: String,
    /// Whether something fills in `{{x}}` and `$(x)`.
    pub parameters: Parameters,
    /// Why pods may run other images, as a clause.
    pub other_image: Option<&'static str>,
    /// Why pods may have other pull secrets, as a clause.
    pub other_credentials: Option<&'static str>,
}

/// What happens to `{{x}}` and `$(x)` in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Parameters {
    /// Nothing: the kubelet gets them unchanged.
    #[default]
    Literal,
    /// A custom kind's controller may fill them in.
    FilledIn,
}

/// What a pull depends on besides the image's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PodNeeds {
    /// Names in `imagePullSecrets`, in order, including empty ones (a list with one empty name inherits nothing).
    pub pull_secrets: Vec<String>,
    /// `serviceAccountName`, or else `serviceAccount`, or else `default`.
    pub service_account: String,
    /// How its nodes are selected.
    pub scheduling: Scheduling,
}

/// What uses an image.
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
    /// `volumes[*].image` that no container mounts: it is pulled, but nothing waits for it (docs/kubelet.md).
    UnmountedVolume,
}

/// `imagePullPolicy`, as written or defaulted (pull-semantics 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// The registry is asked at every start.
    Always,
    /// Pulled if the node does not have it.
    IfNotPresent,
    /// Never pulled.
    Never,
}

/// One use of an image in an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageUse {
    /// The path of the image: `spec.containers[0].image`.
    pub path: FieldPath,
    /// The name of the container (or volume); empty if it has none.
    pub name: String,
    /// What uses it.
    pub role: Role,
    /// The image, byte for byte as written.
    pub image: String,
    /// As written, or defaulted by the table in pull-semantics 2.1.
    pub pull_policy: PullPolicy,
    /// Whether an UPDATE left everything that this pull depends on unchanged.
    pub unchanged: bool,
    /// The image stream tag that OpenShift may replace it with: always if it is blank, and for names that it looks up.
    pub stream: Option<Box<StreamTag>>,
    /// What becomes of the name before there are pods, if the set of files shows it.
    pub later: Option<Box<Later>>,
}

impl ImageUse {
    /// The name by which it is pulled, as far as the set of files shows it.
    pub fn pulled_as(&self) -> &str {
        match self.later.as_deref() {
            Some(Later::Named { name, .. }) => name,
            Some(Later::FilledIn { .. }) | None => &self.image,
        }
    }
}

/// What becomes of a name in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Later {
    /// A tool of the set replaces it.
    Named {
        /// The name that it writes.
        name: String,
        /// Which tool and where it says so: `kustomize (overlays/prod/kustomization.yaml)`.
        by: String,
        /// Why it may be another one after all.
        otherwise: Option<&'static str>,
    },
    /// Something replaces it with a name that is not known.
    FilledIn {
        /// The part that is replaced, or the whole name.
        what: String,
        /// What replaces it: `ko`, `envsubst or Flux`.
        by: String,
    },
}

/// What a pod's labels say about Istio's injector, which replaces the image `auto`
/// (<https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Injection {
    /// Nothing: the namespace decides.
    #[default]
    FieldUnset,
    /// It is asked for.
    Wanted,
    /// It is refused.
    Refused,
}

impl Injection {
    /// The labels that are read, the first also as an annotation.
    pub(super) const KEYS: [&'static str; 2] = ["sidecar.istio.io/inject", "istio.io/rev"];

    /// From a pod's metadata: the label `sidecar.istio.io/inject`, before 1.10 an annotation, or a revision.
    pub(super) fn read(metadata: &Value) -> Self {
        let [inject, revision] = Self::KEYS;
        let field = |map: &str, key: &str| metadata.get(map).and_then(|map| map.get(key)).and_then(Value::as_str);
        match field("labels", inject).or_else(|| field("annotations", inject)) {
            Some("true" | "enabled" | "1" | "yes") => Self::Wanted,
            Some(_) => Self::Refused,
            None if field("labels", revision).is_some() => Self::Wanted,
            None => Self::FieldUnset,
        }
    }
}

impl PullPolicy {
    /// The policy as written; any other value is defaulted like the API server does (pull-semantics 2.1, `SetDefaults_Container`).
    pub(super) fn read(written: Option<&str>, image: &str) -> Self {
        match written {
            Some("Always") => Self::Always,
            Some("IfNotPresent") => Self::IfNotPresent,
            Some("Never") => Self::Never,
            Some(_) | None => Self::default_for(image),
        }
    }

    /// `Always` for `latest` and for a name with neither tag nor digest, even next to a digest; `IfNotPresent` for an image that
    /// cannot be parsed.
    pub fn default_for(image: &str) -> Self {
        let always = Reference::parse_plain(image)
            .is_some_and(|reference| reference.tag().map_or(reference.digest().is_none(), |tag| tag == "latest"));
        if always { Self::Always } else { Self::IfNotPresent }
    }
}

impl Role {
    /// Its name in messages: `container`, `init container` …
    pub fn word(self) -> &'static str {
        match self {
            Self::Init => "init container",
            Self::Container => "container",
            Self::Ephemeral => "ephemeral container",
            Self::Volume | Self::UnmountedVolume => "volume",
        }
    }
}

/// Reads the `PodSpec` at `path`.
pub(super) fn read(kind: PodKind, spec: &Value, path: &FieldPath, scheduling: Scheduling) -> Template {
    let mut uses = Vec::new();
    for (field, role) in [
        ("initContainers", Role::Init),
        ("containers", Role::Container),
        ("ephemeralContainers", Role::Ephemeral),
    ] {
        let path = path.field(field);
        let containers = json::list(spec, field).iter().enumerate();
        uses.extend(containers.filter_map(|(at, container)| read_container(role, container, &path.index(at))));
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
        // An entry without a name counts: a non-empty list inherits nothing (pull-semantics 4.1).
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
        injection: Injection::default(),
        ran: Vec::new(),
    }
}

/// A container's image. If it is missing or not text, there is nothing to judge: the API server refuses it.
fn read_container(role: Role, container: &Value, path: &FieldPath) -> Option<ImageUse> {
    let image = json::text(container, "image")?;
    Some(ImageUse {
        path: path.field("image"),
        name: json::string(container, "name"),
        role,
        image: image.to_owned(),
        pull_policy: PullPolicy::read(json::text(container, "imagePullPolicy"), image),
        unchanged: false,
        stream: None,
        later: None,
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

/// An image volume. A template may leave its reference empty, to be filled in later (pull-semantics 1.5).
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
        stream: None,
        later: None,
    })
}
