//! By topic. How policies affect a look-up is tested with the plan.

mod export;
mod matching;
mod names;
mod properties;
mod time;
mod votes;
mod written;

use super::*;
use crate::image::Reference;
use crate::verdict::decision::Decision;
use crate::verdict::finding::FindingEvidence;
use crate::verdict::{Cause, Finding, Outlook, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;

fn object(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": name}, "spec": spec})
}

fn policy(name: &str, spec: &Value) -> Arc<Policy> {
    let compiled = Policy::compile(&object(name, spec), PolicyLocation::Cluster);
    Arc::new(compiled.unwrap_or_else(|problems| panic!("{name}: {problems:?}")))
}

fn problems(spec: &Value) -> Vec<String> {
    let problems = Policy::compile(&object("p", spec), PolicyLocation::Cluster).expect_err("a problem");
    problems.iter().map(ToString::to_string).collect()
}

fn finding(cause: Cause, outlook: Outlook) -> Finding {
    Finding {
        cause,
        outlook,
        message: "what".to_owned(),
        fix: "fix".to_owned(),
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

const SHOP: Subject<'static> = Subject {
    namespace: "shop",
    labels: Some(&[]),
    kinds: &["Deployment"],
};

fn matching(policies: &[Arc<Policy>]) -> Matching {
    matching_in(policies, &Modes::default())
}

fn matching_in(policies: &[Arc<Policy>], modes: &Modes) -> Matching {
    Policies::new(policies.to_vec()).matching(&SHOP, &Requester::default(), circumstances(modes))
}

fn circumstances(modes: &Modes) -> Circumstances<'_> {
    Circumstances {
        modes,
        now: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Policies with a namespace selector, in a namespace whose labels are not known.
fn unsure(policies: &[Arc<Policy>]) -> Matching {
    let subject = Subject { labels: None, ..SHOP };
    Policies::new(policies.to_vec()).matching(&subject, &Requester::default(), circumstances(&Modes::default()))
}

fn reference(image: &str) -> Reference {
    Reference::parse(image).unwrap_or_else(|why| panic!("{image}: {why}"))
}

/// What the name rules object to.
fn causes(matching: &Matching, image: &str) -> Vec<&'static str> {
    let raised = matching.names(&reference(image), image);
    raised.iter().map(|raised| raised.finding.cause.name()).collect()
}
