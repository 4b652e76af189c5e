//! The demo's sample registry: a few images, a token server, and every failure that one process can produce.

use crate::image::Digest;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The only user of the sample registry.
pub(super) const USER: &str = "ci";
/// Their password.
pub(super) const PASSWORD: &str = "correct horse";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A manifest with its media type.
#[derive(Clone)]
struct Stored {
    media_type: &'static str,
    bytes: Vec<u8>,
}

/// Everything it serves: manifests by (repository, tag or digest), blobs by digest.
#[derive(Clone, Default)]
struct Content {
    manifests: HashMap<(String, String), Stored>,
    blobs: HashMap<String, Vec<u8>>,
    tags: HashMap<String, Vec<String>>,
    address: String,
}

impl Content {
    fn put(&mut self, repository: &str, tag: &str, media_type: &'static str, bytes: Vec<u8>) -> String {
        let digest = Digest::sha256(&bytes).to_string();
        let stored = Stored { media_type, bytes };
        self.manifests.insert((repository.to_owned(), digest.clone()), stored.clone());
        if !tag.is_empty() {
            self.manifests.insert((repository.to_owned(), tag.to_owned()), stored);
            self.tags.entry(repository.to_owned()).or_default().push(tag.to_owned());
        }
        digest
    }

    fn blob(&mut self, bytes: Vec<u8>) -> Value {
        let digest = Digest::sha256(&bytes).to_string();
        let descriptor = json!({"digest": digest, "size": bytes.len()});
        self.blobs.insert(digest, bytes);
        descriptor
    }

    /// A runnable image for one platform; returns its descriptor.
    fn image(&mut self, repository: &str, tag: &str, architecture: &str) -> Value {
        let layer_text = format!("layer of {repository} for {architecture}").into_bytes();
        let diff_id = Digest::sha256(&layer_text).to_string();
        let mut layer = self.blob(layer_text);
        layer["mediaType"] = LAYER.into();
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        let mut config = self.blob(config.to_string().into_bytes());
        config["mediaType"] = CONFIG.into();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let bytes = manifest.to_string().into_bytes();
        let size = bytes.len();
        let digest = self.put(repository, tag, MANIFEST, bytes);
        json!({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": {"os": "linux", "architecture": architecture}})
    }

    /// An index of several platforms.
    fn index(&mut self, repository: &str, tag: &str, architectures: &[&str]) {
        let children: Vec<Value> = architectures
            .iter()
            .map(|architecture| self.image(repository, "", architecture))
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        self.put(repository, tag, INDEX, index.to_string().into_bytes());
    }
}

/// Starts the registry on a free port of 127.0.0.1; returns its `host:port`.
pub(super) async fn start() -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let mut content = Content {
        address: address.to_string(),
        ..Content::default()
    };
    for tag in ["v1.0", "v1.1", "v2", "v2.1", "v9"] {
        content.index("shop/api", tag, &["amd64", "arm64"]);
    }
    content.index("private/billing", "v1", &["amd64"]);
    content.index("public/web", "v3", &["amd64", "arm64"]);
    content.index("shop/model", "v1", &["arm64"]);
    content.image("shop/edge", "v1", "arm64");
    let app = Router::new().fallback(answer).with_state(Arc::new(content));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn answer(State(content): State<Arc<Content>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let head = request.method() == Method::HEAD;
    let response = if path == "/token" {
        token(request.method(), request.headers())
    } else {
        serve(&content, &path, request.headers())
    };
    if !head {
        return response;
    }
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::empty())
}

/// The token server: anonymous tokens are free; a credential must be correct.
fn token(method: &Method, headers: &HeaderMap) -> Response<Body> {
    if method != Method::GET {
        return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "ask by GET");
    }
    match headers.get(header::AUTHORIZATION) {
        None => reply(
            StatusCode::OK,
            "application/json",
            json!({"token": "anonymous", "expires_in": 300}).to_string().into_bytes(),
        ),
        Some(_) if authorized(headers) => reply(
            StatusCode::OK,
            "application/json",
            json!({"token": "full", "expires_in": 300}).to_string().into_bytes(),
        ),
        Some(_) => error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password"),
    }
}

fn authorized(headers: &HeaderMap) -> bool {
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) == Some(expected.as_str())
}

fn serve(content: &Content, path: &str, headers: &HeaderMap) -> Response<Body> {
    let Some(rest) = path.strip_prefix("/v2/") else {
        return error(StatusCode::NOT_FOUND, "UNSUPPORTED", "not found");
    };
    if rest.starts_with("busy/") {
        let mut response = error(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "You have reached your pull rate limit",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
        return response;
    }
    if rest.starts_with("broken/") {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "UNAVAILABLE",
            "the storage backend is unavailable",
        );
    }
    if rest.starts_with("proxy/") {
        return reply(StatusCode::OK, "text/html", b"<html>please log in</html>".to_vec());
    }
    if rest.starts_with("private/") && !authorized(headers) {
        let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            header::HeaderValue::from_static("Basic realm=\"sample\""),
        );
        return response;
    }
    if rest.starts_with("public/") && !headers.contains_key(header::AUTHORIZATION) {
        let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"sample\"", content.address);
        if let Ok(value) = header::HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        return response;
    }
    if let Some((repository, target)) = rest.split_once("/manifests/") {
        return match content.manifests.get(&(repository.to_owned(), target.to_owned())) {
            Some(stored) => {
                let mut response = reply(StatusCode::OK, stored.media_type, stored.bytes.clone());
                if let Ok(value) = header::HeaderValue::from_str(Digest::sha256(&stored.bytes).as_str()) {
                    response.headers_mut().insert("docker-content-digest", value);
                }
                response
            }
            None => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"),
        };
    }
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        return match content.tags.get(repository) {
            Some(tags) => reply(
                StatusCode::OK,
                "application/json",
                json!({"name": repository, "tags": tags}).to_string().into_bytes(),
            ),
            None => error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry"),
        };
    }
    if let Some((_, digest)) = rest.split_once("/blobs/")
        && let Some(bytes) = content.blobs.get(digest)
    {
        return reply(StatusCode::OK, "application/octet-stream", bytes.clone());
    }
    error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown")
}

fn reply(status: StatusCode, media_type: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let length = bytes.len();
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, header::HeaderValue::from(length));
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({"errors": [{"code": code, "message": message, "detail": null}]});
    reply(status, "application/json", body.to_string().into_bytes())
}
