//! What runtimes ask registries, beside what we ask: compared, and kept in `recordings/` for whoever wants to play it again.

use crate::cases::Case;
use crate::faulty::{Manner, Reply, Seen};
use crate::server::Registries;
use pullgate::image::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A request and its answer, as they came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// `http://{registry}`, `https://{mirror}`, …
    pub(crate) at: String,
    pub(crate) seen: Seen,
    pub(crate) reply: Reply,
}

/// Replaces what differs from run to run by what it stands for.
#[derive(Debug)]
pub(crate) struct Masks(Vec<(String, String)>);

impl Masks {
    pub(crate) fn new(own: u16, mirror: Option<u16>, named: u16) -> Self {
        let mut all = Vec::new();
        for (port, host, alone) in [
            (Some(own), "{registry}", "{port}"),
            (mirror, "{mirror}", "{mirror-port}"),
            (Some(named), "{named}", "{named-port}"),
        ] {
            let Some(port) = port else { continue };
            all.push((format!("127.0.0.1:{port}"), host.to_owned()));
            all.push((format!("127.0.0.1%3A{port}"), host.to_owned()));
            for before in [":", "%3A", ":0"] {
                all.push((format!("{before}{port}"), format!("{before}{alone}")));
            }
        }
        Self(all)
    }

    pub(crate) fn mask(&self, text: &str) -> String {
        let replace = |text: String, (from, to): &(String, String)| {
            let mut parts = text.split(from.as_str());
            let mut out = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                // The beginning of a digest may look like a port.
                let ends = !part.starts_with(|c: char| c.is_ascii_alphanumeric());
                out.push_str(if ends { to } else { from });
                out.push_str(part);
            }
            out
        };
        self.0.iter().fold(text.to_owned(), replace)
    }
}

/// A request and its answer, as they are kept: without what differs from run to run, and without passwords and tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) at: String,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The types of all `Accept` headers, in their order.
    pub(crate) accept: Vec<String>,
    /// Nothing, `Basic USER`, or `Bearer`.
    pub(crate) authorization: String,
    /// The fields of a form but for its password, in order of name.
    pub(crate) form: String,
    pub(crate) range: String,
    /// 0 where the connection was closed instead.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// What came with the answer.
    pub(crate) body: Body,
    /// Its neighbours that say so too were asked at the same time, in any order.
    pub(crate) together: bool,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Body {
    None,
    Text(String),
    /// No text: the digest and how many bytes they are.
    Bytes(String, usize),
}

impl Body {
    fn new(bytes: &[u8], masks: &Masks) -> Self {
        match std::str::from_utf8(bytes) {
            Ok("") => Self::None,
            Ok(text) => Self::Text(masks.mask(text)),
            Err(_) => Self::Bytes(Digest::sha256(bytes).to_string(), bytes.len()),
        }
    }

    /// Under what it is kept: the first digits of its digest.
    fn key(&self) -> Option<String> {
        let digest = match self {
            Self::None => return None,
            Self::Text(text) => Digest::sha256(text.as_bytes()).to_string(),
            Self::Bytes(digest, _) => digest.clone(),
        };
        Some(digest.trim_start_matches("sha256:").chars().take(12).collect())
    }

    fn kept(&self) -> Value {
        /// More than any manifest or config that is not filled up.
        const LONG: usize = 16 * 1024;
        match self {
            Self::None => Value::Null,
            Self::Bytes(digest, length) => json!({"digest": digest, "bytes": length}),
            Self::Text(text) => {
                let bare = text.trim_end_matches(' ');
                let spaces = text.len() - bare.len();
                match bare.char_indices().nth(LONG) {
                    Some((end, _)) => json!({"text": bare[..end], "cut": text.len()}),
                    None if spaces > 64 => json!({"text": bare, "spaces": spaces}),
                    None => json!({"text": text}),
                }
            }
        }
    }
}

impl Exchange {
    fn new(heard: &Heard, masks: &Masks) -> Self {
        let Heard { at, seen, reply } = heard;
        let accept = seen
            .headers
            .iter()
            .filter(|(name, _)| name == "accept")
            .flat_map(|(_, value)| value.split(','))
            .map(|one| one.trim().to_owned());
        let mut form: Vec<String> = url::form_urlencoded::parse(seen.body.as_bytes())
            .filter(|(name, _)| !["password", "refresh_token"].contains(&name.as_ref()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        form.sort();
        let hung_up = matches!(reply.manner, Manner::Hangup);
        let mut headers: Vec<(String, String)> = reply
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), masks.mask(value)))
            .collect();
        let measured = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if !measured && !reply.unmeasured && !hung_up {
            headers.push(("Content-Length".to_owned(), reply.body.len().to_string()));
        }
        if hung_up {
            headers.clear();
        }
        Self {
            at: at.clone(),
            method: seen.method.clone(),
            path: masks.mask(&seen.path),
            accept: accept.collect(),
            authorization: authorization(seen),
            form: masks.mask(&form.join("&")),
            range: seen.header("range").unwrap_or_default().to_owned(),
            status: if hung_up { 0 } else { reply.status },
            headers,
            body: if hung_up || seen.method == "HEAD" {
                Body::None
            } else {
                Body::new(&reply.body, masks)
            },
            together: false,
        }
    }

    /// What the request is for.
    fn what(&self, configs: &BTreeSet<String>) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let what = if path == "/v2/" {
            "/v2/"
        } else if path.starts_with("/token") {
            "token"
        } else if path.contains("/manifests/") && last.contains(':') {
            "manifest by digest"
        } else if path.contains("/manifests/") {
            "manifest by tag"
        } else if path.contains("/blobs/") && configs.contains(last) {
            "config"
        } else if path.contains("/blobs/") {
            "layer"
        } else {
            "elsewhere"
        };
        format!("{} {what}", self.method)
    }

    /// As a line of a recording.
    fn kept(&self, shared: &mut Shared) -> Value {
        let mut line = json!({"at": self.at, "method": self.method, "path": self.path});
        if !self.accept.is_empty() {
            line["accept"] = shared.accept(&self.accept);
        }
        for (name, text) in [
            ("authorization", &self.authorization),
            ("form", &self.form),
            ("range", &self.range),
        ] {
            if !text.is_empty() {
                line[name] = text.as_str().into();
            }
        }
        if self.together {
            line["together"] = true.into();
        }
        if self.status == 0 {
            line["closed"] = true.into();
            return line;
        }
        line["status"] = self.status.into();
        line["headers"] = self.headers.iter().map(|(name, value)| json!([name, value])).collect();
        if let Some(key) = self.body.key() {
            shared.bodies.insert(key.clone(), self.body.kept());
            line["body"] = key.into();
        }
        line
    }
}

fn authorization(seen: &Seen) -> String {
    let Some(value) = seen.header("authorization") else {
        return String::new();
    };
    match value.split_once(' ') {
        Some(("Basic", encoded)) => {
            let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap_or_default();
            let text = String::from_utf8_lossy(&decoded).into_owned();
            format!("Basic {}", text.split(':').next().unwrap_or_default())
        }
        Some((scheme, _)) => scheme.to_owned(),
        None => value.to_owned(),
    }
}

/// What one pull, or one look-up of ours, asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pull {
    /// As the pod names it.
    pub(crate) image: String,
    /// Who the credential in the pull request is, if there was one.
    pub(crate) user: Option<String>,
    pub(crate) pulled: bool,
    pub(crate) exchanges: Vec<Exchange>,
}

impl Pull {
    /// Of what the case's registries heard since somebody last asked them.
    pub(crate) fn new(case: &Case, registries: &Registries, user: Option<String>, pulled: bool) -> Self {
        let masks = registries.masks(case);
        let heard = registries.take(case);
        let mut exchanges: Vec<Exchange> = heard.iter().map(|heard| Exchange::new(heard, &masks)).collect();
        // Every case with an empty config has the same one: whether a node still asks for it depends on the cases before.
        exchanges.retain(|exchange| !exchange.path.ends_with(EMPTY_JSON));
        let begins = |exchange: &Exchange| exchange.path == "/v2/" || exchange.what(&BTreeSet::new()).ends_with("by tag");
        let exchanges = exchanges
            .chunk_by(|_, next| !begins(next))
            .flat_map(|chunk| settle(chunk, pulled))
            .collect();
        Self {
            image: masks.mask(&registries.world(case).image()),
            user,
            pulled,
            exchanges,
        }
    }
}

/// The digest of `{}`.
const EMPTY_JSON: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// Puts what is asked for at the same time, which comes in any order, into one that is the same every time: the blobs, and if there are
/// several the manifests after the first. Where one of them failed, it depends on chance which others were asked for before that ended it:
/// only those that failed are kept.
fn settle(chunk: &[Exchange], pulled: bool) -> Vec<Exchange> {
    let is_blob = |exchange: &Exchange| exchange.path.contains("/blobs/");
    let is_manifest = |exchange: &Exchange| exchange.path.contains("/manifests/");
    let root = chunk
        .iter()
        .position(|exchange| is_manifest(exchange) && exchange.method == "GET" && exchange.status == 200);
    let Some(first) = root.map(|root| root + 1) else {
        return chunk.to_vec();
    };
    let paths = |which: &dyn Fn(&Exchange) -> bool| {
        let paths = chunk[first..].iter().filter(|exchange| which(exchange));
        paths.map(|exchange| exchange.path.as_str()).collect::<BTreeSet<_>>().len()
    };
    let first = match (!pulled || paths(&is_manifest) > 1, chunk.iter().position(is_blob)) {
        (true, _) => first,
        (false, Some(blob)) => blob,
        (false, None) => chunk.len(),
    };
    let failed = |exchange: &Exchange| !(200..300).contains(&exchange.status);
    let by_chance = !pulled && paths(&|_| true) > 1 && chunk[first..].iter().any(failed);
    let (in_order, together) = chunk.split_at(first);
    let mut together = together.to_vec();
    together.sort_by(|a, b| (is_blob(a), &a.path).cmp(&(is_blob(b), &b.path)));
    together.retain(|exchange| !by_chance || failed(exchange));
    let several = !pulled || together.len() > 1;
    for exchange in &mut together {
        exchange.together = several;
    }
    [in_order, &together].concat()
}

/// A difference between what a runtime and we asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// `only it: GET layer`
    pub(crate) kind: String,
    /// The request, and where it matters both sides.
    pub(crate) detail: String,
}

/// How the requests of a runtime and ours differ.
pub(crate) fn compare(theirs: &[Pull], ours: &[Pull], configs: &BTreeSet<String>) -> Vec<Difference> {
    let all = |pulls: &[Pull]| pulls.iter().flat_map(|pull| pull.exchanges.clone()).collect::<Vec<_>>();
    let (theirs, ours) = (all(theirs), all(ours));
    let key = |exchange: &Exchange| format!("{} {}{}", exchange.method, exchange.at, exchange.path);
    let by_key = |exchanges: &[Exchange]| {
        let mut by_key: BTreeMap<String, Vec<Exchange>> = BTreeMap::new();
        for exchange in exchanges {
            by_key.entry(key(exchange)).or_default().push(exchange.clone());
        }
        by_key
    };
    let (their_keys, our_keys) = (by_key(&theirs), by_key(&ours));
    let mut found = Vec::new();
    let mut differ = |kind: String, detail: String| found.push(Difference { kind, detail });
    for (key, asked) in &their_keys {
        let what = asked[0].what(configs);
        let Some(own) = our_keys.get(key) else {
            differ(format!("only it: {what}"), key.clone());
            continue;
        };
        if asked.len() != own.len() {
            let more = if asked.len() > own.len() {
                "it more often"
            } else {
                "we more often"
            };
            let detail = format!("{key}: it {} times, we {}", asked.len(), own.len());
            differ(format!("{more}: {what}"), detail);
        }
        if asked[0].accept != own[0].accept {
            let detail = format!("{key}: it {}, we {}", asked[0].accept.join(", "), own[0].accept.join(", "));
            differ(format!("other Accept: {what}"), detail);
        }
        let who = |exchanges: &[Exchange]| {
            let mut all: Vec<String> = exchanges
                .iter()
                .map(|exchange| {
                    let who = format!("{} {}", exchange.authorization, exchange.form);
                    if who == " " {
                        "nobody".to_owned()
                    } else {
                        who.trim().to_owned()
                    }
                })
                .collect();
            all.dedup();
            all.join(", ")
        };
        let (they, we) = (who(asked), who(own));
        if they != we {
            differ(format!("other authorisation: {what}"), format!("{key}: it {they}, we {we}"));
        }
    }
    for (key, asked) in our_keys.iter().filter(|(key, _)| !their_keys.contains_key(*key)) {
        differ(format!("only we: {}", asked[0].what(configs)), key.clone());
    }
    found
}

/// What the recordings have in common.
#[derive(Default)]
struct Shared {
    bodies: BTreeMap<String, Value>,
    accepts: BTreeMap<String, Vec<String>>,
}

impl Shared {
    /// A list of types, by a name where it is long.
    fn accept(&mut self, types: &[String]) -> Value {
        const LONG: usize = 4;
        if types.len() < LONG {
            return types.into();
        }
        let digest = Digest::sha256(types.join(",").as_bytes()).to_string();
        let name: String = digest.trim_start_matches("sha256:").chars().take(6).collect();
        self.accepts.insert(name.clone(), types.to_vec());
        name.into()
    }
}

/// What every runtime asked in one case, by the runtime's name in `tests/cluster/runtimes`, in that order.
pub(crate) type Asked = Vec<(String, Vec<Pull>)>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agreement/recordings")
}

/// Writes all recordings, as `recordings/README.md` describes them. Those of some cases only are not written.
pub(crate) fn write(recorded: &[(&Case, Asked)]) {
    if std::env::var_os("PULLGATE_TEST_CASE").is_some() {
        return;
    }
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    let mut stale: BTreeSet<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    let mut shared = Shared::default();
    let mut keep = |name: &str, lines: &[Value]| {
        let path = folder.join(format!("{name}.jsonl"));
        let mut text = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        text.push('\n');
        std::fs::write(&path, text).unwrap();
        stale.remove(&path);
    };
    for (case, asked) in recorded {
        // Pulls that asked the same are told once.
        let mut groups: Vec<(&Pull, Vec<&str>)> = Vec::new();
        for (runtime, pulls) in asked {
            for pull in pulls {
                match groups.iter_mut().find(|(known, _)| *known == pull) {
                    Some((_, runtimes)) => {
                        if !runtimes.contains(&runtime.as_str()) {
                            runtimes.push(runtime);
                        }
                    }
                    None => groups.push((pull, vec![runtime])),
                }
            }
        }
        let mut lines = Vec::new();
        for (pull, runtimes) in groups {
            lines.push(json!({"runtimes": runtimes, "image": pull.image, "user": pull.user, "pulled": pull.pulled}));
            lines.extend(pull.exchanges.iter().map(|exchange| exchange.kept(&mut shared)));
        }
        keep(&case.name, &lines);
    }
    let bodies: Vec<Value> = shared
        .bodies
        .into_iter()
        .map(|(key, mut body)| {
            body["body"] = key.into();
            body
        })
        .collect();
    let accepts: Vec<Value> = shared
        .accepts
        .into_iter()
        .map(|(name, types)| json!({"accept": name, "types": types}))
        .collect();
    keep("_bodies", &bodies);
    keep("_accepts", &accepts);
    for path in stale {
        std::fs::remove_file(path).unwrap();
    }
}
