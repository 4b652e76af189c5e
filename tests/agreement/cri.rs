//! Asks a runtime to pull an image exactly as a kubelet does: CRI `runtime.v1`, `ImageService/PullImage`, over its socket.
//!
//! `ctr images pull` is not that: it skips CRI's platform step and its credentials.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// User name and password, as CRI's `AuthConfig` carries them.
pub(crate) type Login = (String, String);

/// Why a pull failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// gRPC's code by name: `NotFound`.
    code: String,
    /// The runtime's own words.
    message: String,
}

impl fmt::Display for Failure {
    /// As the kubelet's client says it (cri-client `pullImageV1`): without the code where that is `Unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code == "Unknown" {
            f.write_str(&self.message)
        } else {
            write!(f, "rpc error: code = {} desc = {}", self.code, self.message)
        }
    }
}

/// The image's id, or why there is none.
pub(crate) async fn pull(socket: &Path, image: &str, login: Option<&Login>, namespace: &str) -> Result<String, Failure> {
    let asked = tokio::time::timeout(Duration::from_mins(3), ask(socket, image, login, namespace));
    match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => panic!("{}: {error}", socket.display()),
        Err(_) => Err(Failure {
            code: "DeadlineExceeded".to_owned(),
            message: "no answer in three minutes".to_owned(),
        }),
    }
}

async fn ask(
    socket: &Path,
    image: &str,
    login: Option<&Login>,
    namespace: &str,
) -> Result<Result<String, Failure>, Box<dyn std::error::Error>> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let connection = tokio::spawn(connection);
    // PullImageRequest { 1: image ImageSpec { 1: image }, 2: auth AuthConfig { 1: username, 2: password },
    //                    3: sandbox_config PodSandboxConfig { 1: metadata PodSandboxMetadata { 3: namespace } } }
    let mut message = field(1, &field(1, image.as_bytes()));
    if let Some((user, password)) = login {
        let auth = [field(1, user.as_bytes()), field(2, password.as_bytes())].concat();
        message.extend(field(2, &auth));
    }
    message.extend(field(3, &field(1, &field(3, namespace.as_bytes()))));
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len())?.to_be_bytes());
    framed.extend(message);
    let request = hyper::Request::post("http://localhost/runtime.v1.ImageService/PullImage")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))?;
    let answer = sender.send_request(request).await?;
    let headers = answer.headers().clone();
    let body = answer.into_body().collect().await?;
    let trailers = body.trailers().cloned().unwrap_or(headers);
    let body = body.to_bytes();
    connection.abort();
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status = text("grpc-status");
    if status == "0" {
        // PullImageResponse { 1: image_ref }, after five bytes of frame and two of field.
        return Ok(Ok(String::from_utf8_lossy(body.get(7..).unwrap_or_default()).into_owned()));
    }
    // Escaped as URLs are.
    let said: Vec<u8> =
        url::form_urlencoded::parse(format!("m={}", text("grpc-message").replace('+', "%2B").replace('&', "%26")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned().into_bytes())
            .unwrap_or_default();
    Ok(Err(Failure {
        code: code(status).to_owned(),
        message: String::from_utf8_lossy(&said).into_owned(),
    }))
}

/// A length-delimited field.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 127 {
        out.push(u8::try_from(length & 127).unwrap() | 128);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(value);
    out
}

/// The name of a gRPC status.
fn code(status: &str) -> &str {
    match status {
        "1" => "Canceled",
        "2" => "Unknown",
        "3" => "InvalidArgument",
        "4" => "DeadlineExceeded",
        "5" => "NotFound",
        "9" => "FailedPrecondition",
        "12" => "Unimplemented",
        "13" => "Internal",
        "14" => "Unavailable",
        "16" => "Unauthenticated",
        other => other,
    }
}
