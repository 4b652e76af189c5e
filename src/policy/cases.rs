//! Policy tests (`kind: ImagePolicyTest`): what is given, and what is expected.

mod read;
mod simulate;

pub use simulate::{PullPolicy, Secret, Simulation, simulate};

use super::model::{self, Quantity};
use crate::verdict::{Cause, Outlook, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// `kind` of a test.
pub const KIND: &str = "ImagePolicyTest";

/// Whether a document claims to be a test.
pub fn is_one(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some(KIND)
}

/// Test cases for the policies in the same folder.
#[derive(Debug, Clone, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    /// The cases, in order.
    #[schemars(length(min = 1, max = 10_000))]
    pub cases: Vec<Case>,
}

/// One image in one place, and what should happen to it.
#[derive(Debug, Clone, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What is asked for.
    pub given: Given,
    /// What should happen.
    pub expect: Expect,
}

/// What is asked for.
#[derive(Debug, Clone, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The image, as in a manifest.
    pub image: String,
    /// The object's namespace; `default` if omitted.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The namespace's labels, besides `kubernetes.io/metadata.name`; none if omitted.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The object's kind; `Deployment` if omitted.
    #[serde(default)]
    pub kind: Option<String>,
    /// The root owner that the object says it has; none if omitted. In between are what such an owner has: a `ReplicaSet` of a Deployment, a
    /// Job of a `CronJob`.
    #[serde(default)]
    pub owner: Option<GivenOwner>,
    /// The requesting user, such as `system:serviceaccount:kube-system:job-controller`; nobody in particular if omitted.
    #[serde(default)]
    pub user: Option<String>,
    /// The requesting user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// When it is asked: a day, which begins in UTC (`2027-01-15`), or a time as in RFC 3339; now if omitted.
    #[serde(default)]
    pub now: Option<String>,
    /// What the registry would return.
    #[serde(default)]
    pub registry: Registry,
}

/// The owner that an object says it has.
#[derive(Debug, Clone, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct GivenOwner {
    /// Its kind: `Deployment`, `CronJob`, `Job` …
    pub kind: String,
    /// The image that it names; that of the case if omitted.
    #[serde(default)]
    pub image: Option<String>,
    /// Whether it exists; `true` if omitted. A forged reference names one that does not exist, or somebody else's.
    #[serde(default)]
    pub exists: Option<bool>,
}

/// What the registry would return.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// `Pulls`, or the cause that would be found; `Pulls` if omitted.
    #[serde(default)]
    #[schemars(schema_with = "outcomes")]
    pub outcome: Option<String>,
    /// The platforms that the image serves; if omitted, those that it must serve.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub platforms: Option<Vec<String>>,
    /// Its compressed size (`2Gi`); small if omitted.
    #[serde(default)]
    #[schemars(schema_with = "model::quantity")]
    pub size: Option<Quantity>,
}

/// What should happen.
#[derive(Debug, Clone, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What is done.
    #[schemars(schema_with = "verdicts")]
    pub verdict: Verdict,
    /// The causes of all findings, in any order; not checked if omitted.
    #[serde(default)]
    #[schemars(schema_with = "causes")]
    pub causes: Option<Vec<Cause>>,
    /// The policy that decided the verdict; not checked if omitted.
    #[serde(default)]
    pub policy: Option<String>,
    /// Whether the registry is asked at all; not checked if omitted.
    #[serde(default)]
    pub asked: Option<bool>,
}

/// What a registry may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseOutcome {
    /// The image.
    Pulls,
    /// Whatever leads to this cause.
    Fails(Cause),
}

/// Causes that no registry can bring about.
const NOT_SIMULATED: &[Cause] = &[
    Cause::InvalidImageName,
    Cause::RegistryNotAllowed,
    Cause::TagNotAllowed,
    Cause::DigestRequired,
];

impl Registry {
    /// The outcome, parsed; `None` if it is not a known one.
    pub fn parsed_outcome(&self) -> Option<CaseOutcome> {
        match self.outcome.as_deref() {
            None => Some(CaseOutcome::Pulls),
            Some(name) if name == Outlook::Pulls.name() => Some(CaseOutcome::Pulls),
            Some(name) => Cause::ALL
                .iter()
                .find(|cause| cause.name() == name && !NOT_SIMULATED.contains(cause))
                .map(|cause| CaseOutcome::Fails(*cause)),
        }
    }
}

fn outcomes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let causes = Cause::ALL.iter().filter(|cause| !NOT_SIMULATED.contains(cause));
    let names: Vec<&str> = std::iter::once(Outlook::Pulls.name())
        .chain(causes.map(|cause| cause.name()))
        .collect();
    schemars::json_schema!({"type": "string", "enum": names})
}

fn causes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    schemars::json_schema!({"type": "array", "items": {"type": "string", "enum": names}})
}

fn verdicts(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names = [Verdict::Allow, Verdict::Warn, Verdict::Deny].map(Verdict::name);
    schemars::json_schema!({"type": "string", "enum": names})
}

#[cfg(test)]
mod tests {
    use super::model::API_VERSION;
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_is_wrong_with_a_test_is_said_at_once() {
        let document = json!({"apiVersion": API_VERSION, "kind": KIND, "spec": {"cases": [
            {"name": "a", "given": {"image": "x", "nope": 1}, "expect": {"verdict": "deny"}},
            {"name": "a", "given": {"image": "x", "registry": {"platforms": ["linux"], "size": "2GB"}}, "expect": {"verdict": "Deny"}},
        ]}});
        let problems = PolicyTest::read(&document).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "spec.cases[0].expect.verdict",
                "spec.cases[0].given.nope",
                "spec.cases[1].given.registry.platforms[0]",
                "spec.cases[1].given.registry.size",
                "spec.cases[1].name",
            ]
        );
    }
}
