//! What a webhook that keeps its own certificates does at the API server: one Secret and one registration, each by name, with the
//! rights of `docs/certificates.md` and no more (no list, no watch).
//!
//! Answers are read here, not by the client: it logs what it cannot read, and this may be a private key.

mod objects;
#[cfg(test)]
mod tests;

pub use objects::{Keeper, Kept, Registered, SecretData, Target, Webhook};

use super::connect::{self, ConnectError, Options};
use super::convert;
use crate::limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::fmt;

/// Larger answers are none of ours: etcd holds 1.5 MiB an object.
const MAX_ANSWER: usize = 4 << 20;
/// Who wrote what, in `managedFields`.
const MANAGER: &str = "fieldManager=pullgate";

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The Secret's namespace; without it the pod's own, or the kubeconfig's.
    pub namespace: Option<String>,
    /// The Secret.
    pub secret: String,
    /// The ValidatingWebhookConfiguration.
    pub configuration: String,
}

impl Names {
    /// The first of the names that no object can have.
    pub fn impossible(&self) -> Option<&str> {
        let namespace = self.namespace.iter().map(String::as_str);
        namespace
            .chain([self.secret.as_str(), &self.configuration])
            .find(|name| !convert::is_name(name))
    }
}

/// An answer, and what the API server's clock said (Unix seconds): it is the clock that certificates are judged by.
#[derive(Debug)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// The time of it.
    pub date: Option<i64>,
}

/// Why something could not be read or written. The sentences hold nothing of the objects' content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Somebody wrote between our reading and our writing: read again.
    #[error("another write came first")]
    Conflict,
    /// Anything else: a right that is missing, an answer that did not come.
    #[error("{0}")]
    Failed(String),
}

/// The door to the one Secret and the one registration. Cheap to clone.
#[derive(Clone)]
pub struct Custody {
    client: Client,
    namespace: String,
    secret: String,
    configuration: String,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custody")
            .field("namespace", &self.namespace)
            .field("secret", &self.secret)
            .field("configuration", &self.configuration)
            .finish_non_exhaustive()
    }
}

impl Custody {
    /// Finds the API server. Does not wait for it.
    ///
    /// # Errors
    /// When there are no usable settings.
    pub async fn connect(options: &Options, names: Names) -> Result<Self, ConnectError> {
        Ok(Self::with(connect::client(options, limits::API_SERVER).await?, names))
    }

    fn with(client: Client, names: Names) -> Self {
        let Names {
            namespace,
            secret,
            configuration,
        } = names;
        Self {
            namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
            client,
            secret,
            configuration,
        }
    }

    /// A door to an API server without TLS, for the tests of other rooms.
    #[cfg(test)]
    pub(crate) fn at(address: std::net::SocketAddr, names: Names) -> Self {
        let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        Self::with(Client::try_from(config).unwrap(), names)
    }

    /// The Secret's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Secret, as people name it.
    pub fn secret_name(&self) -> String {
        format!("Secret {}/{}", self.namespace, self.secret)
    }

    /// The registration, as people name it.
    pub fn configuration_name(&self) -> String {
        format!("ValidatingWebhookConfiguration {}", self.configuration)
    }

    /// The Secret; `None` when there is none.
    pub async fn secret(&self) -> Result<Answer<Option<Kept>>, Trouble> {
        let path = format!("{}/{}", self.secrets(), self.secret);
        let answer = self.ask(Method::GET, path, None).await?;
        Ok(Answer {
            date: answer.date,
            value: match answer.value {
                (StatusCode::OK, object) => Some(Kept::read(object)),
                (StatusCode::NOT_FOUND, _) => None,
                (code, _) => return Err(self.refused(code, "get", &self.secret_name())),
            },
        })
    }

    /// Makes the Secret.
    pub async fn create(&self, data: &SecretData) -> Result<(), Trouble> {
        let object = objects::secret(&self.namespace, &self.secret, data);
        let path = format!("{}?{MANAGER}", self.secrets());
        match self.ask(Method::POST, path, Some(("application/json", object))).await?.value {
            (code, _) if code.is_success() => Ok(()),
            (StatusCode::CONFLICT, _) => Err(Trouble::Conflict),
            (code, _) => Err(self.refused(code, "create", &self.secret_name())),
        }
    }

    /// Puts new data in the Secret's place, if it is still as it was read. Keys that `data` does not hold go, others come; all that is
    /// not data stays.
    pub async fn replace(&self, kept: &Kept, data: &SecretData) -> Result<(), Trouble> {
        let object = kept.with(data);
        let path = format!("{}/{}?{MANAGER}", self.secrets(), self.secret);
        match self.ask(Method::PUT, path, Some(("application/json", object))).await?.value {
            (code, _) if code.is_success() => Ok(()),
            (StatusCode::CONFLICT | StatusCode::NOT_FOUND, _) => Err(Trouble::Conflict),
            (StatusCode::UNPROCESSABLE_ENTITY, _) => Err(Trouble::Failed(format!(
                "the API server does not take new contents for the {} (is it immutable?)",
                self.secret_name()
            ))),
            (code, _) => Err(self.refused(code, "update", &self.secret_name())),
        }
    }

    /// The registration; `None` when there is none.
    pub async fn registration(&self) -> Result<Answer<Option<Registered>>, Trouble> {
        let answer = self.ask(Method::GET, self.configurations(), None).await?;
        Ok(Answer {
            date: answer.date,
            value: match answer.value {
                (StatusCode::OK, object) => Some(Registered::read(&object)),
                (StatusCode::NOT_FOUND, _) => None,
                (code, _) => return Err(self.refused(code, "get", &self.configuration_name())),
            },
        })
    }

    /// Writes bundles (PEM) into webhooks, by their place, if the registration is still as it was read.
    pub async fn register(&self, seen: &Registered, bundles: &[(usize, String)]) -> Result<(), Trouble> {
        let mut operations = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": seen.version})];
        operations.extend(bundles.iter().map(|(index, bundle)| {
            // `add` also takes the place of what is there.
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            json!({"op": "add", "path": path, "value": STANDARD.encode(bundle)})
        }));
        let path = format!("{}?{MANAGER}", self.configurations());
        let body = Some(("application/json-patch+json", Value::from(operations)));
        match self.ask(Method::PATCH, path, body).await?.value {
            (code, _) if code.is_success() => Ok(()),
            // A test that fails is answered 422.
            (StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY, _) => Err(Trouble::Conflict),
            (code, _) => Err(self.refused(code, "patch", &self.configuration_name())),
        }
    }

    fn secrets(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }

    fn configurations(&self) -> String {
        format!(
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{}",
            self.configuration
        )
    }

    async fn ask(
        &self,
        method: Method,
        path: String,
        body: Option<(&'static str, Value)>,
    ) -> Result<Answer<(StatusCode, Value)>, Trouble> {
        // Nothing else may get into a path.
        if ![&self.namespace, &self.secret, &self.configuration]
            .iter()
            .all(|name| convert::is_name(name))
        {
            return Err(Trouble::Failed("no object can have such a name".to_owned()));
        }
        let mut request = Request::builder().method(method).uri(path);
        let body = body.map_or_else(Body::empty, |(kind, value)| {
            request = std::mem::take(&mut request).header(header::CONTENT_TYPE, kind);
            Body::from(value.to_string().into_bytes())
        });
        let failed = |what: &str| Trouble::Failed(what.to_owned());
        let request = request.body(body).map_err(|_| failed("the request cannot be made"))?;
        let whole = async {
            let answer = self.client.send(request).await.map_err(|error| {
                tracing::debug!(%error, "no answer from the API server");
                failed("the API server cannot be reached")
            })?;
            let (head, body) = answer.into_parts();
            let bytes = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|_| failed("the API server's answer broke off"))?
                .to_bytes();
            let date = head
                .headers
                .get(header::DATE)
                .and_then(|date| date.to_str().ok())
                .and_then(second);
            // What is no JSON is told by its status alone.
            let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok(Answer {
                value: (head.status, value),
                date,
            })
        };
        match tokio::time::timeout(limits::API_SERVER, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(failed("the API server does not answer in time")),
        }
    }

    fn refused(&self, code: StatusCode, verb: &str, what: &str) -> Trouble {
        Trouble::Failed(match code {
            StatusCode::FORBIDDEN => format!("pullgate may not {verb} the {what} (403)"),
            StatusCode::UNAUTHORIZED => "the API server does not accept pullgate's identity (401)".to_owned(),
            StatusCode::NOT_FOUND => format!("there is no namespace {} (404)", self.namespace),
            code => format!("the API server answered {} when asked to {verb} the {what}", code.as_u16()),
        })
    }
}

/// The time in a `Date` header.
fn second(date: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(date).ok().map(jiff::Timestamp::as_second)
}
