//! An AdmissionReview, parsed with an envelope of our own so that an odd field elsewhere never makes it fail.

use super::bounded::{Bounded, Lean, TOO_MUCH};
use crate::policy::Requester;
use crate::telemetry::BadRequest;
use crate::workload::Skip;
use serde::Deserialize;
use serde_json::Value;

/// The operation on the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// CREATE.
    Create,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// CONNECT.
    Connect,
}

impl Operation {
    /// As the API server writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A request of the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    /// To be repeated in the answer.
    pub uid: String,
    /// Create, update, delete or connect.
    pub operation: Operation,
    /// `ephemeralcontainers`, `scale` …; empty for the object itself.
    pub sub_resource: String,
    /// The kind, for the log.
    pub kind: String,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The name; may be empty.
    pub name: String,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// The object.
    pub object: Value,
    /// The object before an UPDATE.
    pub old_object: Option<Value>,
    /// The requesting user.
    pub requester: Requester,
}

/// A request that is not a valid AdmissionReview: HTTP 400 and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// For the metric. [`BadRequest::TooLarge`] is a review that would take more memory than one may have: whoever sent it may be told so
    /// (413).
    pub reason: BadRequest,
    /// What is wrong, and what was expected.
    pub sentence: String,
}

impl Bad {
    /// With a reason, and what is wrong.
    pub fn new(reason: BadRequest, sentence: impl Into<String>) -> Self {
        Self {
            reason,
            sentence: sentence.into(),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<Request> {
    #[serde(rename = "apiVersion", default)]
    api_version: Bounded,
    #[serde(default)]
    kind: Bounded,
    #[serde(default)]
    request: Option<Request>,
}

impl Envelope<Value> {
    /// A body with too many values is parsed again, without the members that contain no image.
    fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let whole: Result<Envelope<Bounded>, _> = serde_json::from_slice(body);
        match whole {
            Ok(envelope) => Ok(envelope.map(|Bounded(request)| request)),
            Err(error) if error.to_string().starts_with(TOO_MUCH) => {
                let lean: Envelope<Lean> = serde_json::from_slice(body)?;
                Ok(lean.map(|Lean(request)| request))
            }
            Err(error) => Err(error),
        }
    }
}

impl<Request> Envelope<Request> {
    fn map<Other>(self, change: impl FnOnce(Request) -> Other) -> Envelope<Other> {
        Envelope {
            api_version: self.api_version,
            kind: self.kind,
            request: self.request.map(change),
        }
    }
}

/// Parses a review. Levels deeper than 100 are dropped; if there is still too much, so are `managedFields` and how containers are
/// run. The rest is judged.
pub fn parse(body: &[u8]) -> Result<Review, Bad> {
    let envelope = Envelope::read(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        if error.to_string().starts_with(TOO_MUCH) {
            return Bad::new(
                BadRequest::TooLarge,
                format!("the AdmissionReview has {TOO_MUCH} (line {line}, column {column})"),
            );
        }
        Bad::new(
            BadRequest::NotJson,
            format!("the body is not an AdmissionReview in JSON (line {line}, column {column})"),
        )
    })?;
    let (Bounded(kind), Bounded(api_version)) = (&envelope.kind, &envelope.api_version);
    if kind.as_str() != Some("AdmissionReview") {
        return Err(Bad::new(
            BadRequest::WrongKind,
            format!("expected kind AdmissionReview, got {}", brief(kind)),
        ));
    }
    if api_version.as_str() != Some("admission.k8s.io/v1") {
        return Err(Bad::new(
            BadRequest::WrongVersion,
            format!(
                "expected apiVersion admission.k8s.io/v1, got {}; set admissionReviewVersions: [v1]",
                brief(api_version)
            ),
        ));
    }
    let Some(Value::Object(mut request)) = envelope.request else {
        return Err(Bad::new(BadRequest::NoRequest, "the AdmissionReview has no request"));
    };
    let uid = text(request.get("uid"));
    if uid.is_empty() {
        return Err(Bad::new(
            BadRequest::NoUid,
            "the request has no uid, so an answer could not be matched to it",
        ));
    }
    let operation = match text(request.get("operation")).as_str() {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "CONNECT" => Operation::Connect,
        other => {
            return Err(Bad::new(
                BadRequest::WrongOperation,
                format!(
                    "expected operation CREATE, UPDATE, DELETE or CONNECT, got {}",
                    brief(&Value::String(other.to_owned()))
                ),
            ));
        }
    };
    let kind = request.get("kind").and_then(|kind| kind.get("kind"));
    Ok(Review {
        operation,
        sub_resource: text(request.get("subResource")),
        kind: text(kind),
        namespace: text(request.get("namespace")),
        name: text(request.get("name")),
        dry_run: request.get("dryRun").and_then(Value::as_bool).unwrap_or(false),
        object: request.remove("object").unwrap_or(Value::Null),
        old_object: request.remove("oldObject").filter(|old| !old.is_null()),
        requester: requester(request.get("userInfo")),
        uid,
    })
}

impl Review {
    /// Whether the operation or subresource alone means that there is nothing to judge (pull-semantics 3.3).
    pub fn skip(&self) -> Option<Skip> {
        match self.operation {
            Operation::Delete | Operation::Connect => return Some(Skip::Operation),
            Operation::Create | Operation::Update => {}
        }
        match self.sub_resource.as_str() {
            "" | "ephemeralcontainers" => None,
            _ => Some(Skip::Subresource),
        }
    }

    /// Drops the objects except for the new one's name: a review may wait for registries, and others arrive meanwhile.
    pub fn forget_objects(&mut self) {
        let object = std::mem::take(&mut self.object);
        self.old_object = None;
        let metadata = object.get("metadata");
        let kept = ["name", "generateName", "uid"].into_iter().filter_map(|key| {
            let value = metadata?.get(key)?;
            Some((key.to_owned(), value.clone()))
        });
        let kept: serde_json::Map<String, Value> = kept.collect();
        self.object = serde_json::json!({"metadata": kept});
    }

    /// The object before the change; it only counts for an UPDATE.
    pub fn before(&self) -> Option<&Value> {
        match self.operation {
            Operation::Update => self.old_object.as_ref(),
            Operation::Create | Operation::Delete | Operation::Connect => None,
        }
    }
}

/// `userInfo`; invalid parts are left empty.
fn requester(info: Option<&Value>) -> Requester {
    let groups = info.and_then(|info| info.get("groups")).and_then(Value::as_array);
    let groups = groups.into_iter().flatten().filter_map(Value::as_str);
    Requester {
        user: text(info.and_then(|info| info.get("username"))),
        groups: groups.map(str::to_owned).collect(),
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A value for a message: short, and on one line.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "nothing".to_owned(),
        Value::String(text) => format!("\"{}\"", crate::image::escape(&text.chars().take(60).collect::<String>())),
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> &'static str {
        parse(body.as_bytes()).unwrap_err().reason.name()
    }

    #[test]
    fn what_is_no_review_is_told_apart() {
        for (body, expected) in [
            ("", "not_json"),
            ("{", "not_json"),
            ("[]", "wrong_kind"),
            ("{}", "wrong_kind"),
            (r#"{"kind":5}"#, "wrong_kind"),
            (r#"{"kind":"Pod","apiVersion":"v1"}"#, "wrong_kind"),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}"#,
                "wrong_version",
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#,
                "no_request",
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":[]}"#,
                "no_request",
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#,
                "no_uid",
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","operation":"EAT"}}"#,
                "wrong_operation",
            ),
        ] {
            assert_eq!(reason(body), expected, "{body}");
        }
    }

    #[test]
    fn deep_nesting_keeps_no_image_from_being_seen() {
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        let body = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"operation":"CREATE","options":{deep},
                "object":{{"kind":"Pod","metadata":{{"managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{{"containers":[{{"image":"a"}}]}}}},
                "uid":"u"}}}}"#
        );
        let review = parse(body.as_bytes()).unwrap();
        assert_eq!(review.uid, "u");
        assert_eq!(review.object["spec"]["containers"][0]["image"], "a");
    }

    #[test]
    fn odd_fields_elsewhere_do_no_harm() {
        let body = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","extra":1,"request":{"uid":"u","operation":"UPDATE",
            "dryRun":null,"userInfo":7,"kind":"?","namespace":3,"object":{"kind":"Pod"},"oldObject":null}}"#;
        let review = parse(body.as_bytes()).unwrap();
        assert_eq!(
            (review.uid.as_str(), review.operation, review.dry_run),
            ("u", Operation::Update, false)
        );
        assert_eq!(review.before(), None);
        assert_eq!(review.skip(), None);
    }

    #[test]
    fn operations_and_subresources_that_change_no_image_are_skipped() {
        let review = |operation: &str, sub: &str| {
            let body = format!(
                r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","operation":"{operation}","subResource":"{sub}"}}}}"#
            );
            parse(body.as_bytes()).unwrap().skip()
        };
        assert_eq!(review("DELETE", ""), Some(Skip::Operation));
        assert_eq!(review("CONNECT", "exec"), Some(Skip::Operation));
        assert_eq!(review("UPDATE", "status"), Some(Skip::Subresource));
        assert_eq!(review("UPDATE", "scale"), Some(Skip::Subresource));
        assert_eq!(review("UPDATE", "ephemeralcontainers"), None);
        assert_eq!(review("CREATE", ""), None);
    }
}
