//! The answer as an AdmissionReview v1 (contract 2 and 3).

use super::audit::Audit;
use crate::image::escape;
use crate::policy::Mode;
use crate::verdict::Verdict;
use crate::verdict::message::{LISTED, denial, told_findings, warnings};
use crate::verdict::review_result::{Judged, ReviewResult};
use crate::workload::{ObjectId, Skip};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The outcome to report.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Allowed without judging.
    Skipped(Skip),
    /// The object could not be read: denied where a policy in force may be about it, else allowed with a warning.
    Unread {
        /// The object.
        object: &'a ObjectId,
        /// Why, as a sentence without its full stop.
        why: &'a str,
        /// The policies in force, or an exemption.
        policies: &'a ReviewResult,
    },
    /// Judged, or exempt.
    Answered {
        /// The object.
        object: &'a ObjectId,
        /// The result of the review.
        result: &'a ReviewResult,
    },
}

impl Outcome<'_> {
    /// The object's verdict: that of its worst image.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Skipped(_) => Verdict::Allow,
            Self::Unread { policies, .. } if policies.exempt.is_some() => Verdict::Allow,
            Self::Unread { policies, .. } if enforced(policies).next().is_some() => Verdict::Deny,
            Self::Unread { .. } => Verdict::Warn,
            Self::Answered { result, .. } => result.verdict(),
        }
    }
}

/// The policies in force that may be about an object.
fn enforced(policies: &ReviewResult) -> impl Iterator<Item = &str> {
    let matching = policies.policies.matching.iter();
    matching
        .filter(|(_, mode)| *mode == Mode::Enforce.name())
        .map(|(name, _)| &**name)
}

/// The answer to a review, as JSON.
#[derive(Serialize)]
struct Answered<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    allowed: bool,
    #[serde(rename = "auditAnnotations")]
    annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    uid: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The answer to the review with that uid, as JSON.
pub fn respond(uid: &str, outcome: Outcome<'_>) -> Vec<u8> {
    let verdict = outcome.verdict();
    let mut response = Response {
        allowed: verdict != Verdict::Deny,
        annotations: BTreeMap::from([("verdict", verdict.name().to_owned())]),
        status: None,
        uid,
        warnings: Vec::new(),
    };
    let mut annotate = |key, text: &str| {
        if !text.is_empty() {
            response.annotations.insert(key, text.to_owned());
        }
    };
    match outcome {
        Outcome::Skipped(skip) => annotate("skipped", skip.name()),
        Outcome::Unread { object, why, policies } => {
            let audit = Audit::of(policies);
            annotate("unread", why);
            annotate("exempt", &audit.exempt);
            annotate("policy", &audit.policies);
            let message = unread(object, why, policies);
            match verdict {
                Verdict::Deny => response.status = Some(status(object, &[], &message)),
                Verdict::Warn => response.warnings = vec![message],
                Verdict::Allow => {}
            }
        }
        Outcome::Answered { object, result } => {
            let images = &result.images;
            let audit = Audit::of(result);
            annotate("exempt", &audit.exempt);
            annotate("policy", &audit.policies);
            annotate("decision", &audit.decisions);
            annotate("mode", audit.mode.unwrap_or_default());
            annotate("enforced", audit.enforced.unwrap_or_default());
            let mut causes: Vec<&str> = Vec::new();
            for finding in images.iter().flat_map(|judged| &judged.judgement.findings) {
                if !causes.contains(&finding.cause.name()) {
                    causes.push(finding.cause.name());
                }
            }
            annotate("causes", &causes.join(","));
            response.warnings = warnings(images);
            if verdict == Verdict::Deny {
                response.status = Some(status(object, images, &denial(object, images)));
            }
        }
    }
    let answered = Answered {
        api_version: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response,
    };
    // Serialising it cannot fail.
    serde_json::to_vec(&answered).unwrap_or_default()
}

/// The message about an object that could not be read.
fn unread(object: &ObjectId, why: &str, policies: &ReviewResult) -> String {
    const LISTED: usize = 5;
    let who = escape(&format!("{} {}/{}", object.kind, object.namespace, object.name));
    let policies: Vec<&str> = enforced(policies).take(LISTED).collect();
    if policies.is_empty() {
        return format!("{who} was not judged: {why}");
    }
    format!(
        "{who} was not judged: {why}. It is denied, because what cannot be read may break a policy that is enforced ({}); make it smaller, or split it",
        policies.join(", ")
    )
}

/// A 403 `Forbidden` with one cause per finding, in the order of the image fields. Not 429: client-go would retry that ten times.
fn status(object: &ObjectId, images: &[Judged], message: &str) -> Value {
    let causes: Vec<Value> = images
        .iter()
        .flat_map(|judged| told_findings(judged).map(move |(finding, decision)| (judged, finding, decision)))
        .take(LISTED)
        .map(|(judged, finding, decision)| {
            let said = decision
                .policy_message
                .as_ref()
                .map_or_else(String::new, |message| format!("; {message}"));
            json!({
                "reason": finding.cause.name(),
                "message": format!("{}; {}{said}", finding.message, finding.fix),
                "field": judged.image.path.as_str(),
            })
        })
        .collect();
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Forbidden",
        "code": 403,
        "details": {"name": object.name, "kind": object.kind, "causes": causes},
    })
}
