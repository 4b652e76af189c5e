//! An `ImagePolicy` as it is written, in a file or in the cluster. The descriptions here also become those of the schema, of the
//! CRD and of the reference in `docs/policy.md`.

#![expect(unreachable_pub, reason = "the derive copies the structs into functions")]

use crate::verdict::{Cause, Outlook, Verdict};
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// `apiVersion` of a policy.
pub const API_VERSION: &str = "pullgate.dev/v1alpha1";
/// `kind` of a policy.
pub const KIND: &str = "ImagePolicy";

/// What images must comply with, and what is done about findings.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "pullgate.dev",
    version = "v1alpha1",
    kind = "ImagePolicy",
    plural = "imagepolicies",
    singular = "imagepolicy",
    shortname = "imgpol",
    category = "pullgate",
    status = "Status",
    derive = "PartialEq",
    doc = "Which images may be used where, and what is done about images that would fail to pull.",
    printcolumn = r#"{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}"#,
    printcolumn = r#"{"name": "From", "type": "string", "jsonPath": ".spec.enforceFrom", "description": "When Enforce begins; a warning until then."}"#,
    printcolumn = r#"{"name": "Exemptions", "type": "integer", "jsonPath": ".status.exemptions", "description": "How many exemptions it has, whether they have ended or not."}"#,
    printcolumn = r#"{"name": "Denied", "type": "integer", "jsonPath": ".status.deniedLastHour", "description": "Reviews that it denied in the last hour."}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "priority": 1, "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].message"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.enforceFrom) || self.mode == 'Enforce'", "enforceFrom puts off mode: Enforce; leave out mode, or enforceFrom"))]
#[x_kube(validation = ("!has(self.enforceFrom) || !has(self.exempt) || !has(self.exempt.until) || timestamp(self.exempt.until + (size(self.exempt.until) == 10 ? 'T00:00:00Z' : '')) >= timestamp(self.enforceFrom + (size(self.enforceFrom) == 10 ? 'T00:00:00Z' : ''))", "exempt.until is before enforceFrom, and so exempts from no denial"))]
pub struct ImagePolicySpec {
    /// Which objects the policy applies to. All parts that are set must match; an empty match applies to everything.
    #[serde(default, rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    /// Which names are allowed.
    #[serde(default, skip_serializing_if = "Registries::is_empty")]
    pub registries: Registries,
    /// Which tags are allowed, and whether a digest is required.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// Platforms that images must serve (`linux/amd64`, `linux/arm/v7`), instead of those of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub platforms: Option<Vec<String>>,
    /// How large images may be.
    #[serde(default, skip_serializing_if = "Size::is_empty")]
    pub size: Size,
    /// What is done about a finding, by cause or by outlook; the cause takes precedence. A policy does not vote on findings that it
    /// sets no action for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "actions")]
    pub actions: BTreeMap<String, Verdict>,
    /// How far the policy goes. It governs what the policy says and nothing else.
    #[serde(default)]
    pub mode: Mode,
    /// When `Enforce` begins: a day, which begins in UTC (`2027-01-15`), or a time as in RFC 3339 (`2027-01-15T08:00:00Z`). Until then the
    /// policy warns, and the warnings say the date. Default: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), extend("pattern" = DATE))]
    pub enforce_from: Option<String>,
    /// What users are told besides pullgate's own words in a denial or warning of this policy: whom to ask, or why there is such a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub message: Option<String>,
    /// A URL that is shown with `message`: `https://wiki.corp.example/images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), extend("pattern" = "^https?://[^/]"))]
    pub link: Option<String>,
    /// What is exempt from this policy (and from this one only).
    #[serde(default, skip_serializing_if = "Exempt::is_empty")]
    pub exempt: Exempt,
}

/// How far a policy goes.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Its verdicts are logged and counted, but not applied.
    Audit,
    /// It warns instead of denying.
    Warn,
    /// Its verdicts apply.
    #[default]
    Enforce,
}

impl Mode {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "Audit",
            Self::Warn => "Warn",
            Self::Enforce => "Enforce",
        }
    }
}

/// Which objects a policy applies to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Names of namespaces; `*` matches any text. One of them must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 253)))]
    pub namespaces: Option<Vec<String>>,
    /// Labels of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Namespaces that the policy does not apply to; `*` matches any text. They take precedence over `namespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 253)))]
    pub exclude_namespaces: Option<Vec<String>>,
    /// Kinds (`Deployment`, `CronJob`). An object counts as its root owner: a Pod of a Deployment is a Deployment, the Job of a
    /// `CronJob` and its Pods are a `CronJob`. `Pod` means Pods without an owner of a built-in kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), inner(length(min = 1, max = 253)))]
    pub kinds: Option<Vec<String>>,
    /// Kinds that the policy does not apply to, counted like `kinds`. They take precedence over `kinds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), inner(length(min = 1, max = 253)))]
    pub exclude_kinds: Option<Vec<String>>,
}

/// A label selector as in Kubernetes. All requirements must hold.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels and their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub match_expressions: Option<Vec<Requirement>>,
}

/// A requirement on a label.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = ("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)", "values go with In and NotIn, and only with them"))]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How `values` are used.
    pub operator: Operator,
    /// For `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 63)))]
    pub values: Option<Vec<String>>,
}

/// How a requirement's values are used.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or does not exist.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

/// Patterns on normalised names (`docker.io/library/nginx` for `nginx`): `*` matches text within a component, `**` matches
/// components. The most specific matching pattern decides; on a tie, deny wins.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Registries {
    /// Names that are allowed. If set, names that match none of them are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 1024)))]
    #[x_kube(validation = ("self.all(p, !p.contains('://') && !p.contains('@') && !p.contains(' '))", "a pattern is a name without scheme, tag or digest: registry.corp.example/**"))]
    pub allow: Option<Vec<String>>,
    /// Names that are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 1024)))]
    #[x_kube(validation = ("self.all(p, !p.contains('://') && !p.contains('@') && !p.contains(' '))", "a pattern is a name without scheme, tag or digest: registry.corp.example/**"))]
    pub deny: Option<Vec<String>>,
}

/// Rules on tags.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tags {
    /// Tags that are refused; `*` matches any text. An image with neither tag nor digest counts as `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 128)))]
    pub deny: Option<Vec<String>>,
    /// Whether images must have a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
}

/// Limits on sizes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Size {
    /// The most that a node may download for an image, compressed: `2Gi`, `500M`, or a number of bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantity")]
    pub max: Option<Quantity>,
}

/// A Kubernetes quantity; without a unit, quotes are optional.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum Quantity {
    /// `1048576`.
    Number(i64),
    /// `2Gi`.
    Text(String),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// In the API server's terms: a whole number or text, where the pattern applies to text.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    let schema = json!({
        "x-kubernetes-int-or-string": true, "minLength": 1, "maxLength": 32, "pattern": r"^[0-9]+(\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
    });
    Schema::try_from(schema).unwrap_or_default()
}

/// How dates are written.
const DATE: &str = super::dates::PATTERN;

/// What a policy does not apply to.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Exempt {
    /// Images, as patterns on normalised names like in `registries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)))]
    pub images: Option<Vec<String>>,
    /// Namespaces whose objects are exempt; `*` matches any text. Unlike those of `match.excludeNamespaces`, they show as exempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 253)))]
    pub namespaces: Option<Vec<String>>,
    /// Users whose requests are exempt (`system:serviceaccount:ci:deployer`); `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)))]
    pub users: Option<Vec<String>>,
    /// Groups whose members' requests are exempt; `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)))]
    pub groups: Option<Vec<String>>,
    /// When the exemptions of these lists end: a day, which begins in UTC (`2027-02-01`), or a time as in RFC 3339. In the week before,
    /// what they exempt is a warning that says the date. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), extend("pattern" = DATE))]
    pub until: Option<String>,
    /// Why these are exempt; shown to whoever is warned of the end, and by `policy explain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub reason: Option<String>,
    /// More exemptions, each with its own end and reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub entries: Option<Vec<Exemption>>,
}

/// Exemptions with an end and a reason of their own. Whatever one of the lists names is exempt.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Exemption {
    /// Images, as patterns on normalised names like in `registries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)))]
    pub images: Option<Vec<String>>,
    /// Namespaces whose objects are exempt; `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 253)))]
    pub namespaces: Option<Vec<String>>,
    /// Users whose requests are exempt; `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)))]
    pub users: Option<Vec<String>>,
    /// Groups whose members' requests are exempt; `*` matches any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)))]
    pub groups: Option<Vec<String>>,
    /// When it ends. In the week before, what it exempts is a warning that says the date. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), extend("pattern" = DATE))]
    pub until: Option<String>,
    /// Why; shown to whoever is warned of the end, and by `policy explain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub reason: Option<String>,
}

/// What pullgate reports about a policy in the cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the policy is not valid as written, what is in force instead: an `Earlier` version; `NothingSinceStart`, where a replica of
    /// pullgate started after the last valid version; or `Nothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<String>,
    /// The generation of the earlier version that is in force, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_in_force: Option<i64>,
    /// How many exemptions the policy has: images, namespaces, users and groups, whether they have ended or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemptions: Option<i64>,
    /// How many reviews it has denied in the last hour, in all replicas of pullgate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_last_hour: Option<i64>,
    /// The same by replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["replica"]))]
    pub denials: Option<Vec<DenialCount>>,
    /// `Accepted`: whether the policy is valid as written.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How many reviews one replica has denied by a policy in the last hour.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DenialCount {
    /// The replica's name.
    pub replica: String,
    /// How many.
    pub last_hour: i64,
    /// When it was counted, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// One condition.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for machines.
    pub reason: String,
    /// What is wrong, and where.
    pub message: String,
    /// When `status` changed, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation that this condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

macro_rules! is_empty {
    ($($kind:ident),*) => {$(
        impl $kind {
            /// Whether nothing is set.
            fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    )*};
}

is_empty!(Match, Registries, Tags, Size, Exempt);

/// The outlooks that may have an action, with their meaning.
const OUTLOOK_DESCRIPTIONS: [(Outlook, &str); 6] = [
    (Outlook::WillFail, "The pull is certain to fail. Denied by default."),
    (
        Outlook::MayFail,
        "The pull fails on some nodes or runtimes, or something is missing that may still be created. A warning by default.",
    ),
    (
        Outlook::FailsToRun,
        "The pull succeeds, but the container cannot start. A warning by default.",
    ),
    (Outlook::Unknown, "The outcome could not be determined. A warning by default."),
    (
        Outlook::NotAllowed,
        "A policy's name rule refuses the image. Denied by default.",
    ),
    (
        Outlook::Pulls,
        "The image pulls; the finding is a remark. Allowed by default.",
    ),
];

/// Every key of `actions`, with its description.
fn keys() -> impl Iterator<Item = (&'static str, String)> {
    let outlooks = OUTLOOK_DESCRIPTIONS
        .iter()
        .map(|(outlook, text)| (outlook.name(), (*text).to_owned()));
    let causes = Cause::ALL
        .iter()
        .map(|cause| (cause.name(), format!("For findings of the cause {}.", cause.name())));
    outlooks.chain(causes)
}

/// An object with one optional property for each outlook and cause, so that the API server knows the keys too.
fn actions(_: &mut SchemaGenerator) -> Schema {
    let verdicts: Vec<&str> = [Verdict::Deny, Verdict::Warn, Verdict::Allow].map(Verdict::name).to_vec();
    let properties: Map<String, Value> = keys()
        .map(|(key, text)| {
            (
                key.to_owned(),
                json!({"type": "string", "enum": verdicts, "description": text}),
            )
        })
        .collect();
    Schema::try_from(json!({"type": "object", "properties": properties})).unwrap_or_default()
}
