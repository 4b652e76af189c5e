//! An AdmissionReview, parsed with an envelope of our own so that an odd field elsewhere never makes it fail.

use crate::limits;
use crate::policy::Requester;
use crate::telemetry::BadRequest;
use crate::workload::{Keep, Kinds, Skip, TOO_MUCH};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
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
pub struct InvalidReview {
    /// For the metric.
    pub reason: BadRequest,
    /// What is wrong, and what was expected.
    pub sentence: String,
}

impl InvalidReview {
    /// With a reason, and what is wrong.
    pub fn new(reason: BadRequest, sentence: impl Into<String>) -> Self {
        Self {
            reason,
            sentence: sentence.into(),
        }
    }
}

/// What is read of a request, besides its objects.
pub(super) static REQUEST: LazyLock<Keep> = LazyLock::new(|| {
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

/// A text, or whatever value is in its place.
#[derive(Default)]
struct Shallow(Value);

impl<'de> Deserialize<'de> for Shallow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Keep::default().read(deserializer).map(Self)
    }
}

/// A review, as far as it was read: reading may end early.
#[derive(Default)]
struct Envelope<'a> {
    api_version: Value,
    kind: Value,
    request: Option<Request<'a>>,
}

#[derive(Default)]
struct Request<'a> {
    fields: Map<String, Value>,
    object: Option<Object<'a>>,
    old_object: Option<Object<'a>>,
}

/// An object of a request: what is read of it depends on its kind.
enum Object<'a> {
    /// Skipped for now.
    Unread(&'a RawValue),
    /// Read as the kind that the request says.
    Read(Value),
}

impl Request<'_> {
    /// The kind, if it has been read by now.
    fn kind(&self) -> Option<(String, &str)> {
        let kind = self.fields.get("kind")?;
        let part = |part: &str| kind.get(part).and_then(Value::as_str);
        Some((api_version(part("group")?, part("version")?), part("kind")?))
    }
}

/// Reads the members of a review. With `kinds`, objects are read in passing.
struct Reviews<'r, 'a, 'k>(&'r mut Envelope<'a>, Option<&'k Kinds>);

impl<'de: 'a, 'a> Visitor<'de> for Reviews<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(envelope, kinds) = self;
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            match &*name {
                "apiVersion" => envelope.api_version = members.next_value::<Shallow>()?.0,
                "kind" => envelope.kind = members.next_value::<Shallow>()?.0,
                "request" => members.next_value_seed(Members(&mut envelope.request, kinds))?,
                _ => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Reads the members of a request.
struct Members<'r, 'a, 'k>(&'r mut Option<Request<'a>>, Option<&'k Kinds>);

impl<'de: 'a, 'a> DeserializeSeed<'de> for Members<'_, 'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Members<'_, 'a, '_> {
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
        let Self(request, kinds) = self;
        let request = request.get_or_insert_default();
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            match &*name {
                "object" | "oldObject" => {
                    let keep = kinds
                        .zip(request.kind())
                        .map(|(kinds, (version, kind))| kinds.keep(&version, kind));
                    let object = match keep {
                        Some(keep) => Some(Object::Read(members.next_value_seed(keep)?)),
                        None => members.next_value::<Option<&RawValue>>()?.map(Object::Unread),
                    };
                    if name == "object" {
                        request.object = object;
                    } else {
                        request.old_object = object;
                    }
                }
                _ => match REQUEST.member(&name) {
                    Some(keep) => _ = request.fields.insert(name.into_owned(), members.next_value_seed(keep)?),
                    None => _ = members.next_value::<IgnoredAny>()?,
                },
            }
        }
        Ok(())
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
pub fn parse(body: &[u8], kinds: &Kinds) -> Result<Review, InvalidReview> {
    // Try one pass: the request states the kind first, and the object nearly always has it. Otherwise read it again by its own kind.
    let at_once = (body.len() < limits::LARGE_BODY).then(|| parse_as(body, kinds, Some(kinds)).ok());
    at_once.flatten().map_or_else(|| parse_as(body, kinds, None), Ok)
}

fn parse_as(body: &[u8], kinds: &Kinds, in_passing: Option<&Kinds>) -> Result<Review, InvalidReview> {
    let mut envelope = Envelope::default();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let reviewed = deserializer.deserialize_any(Reviews(&mut envelope, in_passing));
    reviewed
        .and_then(|()| deserializer.end())
        .map_err(|error| unreadable(&error))?;
    if envelope.kind.as_str() != Some("AdmissionReview") {
        return Err(InvalidReview::new(
            BadRequest::WrongKind,
            format!("expected kind AdmissionReview, got {}", brief(&envelope.kind)),
        ));
    }
    if envelope.api_version.as_str() != Some("admission.k8s.io/v1") {
        return Err(InvalidReview::new(
            BadRequest::WrongVersion,
            format!(
                "expected apiVersion admission.k8s.io/v1, got {}; set admissionReviewVersions: [v1]",
                brief(&envelope.api_version)
            ),
        ));
    }
    let Some(request) = envelope.request else {
        return Err(InvalidReview::new(
            BadRequest::NoRequest,
            "the AdmissionReview has no request",
        ));
    };
    let mut review = head(&request.fields)?;
    if let (None, Some(object)) = (review.skip(), request.object) {
        let kind = match &object {
            Object::Unread(object) => kind_of(object),
            Object::Read(_) => (review.api_version.clone(), review.kind.clone()),
        };
        let old = request.old_object.filter(|_| review.operation == Operation::Update);
        let old = old.map(|old| read(old, &kind, kinds)).transpose()?;
        match (read(object, &kind, kinds)?, old) {
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
pub fn parse_beginning(beginning: &[u8], why: String) -> Result<Review, InvalidReview> {
    let mut envelope = Envelope::default();
    // It ends in the middle, so there is an error.
    let ended = serde_json::Deserializer::from_slice(beginning).deserialize_map(Reviews(&mut envelope, None));
    let Some(request) = envelope.request else {
        let reason = if ended.is_ok() {
            BadRequest::NoRequest
        } else {
            BadRequest::NotJson
        };
        return Err(InvalidReview::new(reason, "the body is not an AdmissionReview in JSON"));
    };
    let mut review = head(&request.fields)?;
    review.unread = Some(why);
    Ok(review)
}

/// An object, read as its kind requires. `None` if there is too much to read; an error if it was already read as another kind.
fn read(object: Object<'_>, (api_version, kind): &(String, String), kinds: &Kinds) -> Result<Option<Value>, InvalidReview> {
    match object {
        Object::Read(object) => {
            let says = |field: &str, text: &str| object.get(field).and_then(Value::as_str) == Some(text);
            if object.is_null() || says("apiVersion", api_version) && says("kind", kind) {
                return Ok(Some(object));
            }
            Err(InvalidReview::new(
                BadRequest::NotJson,
                "the object is of another kind than the request says",
            ))
        }
        Object::Unread(object) => {
            let mut deserializer = serde_json::Deserializer::from_str(object.get());
            match kinds.keep(api_version, kind).read(&mut deserializer) {
                Ok(object) => Ok(Some(object)),
                Err(error) if error.to_string().starts_with(TOO_MUCH) => Ok(None),
                Err(error) => Err(unreadable(&error)),
            }
        }
    }
}

/// As objects have it: `apps/v1`, `v1`.
fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// All of a request except its objects.
fn head(fields: &Map<String, Value>) -> Result<Review, InvalidReview> {
    let uid = text(fields.get("uid"));
    if uid.is_empty() {
        return Err(InvalidReview::new(
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
            return Err(InvalidReview::new(
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
        api_version: api_version(&group, &version),
        unread: None,
        uid,
    })
}

fn unreadable(error: &serde_json::Error) -> InvalidReview {
    let (line, column) = (error.line(), error.column());
    InvalidReview::new(
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
    fn an_object_is_read_by_its_own_kind() {
        let review = |said: &str, object: &str| {
            let body = format!(
                r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{said},"operation":"UPDATE",
                    "oldObject":{object},"object":{object}}}}}"#
            );
            parse(body.as_bytes(), &Kinds::default()).unwrap()
        };
        let (pod, job) = (
            r#"{"group":"","version":"v1","kind":"Pod"}"#,
            r#"{"group":"batch","version":"v1","kind":"Job"}"#,
        );
        let object = r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"a","command":["x"]}]}}"#;
        for said in [pod, job, "null", "5"] {
            let review = review(said, object);
            let container = serde_json::json!({"image": "a"});
            assert_eq!(review.object["spec"]["containers"][0], container, "{said}");
            assert_eq!(review.before().unwrap()["spec"]["containers"][0], container, "{said}");
        }
        assert!(review(pod, "null").object.is_null());
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
