//! Whether an answer shows that a registry gave it (contract 3). Whatever stands in front of a registry answers too: an ingress without a
//! backend, a firewall, a login page. Pure.
//!
//! Any one of these shows that a registry answered:
//!
//! - `Docker-Distribution-API-Version`, which the reference registry and software based on it send with every answer below `/v2/`
//!   (distribution 3.1.1, `registry/handlers/app.go`, `ServeHTTP`; zot, `pkg/api/routes.go`; Pulp, `app/registry.py`). Quay and Harbor do
//!   not (quay, `endpoints/v2/manifest.py`; harbor, `src/server/registry/manifest.go`): the next two show them;
//! - `Docker-Content-Digest` (distribution-spec 1.1, "Pulling manifests");
//! - the error envelope `{"errors": [{"code": …}]}` (distribution-spec 1.1, "Error Codes"), or another form of [`FORMS`];
//! - content: a media type that no page has, a manifest, or bytes of the very digest that was asked for;
//! - a header of [`HEADERS`].

use crate::runtime::answer::Body;
use crate::runtime::content::Document;
use crate::runtime::request::Want;
use http::{HeaderMap, header};
use serde_json::{Map, Value};

/// Headers that only a registry sends: its software, the header, and where that is said.
const HEADERS: &[(&str, &str, &str)] = &[
    (
        "distribution and registries based on it",
        "docker-distribution-api-version",
        "distribution, HTTP API V2, API Version Check",
    ),
    ("all", "docker-content-digest", "distribution-spec 1.1, Pulling manifests"),
    (
        "Artifactory",
        "x-artifactory-id",
        "an answer of Artifactory 7.9 in earthly/earthly#1017, beside the header of distribution",
    ),
    (
        "Artifactory",
        "x-jfrog-version",
        "answers of Artifactory 7.33 to 7.161 in public logs, to a 401 and to what is no registry's as well",
    ),
];

/// What an entry of `errors` has in it.
type Entry = Map<String, Value>;

/// Whether one entry of `errors` is in a form of a registry.
type InForm = fn(&Entry) -> bool;

/// The forms: the registry's software, how that is seen, and where it is said.
const FORMS: &[(&str, InForm, &str)] = &[
    ("all", has_code, "distribution-spec 1.1, Error Codes"),
    (
        "Artifactory",
        |entry| entry.get("status").is_some_and(Value::is_number) && entry.get("message").is_some_and(Value::is_string),
        "answers of Artifactory with Xray in sobolevn/git-secret#801, StatCan/aaw#1744",
    ),
];

/// Codes by which a store behind a registry says that it does not have a blob: the store, the code, and where that is said.
const STORES: &[(&str, &str, &str)] = &[
    (
        "S3 and Google Cloud Storage",
        "NoSuchKey",
        "Amazon S3, List of error codes; Cloud Storage, XML API",
    ),
    (
        "Azure Blob Storage",
        "BlobNotFound",
        "Azure Storage, Blob service error codes",
    ),
];

/// Whether it does. `body` is what was made of the body for what was wanted, `of_blob` whether a blob was asked for.
pub(super) fn is_registry(status: u16, headers: &HeaderMap, body: &Body, want: &Want, of_blob: bool) -> bool {
    if HEADERS.iter().any(|(_, name, _)| headers.contains_key(*name)) {
        return true;
    }
    match body {
        Body::ErrorText(text) => text.of_a_registry,
        _ if !(200..300).contains(&status) => false,
        Body::Manifest {
            document: Ok(document), ..
        } if is_manifest(document) => true,
        Body::Manifest { digest, .. } if matches!(want, Want::Manifest { by: Some(by) } if by == digest) => true,
        Body::Config { digest, .. } if matches!(want, Want::Config { by } if by == digest) => true,
        _ => {
            let media_type = headers
                .get(header::CONTENT_TYPE)
                .map(|value| value.to_str().unwrap_or_default());
            is_content(media_type.unwrap_or_default(), of_blob)
        }
    }
}

/// Whether an error in `errors` has the form that registries use.
pub(super) fn is_in_form(entry: &Entry) -> bool {
    FORMS.iter().any(|(_, is_form, _)| is_form(entry))
}

/// "A unique identifier, containing only uppercase alphabetic characters and underscores"; digits are let pass. Gateways that tell errors as
/// JSON:API does have codes as well, beside a title.
fn has_code(entry: &Entry) -> bool {
    let code = entry.get("code").and_then(Value::as_str).unwrap_or_default();
    let plain = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    code.starts_with(|c: char| c.is_ascii_uppercase()) && code.bytes().all(plain) && !entry.contains_key("title")
}

/// Whether an XML error is that of a store behind a registry which does not have a blob.
pub(super) fn is_of_a_store(text: &str) -> bool {
    let code = |code: &str| text.contains(&format!("<Code>{code}</Code>"));
    text.contains("<Error>") && STORES.iter().any(|(_, name, _)| code(name))
}

/// Whether a good answer of this type is content. Manifests have types of their own; blobs come from stores with any type or none, but not as
/// pages, plain text or the JSON of a gateway.
fn is_content(content_type: &str, of_blob: bool) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let general = media_type.starts_with("text/")
        || matches!(
            media_type.as_str(),
            "application/json" | "application/problem+json" | "application/xml" | "application/xhtml+xml"
        );
    if of_blob {
        !general
    } else {
        media_type.starts_with("application/vnd.")
    }
}

fn is_manifest(document: &Document) -> bool {
    let members = &document.members;
    document.schema_version > 0 && (members.config || members.layers || members.manifests || members.fs_layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::runtime::answer::ErrorText;
    use crate::runtime::content;
    use std::sync::Arc;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = all.iter();
        pairs
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_registry_shows_itself_by_its_headers() {
        for (name, value) in [
            ("docker-distribution-api-version", "registry/2.0"),
            ("docker-content-digest", "rubbish"),
            ("x-jfrog-version", "Artifactory/7.90.1"),
        ] {
            for status in [200, 404, 403] {
                let page = [("content-type", "text/html"), (name, value)];
                assert!(
                    is_registry(status, &headers(&page), &Body::Unread, &Want::Nothing, false),
                    "{name} {status}"
                );
            }
        }
        for other in ["server", "date", "x-request-id", "www-authenticate"] {
            assert!(
                !is_registry(404, &headers(&[(other, "nginx")]), &Body::Unread, &Want::Nothing, false),
                "{other}"
            );
        }
    }

    #[test]
    fn a_good_answer_shows_it_by_what_it_brings() {
        let of_type = |media_type: &str, of_blob| {
            let headers = headers(&[("content-type", media_type)]);
            is_registry(200, &headers, &Body::Unread, &Want::Nothing, of_blob)
        };
        assert!(of_type("application/vnd.oci.image.index.v1+json", false));
        for store in ["application/octet-stream", "binary/octet-stream", "application/gzip", ""] {
            assert_eq!((of_type(store, false), of_type(store, true)), (false, true), "{store}");
        }
        for page in [
            "text/html; charset=utf-8",
            "Text/Plain",
            "application/json",
            "application/xml",
        ] {
            assert!(!of_type(page, false) && !of_type(page, true), "{page}");
        }
        assert!(!is_registry(204, &HeaderMap::new(), &Body::Unread, &Want::Nothing, false));
        let plain = headers(&[("content-type", "application/json")]);
        let body = |text: &str| Body::Manifest {
            document: content::document(text.as_bytes()).map(Arc::new),
            digest: Digest::sha256(text.as_bytes()),
            length: 2,
        };
        let by_tag = Want::Manifest { by: None };
        assert!(is_registry(
            200,
            &plain,
            &body(r#"{"schemaVersion":2,"manifests":[]}"#),
            &by_tag,
            false
        ));
        for other in [r#"{"status":"ok"}"#, r#"{"schemaVersion":2}"#, "<html>", "[]"] {
            assert!(!is_registry(200, &plain, &body(other), &by_tag, false), "{other}");
        }
        let by = Digest::sha256(b"{}");
        assert!(is_registry(200, &plain, &body("{}"), &Want::Manifest { by: Some(by) }, false));
    }

    #[test]
    fn a_refusal_shows_it_by_its_body() {
        let error_text = |of_a_registry| {
            Body::ErrorText(ErrorText {
                of_a_registry,
                ..ErrorText::default()
            })
        };
        assert!(is_registry(
            404,
            &HeaderMap::new(),
            &error_text(true),
            &Want::ErrorText,
            false
        ));
        // What it was served as does not count: a proxy may well call its error so.
        let odd = headers(&[("content-type", "application/octet-stream")]);
        assert!(!is_registry(404, &odd, &error_text(false), &Want::ErrorText, false));
        assert!(is_of_a_store("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"));
        assert!(!is_of_a_store("<Error><Code>AccessDenied</Code></Error>"));
        assert!(!is_of_a_store("NoSuchKey"));
    }
}
