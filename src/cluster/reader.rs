//! Single objects, read by `get`: single flight, with a timeout of two seconds, and cached. Each read runs as its own task, so that
//! a caller that goes away does not affect the others.

use super::api_queue::{Answered, ApiQueue, NoPermit};
use super::convert;
use super::facts::Visible;
use super::kind::{ErrorLog, Kind};
use super::last_contact::LastContact;
use super::store::Convert;
use crate::limits;
use kube::Client;
use moka::future::Cache;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The timeout of one request, and the age up to which an answer counts as new (contract 6).
pub(super) const FRESH: Duration = limits::API_TURN;
/// The age up to which an object that existed may be used without asking again.
pub(super) const KEPT: Duration = Duration::from_secs(30);
/// The size of the cache, roughly, in bytes.
const MAX_BYTES: u64 = 32 << 20;

/// Reads objects of one kind.
pub(super) struct Reader<T> {
    kind: Kind,
    client: Client,
    convert: Convert<T>,
    door: Door,
    /// By namespace and name.
    answers: Cache<(String, String), CachedRead<T>>,
}

/// What all readers share.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) errors: Arc<ErrorLog>,
    pub(super) turns: Arc<ApiQueue>,
    pub(super) heard: LastContact,
}

#[derive(Clone)]
struct CachedRead<T> {
    /// When the request started: the answer may be as old as that.
    asked: Instant,
    seen: Visible<T>,
}

impl<T: Clone + Send + Sync + 'static> Reader<T> {
    pub(super) fn new(kind: Kind, client: Client, convert: Convert<T>, weigh: fn(&T) -> usize, door: Door) -> Arc<Self> {
        let answers = Cache::builder()
            .max_capacity(MAX_BYTES)
            .weigher(move |(namespace, name): &(String, String), answer: &CachedRead<T>| {
                let size = match &answer.seen {
                    Visible::Seen(Some(object)) => weigh(object),
                    Visible::Seen(None) => 0,
                    Visible::Hidden(why) => why.len(),
                };
                u32::try_from(200 + namespace.len() + name.len() + size).unwrap_or(u32::MAX)
            })
            .time_to_live(KEPT)
            .build();
        Arc::new(Self {
            kind,
            client,
            convert,
            door,
            answers,
        })
    }

    /// The object, at most `max_age` old (if it was absent or hidden: at most [`FRESH`] old). `deadline` limits the wait only: the
    /// read continues and its answer is cached.
    pub(super) async fn read(self: &Arc<Self>, namespace: &str, name: &str, max_age: Duration, deadline: Instant) -> Visible<T> {
        let possible = match self.kind {
            Kind::Node | Kind::Namespace | Kind::RuntimeClass | Kind::ImagePolicy => namespace.is_empty(),
            Kind::ServiceAccount | Kind::Secret | Kind::ImageStream | Kind::Owner(_) => convert::is_name(namespace),
        };
        if !possible || !convert::is_name(name) {
            return Visible::Seen(None);
        }
        let is_stale = move |answer: &CachedRead<T>| {
            let max_age = if matches!(answer.seen, Visible::Seen(Some(_))) {
                max_age
            } else {
                FRESH
            };
            answer.asked.elapsed() >= max_age
        };
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(answer) = self.answers.get(&key).await
            && !is_stale(&answer)
        {
            return answer.seen;
        }
        let reader = Arc::clone(self);
        let flight = tokio::spawn(async move {
            let load = reader.load(key.0.clone(), key.1.clone());
            reader
                .answers
                .entry(key)
                .or_insert_with_if(load, is_stale)
                .await
                .into_value()
                .seen
        });
        match tokio::time::timeout_at(deadline, flight).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(_)) => Visible::Hidden(format!("{} could not be read", self.kind.singular())),
            Err(_) => Visible::Hidden(format!("there was no time left to read {}", self.kind.singular())),
        }
    }

    async fn load(&self, namespace: String, name: String) -> CachedRead<T> {
        let asked = Instant::now();
        let resource = self.kind.resource();
        let (root, plural) = (if resource.group.is_empty() { "api" } else { "apis" }, resource.plural);
        let path = match namespace.as_str() {
            "" => format!("/{root}/{}/{plural}/{name}", resource.api_version),
            namespace => format!("/{root}/{}/namespaces/{namespace}/{plural}/{name}", resource.api_version),
        };
        // As text: the client logs what it cannot parse, and this may be a Secret.
        let ask = async {
            let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
            self.client.request_text(request).await
        };
        // A cluster-scoped object takes the turn of the namespace with its name.
        let turn = match self
            .door
            .turns
            .turn(if namespace.is_empty() { &name } else { &namespace })
            .await
        {
            Ok(turn) => turn,
            Err(NoPermit(why)) => {
                return CachedRead {
                    asked,
                    seen: Visible::Hidden(why.to_owned()),
                };
            }
        };
        let answer = tokio::time::timeout(FRESH, ask).await;
        drop(turn);
        self.door.turns.note(answered(&answer));
        if let Ok(Ok(_) | Err(kube::Error::Api(_))) = &answer {
            self.door.heard.now();
        }
        let seen = match answer {
            Ok(Ok(text)) => match self.fact(&text, &name) {
                Some(fact) => Visible::Seen(Some(fact)),
                None => Visible::Hidden(format!("{} could not be read", self.kind.singular())),
            },
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && status.reason == "NotFound" => Visible::Seen(None),
            Ok(Err(error)) => Visible::Hidden(self.door.errors.explain(self.kind, &error).clause),
            Err(_) => Visible::Hidden(self.door.errors.no_answer(self.kind)),
        };
        CachedRead { asked, seen }
    }

    /// The object in an answer, if it is the requested one.
    fn fact(&self, text: &str, name: &str) -> Option<T> {
        let object: Value = serde_json::from_str(text).ok()?;
        if convert::name(&object) == name {
            (self.convert)(&object)
        } else {
            None
        }
    }
}

/// What an answer says about the state of the API server.
fn answered<T, E>(answer: &Result<Result<T, kube::Error>, E>) -> Answered {
    match answer {
        Ok(Ok(_)) => Answered::Succeeded,
        Ok(Err(kube::Error::Api(status))) if status.code == 429 => {
            let after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            Answered::TooMany((after > 0).then(|| Duration::from_secs(u64::from(after))))
        }
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => Answered::Succeeded,
        Ok(Err(_)) | Err(_) => Answered::Failed,
    }
}

impl<T> std::fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("kind", &self.kind).finish_non_exhaustive()
    }
}
