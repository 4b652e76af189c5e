//! The bounds that protect this program, the API server and registries from whoever can create an object. Limits that
//! several modules share, each with its reason; one that a single module needs stands beside its use. Pure.
//!
//! Defined elsewhere: limits that the settings or the command line can change, lifetimes of cached answers (in the caches), and limits that
//! a protocol or a runtime prescribes.

use std::time::Duration;

// Files.

/// Bytes of one file of settings, policies, certificates or credentials. The largest of these are bundles of authorities, some 200 KiB.
pub const SETTINGS_FILE: u64 = 1 << 20;
/// Bytes of one file of manifests, or of standard input. Rendered charts with their CRDs have a few MiB.
pub const MANIFEST_FILE: u64 = 32 << 20;
/// Policy files that are read.
pub const POLICY_FILES: usize = 1000;
/// Policies in those files.
pub const POLICIES: usize = 1000;
/// Bytes of all policy files together.
pub const POLICY_BYTES: usize = 16 << 20;

/// How often files are checked for changes.
pub const FILE_POLL: Duration = Duration::from_secs(2);
/// How long a writer that replaces several files one by one gets to finish.
pub const FILE_SETTLE: Duration = Duration::from_millis(100);

// Requests of ours to the API server.

/// Connecting, and the answer to one request about a single object. Lists have longer, in pages.
pub const API_SERVER: Duration = Duration::from_secs(5);

/// Requests for single objects in flight. Some are made for every review; the API server's own limit for one user is of that order (API
/// Priority and Fairness, `workload-low`).
pub const API_REQUESTS: usize = 32;
/// Those of one namespace: how many objects a review reads is up to who writes the object.
pub const API_REQUESTS_PER_NAMESPACE: usize = 8;
/// Those of one namespace that wait; what finds no place counts as unread.
pub const API_REQUESTS_WAITING: usize = 256;
/// How long they wait, and how long an answer may take (contract 6).
pub const API_TURN: Duration = Duration::from_secs(2);
/// Answers with 5xx in a row, after which the API server is left alone for a while. One object may be broken by itself.
pub const API_FAILURES: u32 = 3;
/// How long it is left alone at first, and after a 429 without a time.
pub const API_PAUSE: Duration = Duration::from_secs(1);
/// How long at most.
pub const API_LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Idle connections to it that are kept; each costs some 40 KiB for TLS.
pub const API_IDLE_CONNECTIONS: usize = 4;
/// How long a connection may be silent before the kernel asks whether there is anybody, how often it asks then, and how many times. With
/// [`API_USER_TIMEOUT`] one that was cut without a word ends within 15 seconds.
pub const API_KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(3), 3);
/// How long what was sent may go without an acknowledgement.
pub const API_USER_TIMEOUT: Duration = Duration::from_secs(12);
/// How long nothing need be heard of the API server before it is asked for a word.
pub const API_HEARTBEAT: Duration = Duration::from_secs(10);
/// After this long without a word, what was watched is no ground for a denial unless the API server confirms it.
pub const API_SILENCE: Duration = Duration::from_secs(30);

// Reviews.

/// Objects of files that are judged at the same time.
pub const JUDGED_AT_ONCE: usize = 32;

/// How long the API server waits if it does not say (`timeoutSeconds` of a webhook defaults to 10).
pub const REVIEW: Duration = Duration::from_secs(10);
/// Bytes of a review's body. etcd stores no object of more than 1.5 MiB (`DefaultMaxRequestBytes` in its server/v3/embed/config.go, which
/// the API server relies on: `MaxRequestBodyBytes` in apiserver/pkg/server/config.go), and an UPDATE sends two. What is stored is protobuf;
/// what is sent to us is Go's JSON (apimachinery/pkg/runtime/serializer/json), where `<`, `>`, `&`, control characters and bytes that are
/// not UTF-8 are six bytes each (`\u003c`). That makes 18 MiB, and the rest of the review has room besides.
pub const REVIEW_BODY: usize = 20 << 20;
/// Bytes of a longer body that are read: a review begins with all that is answered by (its identity, kind and user), before the objects.
pub const REVIEW_BEGINNING: usize = 256 << 10;
/// Images of one object. Each takes some kilobytes until the answer, and no node can store a hundredth of them.
pub const IMAGES_PER_OBJECT: usize = 25_000;
/// What one of them is taken to need until the answer, in bytes: an object with other things in numbers counts as so many images.
pub const IMAGE_MEMORY: usize = BODY_MEMORY / IMAGES_PER_OBJECT;
/// What is found of one object without a registry, all of it told in full. Beyond, each image has the finding that is answered most severely, and
/// none has words: twenty policies may object sixty times to each of [`IMAGES_PER_OBJECT`].
pub const FINDINGS_PER_OBJECT: usize = 2000;
/// Images of one object that registries are asked about. Real objects have a few dozen; one of a few megabytes may have tens of thousands,
/// each costs a look through its pull secrets, and together they would keep the queues of their registries full for everybody.
pub const LOOK_UPS_PER_OBJECT: usize = 1000;
/// Look-ups of one object at once: those that have begun go on when its review has ended.
pub const LOOK_UPS_AT_ONCE: usize = 64;
/// Nesting of a request's body; `serde_json` itself fails at 128. No pod spec nests half as deep.
pub const BODY_LEVELS: usize = 100;
/// Memory that the values of a request's body may take, in bytes, roughly. One byte of JSON can take ninety: 3 MiB of `{"":{}}`, which any
/// user can put into an object, would use up all memory. Some seventy thousand objects and lists fit; the largest real ones have a few
/// thousand.
pub const BODY_MEMORY: usize = 48 << 20;
/// Bodies of this size, in bytes, are processed outside the runtime's own threads: parsing and judging them takes long enough to delay
/// others, probes included. Real objects have a tenth of that.
pub const LARGE_BODY: usize = 128 << 10;
/// Large bodies that are worked at once. Those that wait for a registry do not count.
pub const LARGE_BODIES_AT_ONCE: usize = 32;

// Connections to us. What may be configured is in `server::Limits`.

/// Connections to the webhook port. Each review of the API server has one.
pub const WEBHOOK_CONNECTIONS: usize = 512;
/// Connections to the port of metrics and health. Scrapers and probes are a handful, but nobody must be able to keep the kubelet's probes
/// out.
pub const PLAIN_CONNECTIONS: usize = 128;
/// Headers of a request; hyper answers more with 431. The API server sends nine.
pub const REQUEST_HEADERS: usize = 64;
/// Bytes of a request's head; hyper answers larger ones with 431. The API server's have a few hundred.
pub const REQUEST_HEAD: usize = 32 << 10;
/// Bytes of a connection's read buffer: the memory that it can use between two polls.
pub const READ_BUFFER: usize = 64 << 10;

// Descriptors.

/// Descriptors that are needed whoever asks: the log, the listeners, what waits for events, watches, files that are read.
const OWN_DESCRIPTORS: usize = 28;

/// How many connections each side may have, so that all of them fit into the limit of open files (`ulimit -n`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// To the webhook port.
    pub webhook: usize,
    /// To the port of metrics and health.
    pub plain: usize,
    /// To registries: requests in flight.
    pub registries: usize,
}

/// The shares of a limit of open files. From some 1,300 on, nobody is limited by it.
pub fn descriptors(limit: Option<u64>) -> Descriptors {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let free = limit.saturating_sub(OWN_DESCRIPTORS);
    let share = |fifths: usize, most: usize| (free / 5).saturating_mul(fifths).clamp(4, most);
    Descriptors {
        webhook: share(2, WEBHOOK_CONNECTIONS),
        plain: share(1, PLAIN_CONNECTIONS),
        registries: share(2, REQUESTS_TO_ANSWERING + REQUESTS_TO_OTHERS),
    }
}

// Look-ups.

/// How long one look-up may run, however long its callers wait: as long as the API server waits at most (`timeoutSeconds` is 30 at most),
/// so that a slow registry's answer is cached for the next review.
pub const LOOK_UP: Duration = Duration::from_secs(30);
/// One request with its body, from the moment it may start.
pub const REQUEST: Duration = Duration::from_secs(6);
/// Connecting to a registry, name resolution and TLS included.
pub const CONNECT: Duration = Duration::from_secs(3);
/// How long the body of an error is waited for, which only gives the words.
pub const ERROR_BODY_WAIT: Duration = Duration::from_secs(1);
/// How long the requests may take that only improve the words of a refusal.
pub const DETAILS: Duration = Duration::from_secs(3);
/// How long it is looked for where else an image might be, which only improves the words.
pub const ELSEWHERE: Duration = Duration::from_millis(1500);
/// How long a name's resolution is waited for before it is asked of the proxy: many machines behind one resolve nothing.
pub const RESOLVE_BEFORE_PROXY: Duration = Duration::from_secs(1);
/// 401s that are answered before a request is given up: a kept token, a fresh one, Basic; here and behind a redirect.
pub const AUTHENTICATION_ROUNDS: usize = 6;
/// Parts of one image (manifests, configs, layers) that are looked for. Overlay file systems take 128 layers or a few more, and an index has
/// one build a platform.
pub const PARTS_PER_IMAGE: usize = 1000;
/// Parts of one list that are asked for at once; what a registry gets in all is bounded by [`REQUESTS_PER_HOST`].
pub const PARTS_AT_ONCE: usize = 8;

/// Questions of one run of what asks: a pull at `depth: layers` asks a few for each layer of each platform of an index.
pub const QUESTIONS: usize = 1000;

// What registries answer.

/// Bytes that a server may send before the head of its answer has been read: the handshake of TLS, then interim answers and the head itself.
/// Heads of registries have a kilobyte or two; certificates may have 64 KiB in all (rustls), and so much is read ahead.
pub const ANSWER_HEAD: usize = 192 << 10;
/// Bytes that are read ahead of a connection, and the longest head of one answer.
pub const ANSWER_BUFFER: usize = 64 << 10;
/// Interim answers (1xx) before an answer. Registries send none; Go's client takes five (net/http, `max1xxResponses`).
pub const INTERIM_ANSWERS: usize = 5;
/// Bytes that are read of a connection in one turn; then others have theirs.
pub const READ_PER_TURN: usize = 256 << 10;
/// Bytes of a manifest or an index: what containerd reads, 4·1048·1048 (sic; core/remotes/docker `MaxManifestSize`).
pub const IMAGE_MANIFEST: usize = 4_393_216;
/// Memory that a manifest, an index or a config may take while it is read, in bytes, roughly: three bytes of JSON (`{},`) can take a
/// thousand. An index of 5,000 entries fits. The longest that is published has some hundred (a few platforms, each with an attestation), and
/// an image of 127 layers, the most that overlay file systems take (Docker, `layer/layer_store.go` `maxLayerDepth`), a hundredth of it.
pub const DOCUMENT_MEMORY: usize = 16 << 20;
/// Memory that one of them may take afterwards.
pub const DOCUMENT_KEPT: usize = 1 << 20;
/// Those that take more than this are claimed of [`DOCUMENTS_KEPT`], and forgotten when nobody holds them any longer: 180 entries or layers.
pub const LONG_DOCUMENT: usize = 64 << 10;
/// Memory of all that are long and in use at the same time. What finds no room is not judged.
pub const DOCUMENTS_KEPT: usize = 32 << 20;
/// Memory of what was found of the images of one object. The rest is not judged.
pub const FOUND_PER_OBJECT: usize = 16 << 20;
/// Bytes of an image's config. A longer one tells no platform, and is not held against the image.
pub const IMAGE_CONFIG: usize = 8 << 20;
/// Bytes of a list of tags.
pub const TAG_LIST: usize = 1 << 20;
/// Tags of a list that are compared with the wanted one. Of those that registries send on one page (100 to 1,000) it is many.
pub const TAGS_COMPARED: usize = 50_000;
/// Bytes of a token server's answer.
pub const TOKEN_ANSWER: usize = 64 << 10;
/// Bytes of a body that is read for its words only.
pub const ERROR_BODY: usize = 64 << 10;
/// Bytes of a body that are read without waiting for a place: with [`REQUESTS_TO_ANSWERING`] and [`REQUESTS_TO_OTHERS`] it is 16 MiB in
/// all. Nine of ten manifests are shorter.
pub const SHORT_ANSWER: usize = 32 << 10;
/// Bytes of all longer bodies that are read at the same time; others wait. Half a dozen of the longest manifests, or hundreds of usual ones.
pub const LONG_ANSWERS: usize = 24 << 20;
/// Longer bodies of one host that are read at once, so that a slow one does not take all of that.
pub const LONG_ANSWERS_PER_HOST: usize = 2;
/// Longer bodies that are parsed at once, on threads that serve nothing else.
pub const PARSED_AT_ONCE: usize = 2;

// Many look-ups.

/// Requests in flight to one host.
pub const REQUESTS_PER_HOST: usize = 16;
/// Requests in flight to one address, whatever the names and ports that lead there: one machine with 64 ports is one machine.
pub const REQUESTS_PER_ADDRESS: usize = 64;
/// Repositories of one host whose failures are remembered.
pub const PATHS_PER_HOST: usize = 64;
/// Requests that wait for one host; a burst of reviews is a few thousand.
pub const WAITING_PER_HOST: usize = 4096;
/// Requests in flight to all hosts that answer. Together with [`REQUESTS_TO_OTHERS`] it guards our file descriptors.
pub const REQUESTS_TO_ANSWERING: usize = 384;
/// Requests in flight to hosts that have not answered of late. Who names many that never do keeps others from new registries at most, never
/// from those that answer.
pub const REQUESTS_TO_OTHERS: usize = 128;
/// Requests that wait for either of these two: what they hold in memory is bounded with it.
pub const WAITING_IN_ALL: usize = 1024;
/// How long an answer makes a host one that answers.
pub const ANSWERING: Duration = Duration::from_mins(10);
/// Consecutive transport failures after which a host is not asked for [`BREAKER_OPEN`].
pub const BREAKER_FAILURES: u32 = 3;
/// How long such a host is not asked.
pub const BREAKER_OPEN: Duration = Duration::from_secs(5);
/// The longest that a `Retry-After` is believed.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(15);
/// The shortest.
pub const SHORTEST_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Where a 429 names no time.
pub const USUAL_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Names that are resolved at once, of those that did resolve before.
pub const RESOLVING_KNOWN: usize = 32;
/// Names that are resolved at once, of all others. The system's resolver keeps a thread for as long as it waits for a name server, whoever
/// has stopped waiting for it; names come from users, and so may the name servers.
pub const RESOLVING_OTHERS: usize = 64;
/// How long the answer of before stands in for one that is late.
pub const RESOLVED_BEFORE: Duration = Duration::from_mins(30);
/// How long a new answer for such a name is waited for. Name servers near by take a few milliseconds.
pub const RESOLVE_KNOWN: Duration = Duration::from_millis(250);
/// After waiting in vain, how long nobody waits for that name again.
pub const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// Entries of a memory of small things whose keys users choose: hosts, names, credentials at hosts.
pub const REMEMBERED: u64 = 10_000;

// Programs.

/// How long a credential plugin or helper may run. (The kubelet gives a plugin one minute, but no review waits that long.)
pub const PROGRAM: Duration = Duration::from_secs(10);
/// Bytes that it may print. Cloud tokens have a few thousand.
pub const PROGRAM_OUTPUT: u64 = 256 << 10;
/// How long Helm or kustomize may take for one chart or overlay.
pub const RENDERING: Duration = Duration::from_mins(1);
/// Bytes that they may print. The largest charts have a few MiB, most of it CRDs.
pub const RENDERED: u64 = 64 << 20;
/// Bytes of a chart with what it depends on.
pub const CHART: u64 = 64 << 20;
/// Files of a chart with what it depends on.
pub const CHART_FILES: usize = 10_000;

/// A watch is renewed after this many seconds, so that a dead connection is noticed.
pub const WATCH_SECONDS: u32 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out() {
        for limit in [64, 128, 256, 1024, 1 << 16] {
            let shares = descriptors(Some(limit));
            let all = shares.webhook + shares.plain + shares.registries + OWN_DESCRIPTORS;
            assert!(all as u64 <= limit, "{limit}: {shares:?}");
        }
        let most = descriptors(None);
        assert_eq!((most.webhook, most.plain, most.registries), (512, 128, 512));
        assert_eq!(descriptors(Some(1 << 16)), most);
        assert_eq!(descriptors(Some(10)).plain, 4, "it still tries");
    }
}
