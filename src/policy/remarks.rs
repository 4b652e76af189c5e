//! Notes of `policy validate`: what is valid but may not mean what its author thinks.

use super::compiled::Policy;
use super::{Problem, schema};
use crate::image::Pattern;
use crate::workload::OwnerKind;
use serde_json::Value;

/// The longest name of a namespace, a DNS label, in characters.
const LONGEST_NAMESPACE: usize = 63;
/// The longest tag, in characters.
const LONGEST_TAG: usize = 128;

/// Everything to be noted about a valid policy, as it was written and as it was understood.
pub fn remarks(object: &Value, policy: &Policy) -> Vec<Problem> {
    let mut notes = schema::remarks(object);
    patterns(policy, &mut notes);
    tags(policy, &mut notes);
    namespaces(policy, &mut notes);
    kinds(policy, &mut notes);
    notes
}

fn patterns(policy: &Policy, notes: &mut Vec<Problem>) {
    let allow = policy.registries.allow.as_deref().unwrap_or_default();
    let deny = policy.registries.deny.as_slice();
    let exempt: Vec<(String, &[Pattern])> = policy
        .exemptions
        .iter()
        .map(|exemption| (format!("spec.{}.images", exemption.path), exemption.images.as_slice()))
        .collect();
    let lists = [("spec.registries.allow", allow), ("spec.registries.deny", deny)];
    let exempt_lists = exempt.iter().map(|(path, list)| (path.as_str(), *list));
    for (path, list) in lists.into_iter().chain(exempt_lists.clone()) {
        for (at, pattern) in list.iter().enumerate() {
            let Some(host) = whole_host(pattern) else { continue };
            let wide = format!("{host}/**");
            if list.iter().any(|other| other.as_str() == wide || other.as_str() == "**") {
                continue;
            }
            notes.push(Problem::at(
                format!("{path}[{at}]"),
                format!(
                    "\"{pattern}\" matches {host}/app, and not {host}/team/app: here * stays within a component, unlike in other tools; for everything in that \
                     registry, write {wide}"
                ),
            ));
        }
    }
    shadowed(
        ("spec.registries.allow", allow),
        |wide, narrow| {
            deny.iter()
                .any(|deny| deny.specificity() >= wide.specificity() && deny.specificity() < narrow.specificity())
        },
        notes,
    );
    shadowed(
        ("spec.registries.deny", deny),
        |wide, narrow| {
            allow
                .iter()
                .any(|allow| allow.specificity() > wide.specificity() && allow.specificity() <= narrow.specificity())
        },
        notes,
    );
    for list in exempt_lists {
        shadowed(list, |_, _| false, notes);
    }
}

/// The host of `host/*`.
fn whole_host(pattern: &Pattern) -> Option<&str> {
    let (host, rest) = pattern.as_str().split_once('/')?;
    (rest == "*").then_some(host)
}

/// Patterns that another one of their list makes useless: it covers them, and `between` says that no pattern of the other list comes
/// between the two.
fn shadowed((path, list): (&str, &[Pattern]), between: impl Fn(&Pattern, &Pattern) -> bool, notes: &mut Vec<Problem>) {
    for (at, narrow) in list.iter().enumerate() {
        let wide = list.iter().enumerate().find(|(other, wide)| {
            let same = wide.as_str() == narrow.as_str();
            let equal = narrow.covers(wide);
            let first = *other < at || !equal;
            if same {
                *other < at
            } else {
                wide.covers(narrow) && first && !between(wide, narrow)
            }
        });
        if let Some((_, wide)) = wide {
            let why = if wide.as_str() == narrow.as_str() {
                "it is in the list twice".to_owned()
            } else {
                format!("\"{wide}\" covers all that it matches")
            };
            notes.push(Problem::at(
                format!("{path}[{at}]"),
                format!("\"{narrow}\" changes nothing: {why}"),
            ));
        }
    }
}

fn tags(policy: &Policy, notes: &mut Vec<Problem>) {
    let globs = &policy.tags.deny;
    for (at, glob) in globs.iter().enumerate() {
        let path = format!("spec.tags.deny[{at}]");
        let text = glob.as_str();
        let literal = text.chars().filter(|c| *c != '*').count();
        if text.starts_with(['.', '-']) || literal > LONGEST_TAG {
            let why = format!("tags have at most {LONGEST_TAG} characters and begin with a letter, a digit or _");
            notes.push(Problem::at(path, format!("{text:?} can match no tag: {why}")));
            continue;
        }
        // A wildcard in the narrower one is only covered by a wildcard in the wider one.
        let wide = globs.iter().enumerate().find(|(other, wide)| {
            let same = wide.as_str() == text;
            (same && *other < at) || (!same && wide.matches(text))
        });
        if let Some((_, wide)) = wide {
            notes.push(Problem::at(
                path,
                format!("{text:?} changes nothing: {:?} covers all that it matches", wide.as_str()),
            ));
        }
    }
}

fn namespaces(policy: &Policy, notes: &mut Vec<Problem>) {
    let wanted = policy.namespaces.as_deref().unwrap_or_default();
    let lists = [
        ("match.namespaces", wanted),
        ("match.excludeNamespaces", policy.excluded_namespaces.as_slice()),
    ];
    let lists = lists.map(|(path, list)| (path.to_owned(), list));
    let exempt = policy.exemptions.iter();
    let exempt = exempt.map(|exemption| (format!("{}.namespaces", exemption.path), exemption.namespaces.as_slice()));
    for (path, list) in lists.into_iter().chain(exempt.clone()) {
        for (at, glob) in list.iter().enumerate() {
            let text = glob.as_str();
            let literal = text.chars().filter(|c| *c != '*').count();
            if text.starts_with('-') || text.ends_with('-') || literal > LONGEST_NAMESPACE {
                notes.push(Problem::at(
                    format!("spec.{path}[{at}]"),
                    format!(
                        "{text:?} can match no namespace: names have at most {LONGEST_NAMESPACE} characters and begin and end with a letter or a digit"
                    ),
                ));
            }
        }
    }
    for (at, glob) in wanted.iter().enumerate() {
        // Exemptions that end do not make it useless for good.
        let lasting = exempt
            .clone()
            .zip(&policy.exemptions)
            .filter(|(_, exemption)| exemption.until.is_none());
        let mut out = std::iter::once(("match.excludeNamespaces".to_owned(), policy.excluded_namespaces.as_slice()))
            .chain(lasting.map(|(list, _)| list));
        let covers = |globs: &&super::selector::Glob| globs.matches(glob.as_str());
        if let Some((list, wide)) = out.find_map(|(list, globs)| Some((list, globs.iter().find(covers)?))) {
            notes.push(Problem::at(
                format!("spec.match.namespaces[{at}]"),
                format!("{:?} changes nothing: {list} has {:?}", glob.as_str(), wide.as_str()),
            ));
        }
    }
}

fn kinds(policy: &Policy, notes: &mut Vec<Problem>) {
    let has = |kinds: &[String], kind: &str| kinds.iter().any(|known| known == kind);
    let wanted = policy.kinds.as_deref().unwrap_or_default();
    let excluded = policy.excluded_kinds.as_slice();
    for (at, kind) in wanted.iter().enumerate() {
        let path = format!("spec.match.kinds[{at}]");
        if has(excluded, kind) {
            notes.push(Problem::at(
                path,
                format!("{kind} changes nothing: match.excludeKinds has it"),
            ));
        } else if kind == "Pod" && !OwnerKind::ALL.iter().any(|owner| has(wanted, owner.name())) {
            let owners = OwnerKind::ALL.map(OwnerKind::name).join(", ");
            notes.push(Problem::at(
                path,
                format!(
                    "only Pods that nobody owns: a Pod of a Deployment counts as that Deployment; leave kinds out to mean all, or add what owns Pods ({owners})"
                ),
            ));
        }
    }
    // Kinds between a root and its Pods (a `ReplicaSet`) have the same images, and people create them too.
    for (path, list) in [("spec.match.kinds", wanted), ("spec.match.excludeKinds", excluded)] {
        for (at, kind) in list.iter().enumerate() {
            let of = OwnerKind::named(kind);
            let above = of.and_then(OwnerKind::usual_owner);
            let below = OwnerKind::ALL
                .into_iter()
                .find(|below| of.is_some() && below.usual_owner() == of);
            let partner = above.or(below).map(OwnerKind::name).filter(|partner| !has(list, partner));
            if let Some(partner) = partner {
                let (upper, lower) = if above.is_some() {
                    (partner, kind.as_str())
                } else {
                    (kind.as_str(), partner)
                };
                notes.push(Problem::at(
                    format!("{path}[{at}]"),
                    format!("{kind} and not {partner}: a {lower} of a {upper} counts as the {upper}, and any other as a {lower}; name both if both are meant"),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyLocation;
    use serde_json::json;

    fn notes(spec: &Value) -> Vec<String> {
        let object = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": spec});
        let policy = Policy::compile(&object, PolicyLocation::Cluster).unwrap_or_else(|problems| panic!("{spec}: {problems:?}"));
        remarks(&object, &policy).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_may_not_be_meant_is_noted_at_its_place() {
        for (spec, said) in [
            (
                json!({"registries": {"allow": ["reg.corp/*"]}}),
                "spec.registries.allow[0]: \"reg.corp/*\" matches reg.corp/app, and not reg.corp/team/app",
            ),
            (json!({"registries": {"deny": ["reg.corp:5000/*"]}}), "write reg.corp:5000/**"),
            (
                json!({"exempt": {"images": ["reg.corp/*"]}, "tags": {"deny": ["x"]}}),
                "spec.exempt.images[0]: ",
            ),
            (
                json!({"registries": {"allow": ["reg.corp/**", "reg.corp/team/**"]}}),
                "spec.registries.allow[1]: \"reg.corp/team/**\" changes nothing: \"reg.corp/**\" covers",
            ),
            (
                json!({"registries": {"allow": ["reg.corp/**", "reg.corp/**"]}}),
                "spec.registries.allow[1]: \"reg.corp/**\" changes nothing: it is in the list twice",
            ),
            (
                json!({"registries": {"deny": ["docker.io/**", "nginx"]}}),
                "spec.registries.deny[1]: ",
            ),
            (
                json!({"tags": {"deny": ["*", "latest"]}}),
                "spec.tags.deny[1]: \"latest\" changes nothing: \"*\" covers",
            ),
            (
                json!({"tags": {"deny": ["-dev"]}}),
                "spec.tags.deny[0]: \"-dev\" can match no tag",
            ),
            (json!({"match": {"namespaces": ["-prod"]}}), "can match no namespace"),
            (
                json!({"match": {"namespaces": ["prod-a"], "excludeNamespaces": ["prod-*"]}}),
                "spec.match.namespaces[0]: \"prod-a\" changes nothing: match.excludeNamespaces has \"prod-*\"",
            ),
            (
                json!({"match": {"kinds": ["Pod"]}}),
                "spec.match.kinds[0]: only Pods that nobody owns",
            ),
            (
                json!({"match": {"excludeKinds": ["Job"]}}),
                "spec.match.excludeKinds[0]: Job and not CronJob: a Job of a CronJob counts as the CronJob",
            ),
            (
                json!({"match": {"kinds": ["Deployment"]}}),
                "Deployment and not ReplicaSet: a ReplicaSet of a Deployment counts",
            ),
            (
                json!({"match": {"kinds": ["DaemonSet"], "excludeKinds": ["DaemonSet"]}}),
                "match.excludeKinds has it",
            ),
        ] {
            let notes = notes(&spec);
            assert!(notes.len() == 1 && notes[0].contains(said), "{spec}: {notes:#?}");
        }
    }

    #[test]
    fn what_has_an_effect_is_not_noted() {
        for spec in [
            json!({"registries": {"allow": ["reg.corp/**", "docker.io/library/*"], "deny": ["docker.io/**"]}}),
            json!({"registries": {"allow": ["reg.corp/*", "reg.corp/**"]}, "tags": {"deny": ["latest", "*-dev"]}}),
            // A deny pattern is between the two.
            json!({"registries": {"allow": ["reg.corp/**", "reg.corp/team/app"], "deny": ["reg.corp/team/**"]}}),
            json!({"registries": {"allow": ["**", "reg.corp/team/**"], "deny": ["reg.corp/**", "reg.corp/team/old"]}}),
            json!({"match": {"kinds": ["Pod", "Deployment", "ReplicaSet"], "excludeKinds": ["Job", "CronJob"], "namespaces": ["prod-*"]}}),
        ] {
            let mut notes = notes(&spec);
            // This note is expected for that pair of patterns.
            notes.retain(|note| {
                !(spec["registries"]["allow"][0] == "reg.corp/*" && note.contains("\"reg.corp/*\" changes nothing"))
            });
            assert_eq!(notes, Vec::<String>::new(), "{spec}");
        }
    }
}
