//! What may be wrong with an answer, or with its content.

use std::time::Duration;

/// What is left of a pull quota, from the headers of a successful answer (pull-semantics 6.4). A HEAD does not count against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// `ratelimit-remaining`: pulls that are left. At 0 the next one is refused.
    pub remaining: u64,
    /// `ratelimit-limit`, if it can be read.
    pub limit: Option<u64>,
    /// The period that the limit is for (`w=` of the headers, in seconds).
    pub window: Option<Duration>,
    /// `docker-ratelimit-source`: whose pulls are counted.
    pub counted: Counted,
}

impl Quota {
    /// How much is left. Low only if both limit and window are stated, as Docker Hub does: elsewhere these headers count requests.
    pub fn level(&self) -> Level {
        match (self.remaining, self.limit, self.window) {
            (0, _, _) => Level::Exhausted,
            (remaining, Some(limit), Some(_)) if remaining.saturating_mul(10) <= limit => Level::Low,
            (_, _, _) => Level::Plenty,
        }
    }
}

/// Whose pulls a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    /// The registry does not say.
    #[default]
    NotSaid,
    /// Those from the address that we ask from.
    Address,
    /// Those of the account whose credential was sent.
    Account,
}

/// How much is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Enough to say nothing about it.
    Plenty,
    /// At most a tenth.
    Low,
    /// Nothing.
    Exhausted,
}

/// How a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionFault {
    /// Connection refused.
    Refused,
    /// Reset, or closed before the answer was complete.
    Interrupted,
    /// No route, network unreachable, or another socket error.
    Unreachable,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutStage {
    /// Connecting.
    Connect,
    /// The TLS handshake, on an established connection.
    Handshake,
    /// The answer.
    Response,
    /// The review's deadline passed before the answer came (or before the request left the queue of a slow host).
    Deadline,
}

/// Why the TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// Signed by an unknown authority.
    UnknownIssuer,
    /// Expired or not yet valid.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// The server speaks plain HTTP.
    PlainHttp,
    /// Anything else.
    Other,
}

/// The rule by which our guard did not send a request, or does not believe its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuardRule {
    /// The address is in a range that the settings do not allow; the range to add to `network.allow`.
    Address {
        /// For instance `10.0.0.0/8`.
        range: String,
    },
    /// Link-local or metadata: never allowed.
    NeverAdmitted {
        /// The address.
        address: String,
    },
    /// The name of a cloud's metadata service: never allowed.
    Metadata {
        /// As written.
        name: String,
    },
    /// A redirect from https to http, or to http on another host or port.
    Redirect,
    /// Something that nodes send along when they follow a redirect: an `Authorization`, or the user that its URL names. We followed it
    /// without that, and were refused.
    CredentialNotSent,
    /// A token realm that is neither https nor the registry itself.
    Realm,
}

/// Why CRI-O may fail on a layer that we do not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnreadLayer {
    /// The layer's type (this one) names no compression, and the layer is not the plain tar that the config lists. CRI-O pulls it if it
    /// detects a compression in its bytes.
    Packing(String),
    /// The layer is longer or shorter than its descriptor says. CRI-O does not compare lengths: it fails if the digest differs.
    Length {
        /// In bytes.
        has: u64,
        /// In bytes.
        says: i64,
    },
}

/// Why a manifest is unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentFault {
    /// The content type is not one that a runtime takes for a manifest (`text/html`: a login page).
    MediaType(String),
    /// The media type of an index entry is not one that a runtime takes for a manifest.
    EntryType(String),
    /// Not JSON: what Go's parser says of it; empty where that is not known.
    NotJson(String),
    /// The media type and the body disagree: how, in containerd's words.
    BodyMismatch(String),
    /// A member of the manifest, or of a descriptor in it, is of the wrong type.
    WrongKind(&'static str),
    /// `Content-Length: 0`.
    Empty,
    /// `Docker-Content-Digest` is malformed.
    DigestMalformed(String),
    /// The body's digest is not the one in `Docker-Content-Digest`, or not the one asked for.
    DigestWrong,
    /// A part has another digest than the one that it was requested by.
    OtherDigest {
        /// `manifest`, `index`, `child manifest` or `config`.
        part: &'static str,
        /// The digest of what was served.
        has: String,
    },
    /// The registry resolves the reference to a digest, and then does not serve that digest.
    NotServed,
    /// A Docker schema 1 manifest without signatures, which containerd 1.x cannot convert.
    Unsigned,
    /// The config is not JSON: what Go's parser says of it.
    ConfigNotJson(String),
    /// A member of the config is of the wrong type.
    ConfigWrongKind,
    /// A descriptor that is never fetched: containerd refuses sizes of zero and below.
    SizeOf {
        /// `child manifest`, `config` or `layer`.
        part: &'static str,
        /// Its digest, as written; may be empty.
        digest: String,
        /// Its size in bytes, as written.
        says: i64,
    },
    /// The numbers of layers and of `diff_ids` differ.
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// `diff_ids` in the config.
        diff_ids: usize,
    },
    /// The digest names a blob, not a manifest.
    DigestIsBlob,
    /// A part is longer or shorter than announced.
    OtherSize {
        /// `config`, `layer` …
        part: &'static str,
        /// Who announced the size.
        by: &'static str,
        /// In bytes.
        has: i64,
        /// In bytes.
        says: i64,
    },
    /// An index that lists nothing but attestations, or nothing at all.
    NoImage,
    /// A layer of this type, which a runtime unpacks with a plugin or not at all (encrypted, nydus, squashfs).
    NeedsPlugin(String),
    /// A layer of this type, which containerd takes for plain tar, is not what the config lists: it is compressed after all.
    CompressedUnderPlainType(String),
    /// A layer that CRI-O may or may not be able to use; only reading it would show that.
    CrioMayFail(UnreadLayer),
    /// A `diff_id` in the config is not a sha256, which containerd computes for what it unpacks.
    DiffId(String),
    /// The descriptor of the config or of a layer declares this platform, which is not that of the config: a runtime skips parts for other
    /// platforms.
    PartForOtherPlatform(String),
    /// Newer runtimes cannot read it; older ones ignore the faulty part.
    UnreadableSinceContainerd2(String),
    /// Other structural damage.
    Structure(String),
}
