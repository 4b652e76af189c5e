//! An AdmissionReview, parsed with an envelope of our own so that an odd field elsewhere never makes it fail.

use crate::policy::Requester;
use crate::telemetry::BadRequest;
use crate::workload::{Keep, Kinds, Skip, TOO_MUCH};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::LazyLock;

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
    /// What is read of the object: null where [`Review::skip`] has a reason.
    pub object: Value,
    /// The same of the object before an UPDATE.
    pub old_object: Option<Value>,
    /// The requesting user.
    pub requester: Requester,
    /// The object's API group and version, as the request has it: `apps/v1`, `v1`.
    pub api_version: String,
    /// Why the object could not be read, as a sentence without its full stop.
    pub unread: Option<String>,
}

/// A request that is not a valid AdmissionReview: HTTP 400 and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// For the metric.
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

/// What is read of a request, beside its objects.
static REQUEST: LazyLock<Keep> = LazyLock::new(|| {
    Keep::paths(&[
        "uid",
        "operation",
        "subResource",
        "kind.group",
        "kind.version",
        "kind.kind",
        "namespace",
        "name",
        "dryRun",
        "userInfo.username",
        "userInfo.groups[*]",
    ])
});

/// A text, or what stands in its place.
#[derive(Default)]
struct Shallow(Value);

impl<'de> Deserialize<'de> for Shallow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Keep::default().read(deserializer).map(Self)
    }
}

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "apiVersion", default)]
    api_version: Shallow,
    #[serde(default)]
    kind: Shallow,
    #[serde(borrow, default)]
    request: Asked<'a>,
}

/// A request. Its objects are passed over at first: what is read of them depends on their kind.
#[derive(Default)]
struct Request<'a> {
    fields: Map<String, Value>,
    object: Option<&'a RawValue>,
    old_object: Option<&'a RawValue>,
}

/// A request, if there is one.
#[derive(Default)]
struct Asked<'a>(Option<Request<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Asked<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut asked = Self(None);
        deserializer.deserialize_any(Members(&mut asked.0))?;
        Ok(asked)
    }
}

/// Reads a request's members, and leaves those that it has read where reading ends early.
struct Members<'r, 'a>(&'r mut Option<Request<'a>>);

impl<'de: 'a, 'a> Visitor<'de> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let request = self.0.get_or_insert_default();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "object" => request.object = members.next_value()?,
                "oldObject" => request.old_object = members.next_value()?,
                _ => match REQUEST.member(&name) {
                    Some(keep) => _ = request.fields.insert(name, members.next_value_seed(keep)?),
                    None => _ = members.next_value::<IgnoredAny>()?,
                },
            }
        }
        Ok(())
    }
}

/// The beginning of a body: what there is of its request.
struct Beginning<'r, 'a>(&'r mut Option<Request<'a>>);

impl<'de: 'a, 'a> Visitor<'de> for Beginning<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if name == "request" {
                members.next_value_seed(Members(&mut *self.0))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> DeserializeSeed<'de> for Members<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// An object's apiVersion and kind. They come first as the API server writes it, and no more is read.
fn kind_of(object: &RawValue) -> (String, String) {
    let mut named = Named::default();
    // An error is how reading ends early.
    let _ = serde_json::Deserializer::from_str(object.get()).deserialize_map(&mut named);
    (named.api_version.unwrap_or_default(), named.kind.unwrap_or_default())
}

#[derive(Default)]
struct Named {
    api_version: Option<String>,
    kind: Option<String>,
}

impl<'de> Visitor<'de> for &mut Named {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            let wanted = match name.as_str() {
                "apiVersion" => &mut self.api_version,
                "kind" => &mut self.kind,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let Shallow(value) = members.next_value()?;
            *wanted = value.as_str().map(str::to_owned);
            if self.api_version.is_some() && self.kind.is_some() {
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// Parses a review. Of its objects it reads what their kind says ([`Kinds::keep`]), to 100 levels; the rest takes no memory, however much
/// there is.
pub fn parse(body: &[u8], kinds: &Kinds) -> Result<Review, Bad> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let (Shallow(kind), Shallow(api_version)) = (&envelope.kind, &envelope.api_version);
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
    let Asked(Some(request)) = envelope.request else {
        return Err(Bad::new(BadRequest::NoRequest, "the AdmissionReview has no request"));
    };
    let mut review = head(&request.fields)?;
    if let (None, Some(object)) = (review.skip(), request.object) {
        let (api_version, kind) = kind_of(object);
        let keep = kinds.keep(&api_version, &kind);
        let old = request.old_object.filter(|_| review.operation == Operation::Update);
        match (read(object, keep)?, old.map(|old| read(old, keep)).transpose()?) {
            (Some(object), None) => review.object = object,
            (Some(object), Some(Some(old))) => {
                review.object = object;
                review.old_object = Some(old).filter(|old| !old.is_null());
            }
            (None, _) | (_, Some(None)) => review.unread = Some(format!("the object has {TOO_MUCH} to be read")),
        }
    }
    Ok(review)
}

/// Reads what there is of a review whose body has only its `beginning`. Its object is not read.
pub fn parse_beginning(beginning: &[u8], why: String) -> Result<Review, Bad> {
    let mut request = None;
    // It ends in the middle, so there is an error.
    let ended = serde_json::Deserializer::from_slice(beginning).deserialize_map(Beginning(&mut request));
    let Some(request) = request else {
        let reason = if ended.is_ok() {
            BadRequest::NoRequest
        } else {
            BadRequest::NotJson
        };
        return Err(Bad::new(reason, "the body is not an AdmissionReview in JSON"));
    };
    let mut review = head(&request.fields)?;
    review.unread = Some(why);
    Ok(review)
}

/// `None` where there is too much to be read.
fn read(object: &RawValue, keep: &Keep) -> Result<Option<Value>, Bad> {
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    match keep.read(&mut deserializer) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.to_string().starts_with(TOO_MUCH) => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

/// All of a request but its objects.
fn head(fields: &Map<String, Value>) -> Result<Review, Bad> {
    let uid = text(fields.get("uid"));
    if uid.is_empty() {
        return Err(Bad::new(
            BadRequest::NoUid,
            "the request has no uid, so an answer could not be matched to it",
        ));
    }
    let operation = match text(fields.get("operation")).as_str() {
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
    let kind = |part: &str| text(fields.get("kind").and_then(|kind| kind.get(part)));
    let (group, version) = (kind("group"), kind("version"));
    Ok(Review {
        operation,
        sub_resource: text(fields.get("subResource")),
        kind: kind("kind"),
        namespace: text(fields.get("namespace")),
        name: text(fields.get("name")),
        dry_run: fields.get("dryRun").and_then(Value::as_bool).unwrap_or(false),
        object: Value::Null,
        old_object: None,
        requester: requester(fields.get("userInfo")),
        api_version: if group.is_empty() {
            version
        } else {
            format!("{group}/{version}")
        },
        unread: None,
        uid,
    })
}

fn unreadable(error: &serde_json::Error) -> Bad {
    let (line, column) = (error.line(), error.column());
    Bad::new(
        BadRequest::NotJson,
        format!("the body is not an AdmissionReview in JSON (line {line}, column {column})"),
    )
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
        parse(body.as_bytes(), &Kinds::default()).unwrap_err().reason.name()
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
        let review = parse(body.as_bytes(), &Kinds::default()).unwrap();
        assert_eq!(review.uid, "u");
        assert_eq!(review.object["spec"]["containers"][0]["image"], "a");
    }

    #[test]
    fn the_beginning_tells_whose_object_it_is() {
        let body = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","kind":{"group":"apps",
            "version":"v1","kind":"Deployment"},"name":"d","namespace":"shop","operation":"CREATE","userInfo":{"username":"jane"},
            "object":{"apiVersion":"apps/v1","metadata":{"annotations":{"a":"<<<<"#;
        let review = parse_beginning(body.as_bytes(), "too long".to_owned()).unwrap();
        assert_eq!(
            (
                review.uid.as_str(),
                review.api_version.as_str(),
                review.kind.as_str(),
                review.namespace.as_str()
            ),
            ("u", "apps/v1", "Deployment", "shop")
        );
        assert_eq!(
            (review.requester.user.as_str(), review.unread.as_deref()),
            ("jane", Some("too long"))
        );
        for (body, reason) in [
            ("{", "not_json"),
            ("x", "not_json"),
            ("{}", "no_request"),
            (r#"{"request":{"#, "no_uid"),
        ] {
            assert_eq!(
                parse_beginning(body.as_bytes(), String::new()).unwrap_err().reason.name(),
                reason,
                "{body}"
            );
        }
    }

    #[test]
    fn odd_fields_elsewhere_do_no_harm() {
        let body = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","extra":1,"request":{"uid":"u","operation":"UPDATE",
            "dryRun":null,"userInfo":7,"kind":"?","namespace":3,"object":{"kind":"Pod"},"oldObject":null}}"#;
        let review = parse(body.as_bytes(), &Kinds::default()).unwrap();
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
            parse(body.as_bytes(), &Kinds::default()).unwrap().skip()
        };
        assert_eq!(review("DELETE", ""), Some(Skip::Operation));
        assert_eq!(review("CONNECT", "exec"), Some(Skip::Operation));
        assert_eq!(review("UPDATE", "status"), Some(Skip::Subresource));
        assert_eq!(review("UPDATE", "scale"), Some(Skip::Subresource));
        assert_eq!(review("UPDATE", "ephemeralcontainers"), None);
        assert_eq!(review("CREATE", ""), None);
    }
}
