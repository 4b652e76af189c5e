//! Exports name rules as `ValidatingAdmissionPolicy` objects (`admissionregistration.k8s.io/v1`, Kubernetes 1.30), for clusters
//! that want them enforced even while the webhook is down.
//!
//! CEL normalises names as `distribution/reference` does. The patterns become one decision list, most specific first, so that the
//! same pattern decides here and there.
//!
//! The API server type-checks the exported expressions: the values of a list or a map have one type, and a field that only some
//! kinds have is read through `dyn(object)`.

mod kinds;

use super::compiled::{Policy, PolicyLocation};
use super::dates;
use super::exempt_entry::Exemption;
use super::model::Mode;
use super::names::Registries;
use super::selector::{Glob, NAME_LABEL, Selector};
use crate::image::{Pattern, escape};
use crate::verdict::cause::Property;
use crate::verdict::{Cause, Outlook, Verdict};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The export of one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The policy.
    pub policy: String,
    /// A `ValidatingAdmissionPolicy` and its binding for each validation action in use.
    pub manifests: Vec<Value>,
    /// What was left out: a clause each.
    pub left_out: Vec<String>,
}

/// The kinds that can be exported: group, resource, kind.
const KINDS: &[(&str, &str, &str)] = &[
    ("", "pods", "Pod"),
    ("", "podtemplates", "PodTemplate"),
    ("", "replicationcontrollers", "ReplicationController"),
    ("apps", "deployments", "Deployment"),
    ("apps", "replicasets", "ReplicaSet"),
    ("apps", "statefulsets", "StatefulSet"),
    ("apps", "daemonsets", "DaemonSet"),
    ("batch", "jobs", "Job"),
    ("batch", "cronjobs", "CronJob"),
];

/// A name rule: which images violate it, as CEL over `i`, an element of `variables.images`.
struct Rule {
    cause: Cause,
    /// The variable that holds the violating images.
    variable: &'static str,
    breaks: String,
    says: &'static str,
}

/// The longest object name, in characters.
const LONGEST_NAME: usize = 253;
/// The longest expression that an API server accepts, in characters.
const LONGEST_EXPRESSION: usize = 100_000;

/// Exports a policy. It skips objects in the `excluded` namespaces, as the webhook's registration does
/// (`webhook.excludedNamespaces` of the chart).
///
/// CEL cannot ask for the time, so the export is what holds at `now`.
pub fn export(policy: &Policy, excluded: &[String], now: Timestamp) -> Exported {
    let mut left_out = not_exportable(policy, now);
    let rules = rules(policy);
    let kinds::Said {
        kinds,
        condition: of_kinds,
        left_out: of_owners,
    } = kinds::said(policy);
    if rules.is_empty() {
        left_out.push("it has no name rule".to_owned());
    } else if kinds.is_empty() {
        left_out.push("none of its kinds is built into Kubernetes".to_owned());
    }
    if !rules.is_empty() {
        left_out.extend(of_owners);
    }
    let mut manifests = Vec::new();
    for (action, suffix) in [("Deny", ""), ("Warn", "-warn"), ("Audit", "-audit")] {
        let here: Vec<&Rule> = rules
            .iter()
            .filter(|rule| done(policy, rule.cause, now) == Some(action))
            .collect();
        if here.is_empty() || kinds.is_empty() {
            continue;
        }
        let name = format!("pullgate-{}{suffix}", policy.name);
        let exported = admission_policy(policy, &name, (&kinds, of_kinds.as_deref()), &here, excluded, now);
        if let Some(why) = refused(policy, &name, &exported) {
            left_out.push(why);
            continue;
        }
        manifests.push(exported);
        manifests.push(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": [action]},
        }));
    }
    for rule in rules.iter().filter(|rule| done(policy, rule.cause, now).is_none()) {
        left_out.push(format!("{}, which its actions allow", rule.cause.name()));
    }
    Exported {
        policy: policy.name.to_string(),
        manifests,
        left_out,
    }
}

/// Why an API server would refuse the export of a policy, as a clause.
fn refused(policy: &Policy, name: &str, exported: &Value) -> Option<String> {
    if name.len() > LONGEST_NAME {
        return Some(format!(
            "its name is too long: {name} would have over {LONGEST_NAME} characters"
        ));
    }
    let requirements = policy.selector.iter().flat_map(Selector::requirements);
    let odd = requirements.flat_map(|requirement| {
        let key = (!is_label_key(&requirement.key)).then_some(&requirement.key);
        let values = requirement.values.iter().flatten();
        key.into_iter()
            .chain(values.filter(|value| !value.is_empty() && !is_label_name(value)))
    });
    if let Some(text) = odd.into_iter().next() {
        return Some(format!(
            "its namespaceSelector: \"{}\" cannot be part of a label",
            escape(text)
        ));
    }
    let expressions = exported.pointer("/spec/variables").and_then(Value::as_array);
    let lengths = expressions
        .into_iter()
        .flatten()
        .filter_map(|variable| variable.get("expression")?.as_str())
        .map(|expression| expression.chars().count());
    (lengths.max() > Some(LONGEST_EXPRESSION))
        .then(|| format!("its lists do not fit into an expression of {LONGEST_EXPRESSION} characters"))
}

/// `[prefix/]name`, as apimachinery's `IsQualifiedName` has it; the prefix is a DNS name.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let label = |label: &str| is_label_name(label) && label.bytes().all(lower);
        prefix.len() <= LONGEST_NAME && prefix.split('.').all(label)
    };
    is_label_name(name) && prefix.is_none_or(is_prefix)
}

/// A non-empty label value, or the name part of a key.
fn is_label_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inside = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inside)
}

/// The validation action; `None` if the policy allows violations of the rule.
fn done(policy: &Policy, cause: Cause, now: Timestamp) -> Option<&'static str> {
    let action = policy.actions.of(cause, Outlook::NotAllowed).unwrap_or(Verdict::Deny);
    match (action, policy.mode_at(now)) {
        (Verdict::Allow, _) => None,
        (Verdict::Deny | Verdict::Warn, Mode::Audit) => Some("Audit"),
        (Verdict::Deny, Mode::Enforce) => Some("Deny"),
        (Verdict::Deny, Mode::Warn) | (Verdict::Warn, Mode::Warn | Mode::Enforce) => Some("Warn"),
    }
}

fn not_exportable(policy: &Policy, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    let until = policy.exemptions.iter().filter(|exemption| !exemption.ended(now));
    let ends = until.filter_map(|exemption| exemption.until);
    let from = policy.enforce_from.filter(|from| now < *from);
    if let Some(next) = ends.chain(from).min() {
        notes.push(format!(
            "what changes at a date, which the API server's expressions do not know (the next is {}; export it again then)",
            dates::written(next)
        ));
    }
    if policy.platforms.is_some() {
        notes.push("platforms (a registry must be asked)".to_owned());
    }
    if policy.size_max.is_some() {
        notes.push("size.max (a registry must be asked)".to_owned());
    }
    let about_registries = Cause::ALL
        .iter()
        .filter(|cause| !cause.has(Property::NameRule))
        .filter(|cause| policy.actions.causes().any(|written| written == **cause))
        .map(|cause| cause.name());
    let outlooks = Outlook::ALL
        .iter()
        .copied()
        .filter(|outlook| *outlook != Outlook::NotAllowed && policy.actions.of_outlook(*outlook).is_some())
        .map(Outlook::name);
    let actions: Vec<&str> = about_registries.chain(outlooks).collect();
    if !actions.is_empty() {
        notes.push(format!("actions on {} (a registry must be asked)", actions.join(", ")));
    }
    let strangers: Vec<&str> = policy
        .kinds
        .iter()
        .flatten()
        .chain(&policy.excluded_kinds)
        .map(String::as_str)
        .filter(|kind| !KINDS.iter().any(|(_, _, known)| known == kind))
        .collect();
    if !strangers.is_empty() {
        notes.push(format!("kinds {} (not Kubernetes' own)", strangers.join(", ")));
    }
    notes
}

fn rules(policy: &Policy) -> Vec<Rule> {
    let mut rules = Vec::new();
    if policy.registries.allow.is_some() || !policy.registries.deny.is_empty() {
        rules.push(Rule {
            cause: Cause::RegistryNotAllowed,
            variable: "refusedRegistries",
            breaks: format!("!({})", admits(&policy.registries)),
            says: "does not allow the registry or repository of",
        });
    }
    if !policy.tags.deny.is_empty() {
        rules.push(Rule {
            cause: Cause::TagNotAllowed,
            variable: "refusedTags",
            breaks: format!("i.tag != '' && i.tag.matches({})", any_glob(&policy.tags.deny)),
            says: "does not allow the tag of",
        });
    }
    if policy.tags.require_digest {
        rules.push(Rule {
            cause: Cause::DigestRequired,
            variable: "withoutDigest",
            breaks: "i.digest == ''".to_owned(),
            says: "requires a digest for",
        });
    }
    rules
}

/// The patterns as a decision list: CEL that says whether `i.name` is allowed.
fn admits(registries: &Registries) -> String {
    // Most specific first; on a tie, deny first. Adjacent patterns with the same verdict become one regular expression.
    let allow = registries.allow.iter().flatten().map(|pattern| (pattern, Verdict::Allow));
    let deny = registries.deny.iter().map(|pattern| (pattern, Verdict::Deny));
    let mut all: Vec<(&Pattern, Verdict)> = allow.chain(deny).collect();
    all.sort_by(|(a, does_a), (b, does_b)| b.specificity().cmp(a.specificity()).then(does_b.cmp(does_a)));
    let mut groups: Vec<(Vec<String>, Verdict)> = Vec::new();
    for (pattern, does) in all {
        match groups.last_mut() {
            Some((regexes, same)) if *same == does => regexes.push(pattern_regex(pattern)),
            Some(_) | None => groups.push((vec![pattern_regex(pattern)], does)),
        }
    }
    let mut list = String::new();
    for (regexes, does) in groups {
        let regex = quote(&format!("^({})$", regexes.join("|")));
        let _ = write!(list, "i.name.matches({regex}) ? {} : ", does == Verdict::Allow);
    }
    let _ = write!(list, "{}", registries.allow.is_none());
    // An image ID names no registry: no pattern matches it, and no allow list allows it.
    format!(
        "i.image.matches('^sha256:[0-9a-f]{{64}}$') ? {} : {list}",
        registries.allow.is_none()
    )
}

/// A pattern as RE2.
fn pattern_regex(pattern: &Pattern) -> String {
    let components: Vec<&str> = pattern.as_str().split('/').collect();
    let last = components.len() - 1;
    let mut regex = String::new();
    for (at, component) in components.into_iter().enumerate() {
        match (component, at == last) {
            ("**", true) => regex.push_str(".+"),
            ("**", false) => regex.push_str("([^/]+/)*"),
            (text, end) => {
                regex.push_str(&glob_regex(text, "[^/]*"));
                if !end {
                    regex.push('/');
                }
            }
        }
    }
    regex
}

/// A text with `*` wildcards as RE2.
fn glob_regex(text: &str, wildcard: &str) -> String {
    let literal = |text: &str| {
        text.chars().fold(String::new(), |mut out, c| {
            if r"\.+*?()|[]{}^$".contains(c) {
                out.push('\\');
            }
            out.push(c);
            out
        })
    };
    text.split('*').map(literal).collect::<Vec<_>>().join(wildcard)
}

fn any_glob(globs: &[Glob]) -> String {
    let regexes: Vec<String> = globs.iter().map(|glob| glob_regex(glob.as_str(), ".*")).collect();
    quote(&format!("^({})$", regexes.join("|")))
}

/// A CEL string literal.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The path of an object's pod spec.
fn pod_spec(object: &str) -> String {
    format!(
        "{object}.kind == 'Pod' ? dyn({object}).spec : {object}.kind == 'PodTemplate' ? dyn({object}).template.spec : \
         {object}.kind == 'CronJob' ? dyn({object}).spec.jobTemplate.spec.template.spec : dyn({object}).spec.template.spec"
    )
}

/// All images of a pod spec as written, each with what uses it (role, name and pull policy). Left out: containers without an image
/// or with a single space, which an OpenShift trigger fills in later, and image volumes without a reference.
fn uses(spec: &str) -> String {
    let of = |list: &str| {
        format!(
            "(has({spec}.{list}) ? {spec}.{list}.filter(c, has(c.image) && c.image != '' && c.image != ' ').map(c, {{\
             'use': '{list} ' + string(c.name) + ' ' + (has(c.imagePullPolicy) ? string(c.imagePullPolicy) : ''), 'image': string(c.image)}}) : [])"
        )
    };
    let volumes = format!(
        "(has({spec}.volumes) ? {spec}.volumes.filter(v, has(v.image) && has(v.image.reference) && v.image.reference != '').map(v, {{\
         'use': 'volumes ' + string(v.name) + ' ' + (has(v.image.pullPolicy) ? string(v.image.pullPolicy) : ''), 'image': string(v.image.reference)}}) : [])"
    );
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(of);
    format!("{} + {volumes}", lists.join(" + "))
}

/// Whether an update leaves alone everything else a pull depends on: pull secrets, service account, and node selection.
fn same_needs(new: &str, old: &str) -> String {
    let affinity = |spec: &str| {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        format!(
            "(has({spec}.affinity) && has({spec}.affinity.nodeAffinity) && has({spec}.affinity.nodeAffinity.{required}) ? \
             [{spec}.affinity.nodeAffinity.{required}] : [])"
        )
    };
    format!(
        "['imagePullSecrets', 'serviceAccountName', 'nodeName', 'nodeSelector', 'os'].all(f, \
         f in {new} ? f in {old} && {new}[f] == {old}[f] : !(f in {old})) && {} == {}",
        affinity(new),
        affinity(old)
    )
}

fn admission_policy(
    policy: &Policy,
    name: &str,
    (kinds, of_kinds): (&[&(&str, &str, &str)], Option<&str>),
    rules: &[&Rule],
    excluded: &[String],
    now: Timestamp,
) -> Value {
    let running: Vec<&Exemption> = policy.exemptions.iter().filter(|exemption| !exemption.ended(now)).collect();
    let mut groups: Vec<&str> = kinds.iter().map(|(group, ..)| *group).collect();
    groups.dedup();
    let resource_rules: Vec<Value> = groups
        .into_iter()
        .map(|group| {
            let mut resources: Vec<&str> = kinds.iter().filter(|kind| kind.0 == group).map(|kind| kind.1).collect();
            if resources.contains(&"pods") {
                resources.push("pods/ephemeralcontainers");
            }
            json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": resources})
        })
        .collect();
    let variable = |name: &str, expression: String| json!({"name": name, "expression": expression});
    let mut variables = vec![
        variable("spec", pod_spec("object")),
        variable("oldSpec", format!("oldObject == null ? {{}} : ({})", pod_spec("oldObject"))),
        variable("uses", uses("variables.spec")),
        variable("old", format!("oldObject == null ? [] : {}", uses("variables.oldSpec"))),
        // Images that an update leaves alone are not checked.
        variable(
            "alike",
            format!("oldObject != null && {}", same_needs("variables.spec", "variables.oldSpec")),
        ),
        variable(
            "fresh",
            "variables.uses.filter(u, !variables.alike || !(u in variables.old))".to_owned(),
        ),
    ];
    variables.extend(
        normalisation()
            .into_iter()
            .map(|(name, expression)| variable(name, expression)),
    );
    let regexes: Vec<String> = running
        .iter()
        .flat_map(|exemption| &exemption.images)
        .map(pattern_regex)
        .collect();
    let exempt = if regexes.is_empty() {
        "variables.held".to_owned()
    } else {
        let regex = quote(&format!("^({})$", regexes.join("|")));
        format!("variables.held.filter(i, !i.name.matches({regex}))")
    };
    variables.push(variable("images", exempt));
    // Violations are computed once: the rule's expression and its message's each have a cost limit.
    variables.extend(rules.iter().map(|rule| {
        variable(
            rule.variable,
            format!("variables.images.filter(i, {}).map(i, i.image)", rule.breaks),
        )
    }));
    let validations: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let refused = format!("variables.{}", rule.variable);
            let says = format!("policy \"{}\" {}", policy.name, rule.says);
            json!({
                "expression": format!("{refused}.size() == 0"),
                "message": format!("{says} an image ({})", rule.cause.name()),
                "messageExpression": format!("{} + {refused}.join(', ') + {}", quote(&format!("{says} ")), quote(&format!(" ({})", rule.cause.name()))),
                "reason": "Forbidden",
            })
        })
        .collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {
            "name": name,
            "annotations": {"pullgate.dev/exported-from": match &policy.location {
                PolicyLocation::File(_) => format!("the policy \"{}\" from a file", policy.name),
                PolicyLocation::Cluster => format!("the ImagePolicy \"{}\"", policy.name),
            }},
        },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": resource_rules, "namespaceSelector": namespace_selector(policy, excluded)},
            "matchConditions": match_conditions(policy, of_kinds, &running),
            "variables": variables,
            "validations": validations,
        },
    })
}

/// From the image as written to `{image, name, tag, digest}`, one variable per step: CEL has no `let`.
fn normalisation() -> Vec<(&'static str, String)> {
    vec![
        (
            "undigested",
            "variables.fresh.map(u, u.image).map(i, {'image': i, 'digest': i.contains('@') ? i.substring(i.indexOf('@') + 1) : '', \
             'rest': i.contains('@') ? i.substring(0, i.indexOf('@')) : i})"
                .to_owned(),
        ),
        (
            "untagged",
            "variables.undigested.map(i, {'image': i.image, 'digest': i.digest, \
             'tag': i.rest.lastIndexOf(':') > i.rest.lastIndexOf('/') ? i.rest.substring(i.rest.lastIndexOf(':') + 1) : \
             (i.digest == '' ? 'latest' : ''), \
             'rest': i.rest.lastIndexOf(':') > i.rest.lastIndexOf('/') ? i.rest.substring(0, i.rest.lastIndexOf(':')) : i.rest})"
                .to_owned(),
        ),
        (
            "qualified",
            // The first component is a host if it has a dot, a colon or an upper-case letter, or is localhost.
            "variables.untagged.map(i, {'image': i.image, 'digest': i.digest, 'tag': i.tag, \
             'rest': i.rest.matches('^([^/]*[.:A-Z][^/]*|localhost)/') ? i.rest : 'docker.io/' + i.rest})"
                .to_owned(),
        ),
        (
            "normal",
            "variables.qualified.map(i, {'image': i.image, 'digest': i.digest, 'tag': i.tag, \
             'name': i.rest.matches('^(index[.])?docker[.]io/[^/]+$') ? 'docker.io/library/' + i.rest.substring(i.rest.indexOf('/') + 1) : \
             i.rest.startsWith('index.docker.io/') ? i.rest.substring(6) : i.rest})"
                .to_owned(),
        ),
        (
            "held",
            // Hosts are case-insensitive; a single-label host is recognised by its upper case only.
            "variables.normal.map(i, {'image': i.image, 'digest': i.digest, 'tag': i.tag, \
             'name': i.name.matches('^([^/]*[.:][^/]*|(?i:localhost))/') ? \
             i.name.substring(0, i.name.indexOf('/')).lowerAscii() + i.name.substring(i.name.indexOf('/')) : i.name})"
                .to_owned(),
        ),
    ]
}

/// The policy's own selector, the label that makes pullgate ignore a namespace, and the excluded namespaces.
fn namespace_selector(policy: &Policy, excluded: &[String]) -> Value {
    let mut expressions = vec![json!({"key": "pullgate.dev/ignore", "operator": "NotIn", "values": ["true"]})];
    if !excluded.is_empty() {
        expressions.push(json!({"key": NAME_LABEL, "operator": "NotIn", "values": excluded}));
    }
    if let Some(selector) = &policy.selector {
        expressions.extend(
            selector
                .requirements()
                .iter()
                .filter_map(|requirement| serde_json::to_value(requirement).ok()),
        );
    }
    json!({"matchExpressions": expressions})
}

fn match_conditions(policy: &Policy, of_kinds: Option<&str>, running: &[&Exemption]) -> Vec<Value> {
    let condition = |name: &str, expression: String| json!({"name": name, "expression": expression});
    let mut conditions = vec![
        condition("not-being-deleted", "!has(object.metadata.deletionTimestamp)".to_owned()),
        // A mirror pod shows a static pod, which admission cannot stop.
        condition(
            "not-a-mirror-pod",
            "object.kind != 'Pod' || !has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
                .to_owned(),
        ),
    ];
    if let Some(of_kinds) = of_kinds {
        conditions.push(condition("kinds", of_kinds.to_owned()));
    }
    let exempt: Vec<Glob> = running.iter().flat_map(|exemption| exemption.namespaces.clone()).collect();
    for (name, globs) in [
        ("not-excluded-namespaces", &policy.excluded_namespaces),
        ("not-exempt-namespaces", &exempt),
    ] {
        if !globs.is_empty() {
            conditions.push(condition(name, format!("!request.namespace.matches({})", any_glob(globs))));
        }
    }
    if let Some(globs) = &policy.namespaces {
        conditions.push(condition(
            "namespaces",
            format!("request.namespace.matches({})", any_glob(globs)),
        ));
    }
    let users: Vec<Glob> = running.iter().flat_map(|exemption| exemption.users.clone()).collect();
    if !users.is_empty() {
        let users = any_glob(&users);
        conditions.push(condition(
            "not-exempt-users",
            format!("!request.userInfo.username.matches({users})"),
        ));
    }
    let groups: Vec<Glob> = running.iter().flat_map(|exemption| exemption.groups.clone()).collect();
    if !groups.is_empty() {
        let groups = any_glob(&groups);
        conditions.push(condition(
            "not-exempt-groups",
            format!("!has(request.userInfo.groups) || !request.userInfo.groups.exists(g, g.matches({groups}))"),
        ));
    }
    conditions
}
