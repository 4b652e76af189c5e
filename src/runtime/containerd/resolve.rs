//! From a reference to a digest (`dockerResolver.Resolve` in `core/remotes/docker/resolver.go`; pull-semantics 5.2).

use crate::ask::Ask;
use crate::image::{Digest, Target};
use crate::runtime::answer::{Body, Response};
use crate::runtime::containerd::exchange::HostRequest;
use crate::runtime::containerd::manifest::{self, LONGEST};
use crate::runtime::containerd::{Got, Stop, Walk, caught};
use crate::runtime::content::clipped;
use crate::runtime::outcome::{ContentFault, Evidence, Failure, NodeSettingsFault, Purpose};
use crate::runtime::request::{Method, Request, Want};
use std::sync::{Arc, LazyLock};

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) digest: Digest,
    /// The media type, without parameters.
    pub(super) media_type: String,
    /// The announced size in bytes; `None` if the body is compressed in transit.
    pub(super) length: Option<u64>,
    /// It was found among the blobs.
    pub(super) is_blob: bool,
    /// The host that answered.
    pub(super) host: usize,
    /// The answer.
    pub(super) by: Arc<Response>,
}

/// How far a host came: this decides which failure is reported (`firstErrPriority`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    NoAnswer = 1,
    NotFound = 2,
    Refused = 3,
    TooLong = 4,
}

/// The result of one host.
enum Tried {
    Resolved(Resolved),
    /// The next host is asked.
    Failed(Progress, Box<Failure>),
}

/// Asks the hosts in order, for a digest first among manifests and then among blobs.
pub(super) fn resolve(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>) -> Got<Resolved> {
    let target = walk.reference.target();
    let able: Vec<usize> = (0..walk.sessions.len())
        .filter(|host_index| walk.resolves(*host_index, &target))
        .collect();
    let Some(last) = able.last().copied() else {
        let evidence = Evidence::NodeSettings(NodeSettingsFault::NoHost);
        return Err(Failure::plain(evidence, walk.reference.registry().to_owned()).into());
    };
    let paths: Vec<String> = match &target {
        Target::Tag(tag) => vec![format!("manifests/{tag}")],
        Target::Digest(digest) => vec![format!("manifests/{digest}"), format!("blobs/{digest}")],
    };
    let mut failures: Vec<(Progress, Failure)> = Vec::new();
    // Once a host has given the digest of a tag, containerd keeps it, even if it goes on to the next host.
    let mut known: Option<Digest> = match target {
        Target::Digest(digest) => Some(digest),
        Target::Tag(_) => None,
    };
    for path in &paths {
        let furthest = failures.iter().map(|(progress, _)| *progress).max();
        if walk.by.version.falls_back_to_blobs_on_404_only() && furthest > Some(Progress::NotFound) {
            break;
        }
        for host_index in &able {
            match at_host(walk, ask, *host_index, path, *host_index == last, &mut known)? {
                Tried::Resolved(resolved) => {
                    walk.passed.extend(failures.into_iter().map(|(_, failure)| failure));
                    return Ok(resolved);
                }
                Tried::Failed(progress, failure) => failures.push((progress, *failure)),
            }
        }
    }
    Err(Stop::Failed(in_order(failures, walk.by.version.tells_the_furthest_failure())))
}

/// The failures with the reported one first. Of hosts that do not have the image, the last one speaks, which is the registry itself; the
/// text is the same.
fn in_order(failures: Vec<(Progress, Failure)>, furthest: bool) -> Vec<Failure> {
    let told = if furthest {
        let most = failures.iter().map(|(progress, _)| *progress).max();
        let of_these = |(nth, (progress, _)): (usize, &(Progress, Failure))| (Some(*progress) == most).then_some(nth);
        let mut these = failures.iter().enumerate().filter_map(of_these);
        match most {
            Some(Progress::NotFound) => these.next_back(),
            Some(_) | None => these.next(),
        }
    } else {
        let first = failures.iter().position(|(progress, _)| *progress != Progress::NotFound);
        first.or_else(|| failures.len().checked_sub(1))
    };
    let mut failures: Vec<Failure> = failures.into_iter().map(|(_, failure)| failure).collect();
    if let Some(told) = told {
        failures[..=told].rotate_right(1);
    }
    failures
}

fn at_host(
    walk: &mut Walk<'_>,
    ask: &mut Ask<'_, Request>,
    host_index: usize,
    path: &str,
    last: bool,
    known: &mut Option<Digest>,
) -> Got<Tried> {
    let accept = Arc::clone(&walk.accept);
    let request = |method, want| HostRequest {
        method,
        rest: path,
        accept: &accept,
        want,
        last,
    };
    let by = known.clone();
    let head = request(Method::Head, Want::Nothing);
    let (get, get_error_text) = (
        HostRequest {
            last: true,
            ..request(Method::Get, Want::Manifest { by })
        },
        HostRequest {
            last: false,
            ..request(Method::Get, Want::ErrorText)
        },
    );
    let Some(session) = walk.sessions.get_mut(host_index) else {
        return Err(Stop::Failed(Vec::new()));
    };
    let failed = |progress, failure| Ok(Tried::Failed(progress, Box::new(failure)));
    let response = match caught(session.exchange(ask, head))? {
        Ok(response) => response,
        Err(failures) => {
            let failure = failures.into_iter().next();
            let failure = failure.unwrap_or_else(|| Failure::plain(Evidence::Internal, walk.reference.registry().to_owned()));
            return failed(Progress::NoAnswer, failure);
        }
    };
    if !response.is_success() {
        let progress = match response.status {
            404 => Progress::NotFound,
            _ => Progress::Refused,
        };
        let evidence = walk.refused_resolve(host_index, &response);
        let mut failure = Failure {
            request_for_reason: walk.sessions.get(host_index).and_then(|session| session.latest.clone()),
            ..Failure::of(evidence, &response, Purpose::Content).of_host(last)
        };
        if response.status == 403 && response.asked_at.method == Method::Head && walk.by.version.asks_why_forbidden() {
            // Only the error text of this GET counts: a success does not make up for the HEAD.
            if let Some(session) = walk.sessions.get_mut(host_index)
                && let Ok(said) = caught(session.exchange(ask, get_error_text))?
                && said.status == response.status
            {
                failure = walk.worded(host_index, &response, &said);
            }
        }
        if response.status < 400 {
            // A redirect without a target ends the pull.
            return Err(failure.into());
        }
        return failed(progress, failure);
    }
    let invalid = |fault, response: &Response| Stop::from(Failure::unworded(Evidence::ContentInvalid(fault), response));
    let mut media_type = manifest::media_type(&response.content_type);
    let mut length = response.length;
    if known.is_none()
        && let Some(text) = &response.digest
        && length.is_some()
    {
        let Some(digest) = Digest::parse(text) else {
            return Err(invalid(ContentFault::DigestMalformed(clipped(text)), &response));
        };
        *known = Some(digest);
    }
    let mut described = response;
    if known.is_none() || length.is_none() {
        let session = walk.sessions.get_mut(host_index).ok_or(Stop::Failed(Vec::new()))?;
        let whole = session.exchange(ask, get)?;
        // This one is read to its end.
        if let Some(failure) = Failure::cut_short(&whole) {
            return Err(failure.into());
        }
        if !whole.is_success() {
            let evidence = walk.refused_resolve(host_index, &whole);
            return Err(Failure::of(evidence, &whole, Purpose::Content).into());
        }
        media_type = manifest::media_type(&whole.content_type);
        match &whole.body {
            Body::Manifest {
                digest, length: read, ..
            } => {
                length = Some(*read);
                if known.is_none() {
                    *known = Some(digest.clone());
                }
            }
            Body::TooLong(read) => length = Some((*read).max(whole.length.unwrap_or(0)).max(LONGEST + 1)),
            _ => return Err(Failure::unworded(Evidence::ServerError { token_server: false }, &whole).into()),
        }
        described = whole;
    }
    let bytes = length.unwrap_or(0);
    let about = |failure: Failure| match &known {
        Some(digest) => failure.about(digest),
        None => failure,
    };
    if bytes > LONGEST {
        return failed(Progress::TooLong, Failure::unworded(Evidence::TooLong { bytes }, &described));
    }
    if bytes == 0 {
        // containerd refuses a descriptor of size 0 before it fetches anything.
        let failure = Failure::unworded(Evidence::ContentInvalid(ContentFault::Empty), &described);
        return Err(about(failure).into());
    }
    let Some(digest) = known.clone() else {
        return Err(Stop::Failed(Vec::new()));
    };
    Ok(Tried::Resolved(Resolved {
        digest,
        length: length.filter(|_| !described.encoded),
        media_type,
        is_blob: path.starts_with("blobs/"),
        host: host_index,
        by: described,
    }))
}

impl Walk<'_> {
    /// Whether a host is asked for `target` at all.
    fn resolves(&self, host_index: usize, target: &Target) -> bool {
        self.sessions.get(host_index).is_some_and(|session| match target {
            Target::Tag(_) => session.host().pull && session.host().resolve,
            Target::Digest(_) => session.host().pull,
        })
    }

    /// What a refusal proves about the target.
    fn refused_resolve(&self, host_index: usize, response: &Response) -> Evidence {
        match (response.status, self.reference.target()) {
            (404, Target::Tag(_)) => Evidence::TagUnknown {
                repository_exists: false,
            },
            (404, Target::Digest(_)) => Evidence::DigestUnknown,
            (_, _) => self.refused(host_index, response),
        }
    }

    /// A failure of a HEAD, with the error text of a GET.
    pub(super) fn worded(&self, host_index: usize, response: &Response, said: &Response) -> Failure {
        let mut failure = Failure::of(self.refused(host_index, said), response, Purpose::Content);
        let error = said.error_text();
        failure.code = error.code.as_deref().map(str::to_owned);
        failure.detail = error.detail.as_deref().map(str::to_owned);
        failure.registry_errors_as_printed = error.printed;
        failure
    }
}

/// The `Accept` header for a manifest, in containerd's order.
pub(super) fn accept() -> Arc<str> {
    static ACCEPT: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(manifest::ACCEPT));
    Arc::clone(&ACCEPT)
}
