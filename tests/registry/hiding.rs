//! What each registry hides, and what we make of it: `hiding.yaml`, played on the wire by a scripted registry under the real hosts'
//! names (pull-semantics 6.3). The whole way from a Pod to the words is walked. To add a row, copy one that is close.

use crate::faulty::{Faulty, Reply, Seen, Tls, Validity};
use crate::sample::{Image, image, served};
use crate::support::{look_ups, settings, soon};
use pullgate::cluster::{Cluster, Completeness, Directory};
use pullgate::config::{DEFAULT_NODE_CREDENTIALS, Live, PolicyStore};
use pullgate::engine::LookUps;
use pullgate::engine::{Engine, Gate};
use pullgate::plan;
use pullgate::policy::Requester;
use pullgate::providers::Providers;
use pullgate::registry::RegistrySettings;
use pullgate::verdict::Judgement;
use pullgate::workload::extract;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

const USER: &str = "ci";
const PASSWORD: &str = "correct-horse-battery";

/// One registry's behaviour.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registrar {
    registry: String,
    /// As a pod names it.
    image: String,
    /// Every host that plays a part.
    hosts: Vec<String>,
    /// The key of its entry in a pull secret.
    key: String,
    /// `WWW-Authenticate` of a 401, unless a row says another.
    #[serde(default)]
    challenge: Option<String>,
    rows: Vec<Row>,
}

/// One situation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    when: String,
    #[serde(default)]
    image: Option<String>,
    /// Whether the pod has a pull secret.
    #[serde(default)]
    secret: Secret,
    /// To requests without `Authorization`; 401 with the challenge where there is one, else what `then` says.
    #[serde(default)]
    open: Option<Answer>,
    /// Of the token server; a token if nothing is said.
    #[serde(default)]
    token: Option<Answer>,
    /// To requests with `Authorization`.
    #[serde(default)]
    then: Option<Answer>,
    /// To GETs only, where they differ from HEADs.
    #[serde(default)]
    get: Option<Answer>,
    /// Of the tag list, as it is to who may read it; what `then` says if nothing is said.
    #[serde(default)]
    tags: Option<Answer>,
    /// Of another host, to which a redirect leads.
    #[serde(default)]
    at: BTreeMap<String, Answer>,
    cause: Option<String>,
    outlook: String,
    /// The outlook with the usual `nodeCredentials`, where it differs.
    #[serde(default)]
    nodes: Option<String>,
    /// All in the message.
    #[serde(default)]
    says: Vec<String>,
    /// All in the fix.
    #[serde(default)]
    fix: Vec<String>,
    /// The end of what the kubelet shows.
    #[serde(default)]
    kubelet: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Secret {
    #[default]
    None,
    Listed,
}

/// An answer as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    /// With `message`, the envelope of the distribution API.
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: String,
    /// The body as it is.
    #[serde(default)]
    body: Option<String>,
    /// Of a 401, instead of the registry's; empty for an empty one.
    #[serde(default)]
    challenge: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl Answer {
    fn reply(&self, challenge: Option<&str>) -> Reply {
        let mut reply = Reply::new(self.status);
        if self.status == 401
            && let Some(challenge) = self.challenge.as_deref().or(challenge)
        {
            reply = reply.header("WWW-Authenticate", challenge);
        }
        for (name, value) in &self.headers {
            reply = reply.header(name, value);
        }
        match (&self.code, &self.body) {
            (Some(code), _) => reply.json(&json!({"errors": [{"code": code, "message": self.message}]}).to_string()),
            (None, Some(body)) => reply.body(body.clone()),
            (None, None) => reply,
        }
    }
}

/// What the registry of a row answers.
fn answer(row: &Row, challenge: Option<&str>, app: &Image, seen: &Seen) -> Reply {
    let host = seen.header("host").unwrap_or_default().split(':').next().unwrap_or_default();
    let path = seen.path.split('?').next().unwrap_or_default();
    let is_list = path.ends_with("/tags/list");
    if !is_list && !path.contains("/manifests/") && !path.contains("/blobs/") {
        let token = || Reply::new(200).json(r#"{"token":"t-o-k-e-n","access_token":"t-o-k-e-n"}"#);
        return row.token.as_ref().map_or_else(token, |answer| answer.reply(None));
    }
    if let Some(answer) = row.at.get(host) {
        return answer.reply(None);
    }
    let with = seen.header("authorization").is_some();
    let closed = Answer {
        status: 401,
        code: Some("UNAUTHORIZED".to_owned()),
        message: "authentication required".to_owned(),
        ..Answer::default()
    };
    let said = match (with, &row.open, challenge) {
        (false, Some(open), _) => open,
        (false, None, Some(_)) => &closed,
        (true, _, _) | (false, None, None) => match (&row.then, &row.tags, &row.get) {
            (_, Some(tags), _) if is_list => tags,
            (_, _, Some(get)) if seen.method == "GET" => get,
            (Some(then), _, _) => then,
            (None, _, _) => panic!("{}: `then` is missing", row.when),
        },
    };
    if said.status != 200 || is_list {
        return said.reply(challenge);
    }
    let reply = if path.contains("/blobs/") {
        Reply::new(200).body(app.config.bytes.clone())
    } else {
        served(&app.manifest)
    };
    let reply = said.headers.iter().fold(reply, |reply, (name, value)| {
        let mut reply = reply;
        reply.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        reply.header(name, value)
    });
    match &said.body {
        Some(body) => Reply {
            body: body.clone().into_bytes(),
            headers: reply
                .headers
                .into_iter()
                .filter(|(name, _)| name != "Docker-Content-Digest")
                .collect(),
            ..reply
        },
        None => reply,
    }
}

/// A registry as a row has it, and the way to it.
struct Scene<'a> {
    registrar: &'a Registrar,
    row: &'a Row,
    registry: LookUps,
    _server: Faulty,
}

impl<'a> Scene<'a> {
    async fn new(registrar: &'a Registrar, row: &'a Row, tls: &Tls) -> Self {
        let (played, challenge, app) = (row.clone(), registrar.challenge.clone(), image("amd64"));
        let server = Faulty::start_tls(tls, move |seen| answer(&played, challenge.as_deref(), &app, seen)).await;
        let (registry, _) = look_ups(RegistrySettings {
            resolve: registrar.hosts.iter().map(|host| (host.clone(), server.address)).collect(),
            roots: vec![tls.ca.clone().into_bytes()],
            ..settings()
        });
        Self {
            registrar,
            row,
            registry,
            _server: server,
        }
    }

    /// What the gate says of a pod with this image.
    async fn judge(&self, node_credentials: &[&str]) -> Judgement {
        let image = self.row.image.as_ref().unwrap_or(&self.registrar.image);
        let auths = json!({"auths": {&self.registrar.key: {"username": USER, "password": PASSWORD}}}).to_string();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "regcred", "namespace": "shop"},
            "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": auths}});
        let listed = match self.row.secret {
            Secret::None => json!([]),
            Secret::Listed => json!([{"name": "regcred"}]),
        };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "namespace": "shop"},
            "spec": {"imagePullSecrets": listed, "containers": [{"name": "app", "image": image}]}});
        let engine = Engine {
            registry: self.registry.clone(),
            settings: plan::PlanSettings {
                node_credentials: node_credentials.iter().collect(),
                ..plan::PlanSettings::bare(plan::Admission::HasRun)
            },
            providers: Providers::default(),
        };
        let directory = Directory::from_objects([&secret], Completeness::Complete);
        let gate = Gate::new(Live::new(engine), PolicyStore::default(), Cluster::from(directory));
        let workload = extract(&pod, None, "shop", &gate.kinds()).unwrap();
        gate.judge(&workload, &Requester::default(), soon())
            .await
            .images
            .remove(0)
            .judgement
    }

    /// Where we say something else than the row expects.
    async fn wrong(&self) -> Vec<String> {
        let Row { cause, outlook, .. } = self.row;
        let judgement = self.judge(&[]).await;
        let mut wrong = Vec::new();
        let shown = format!("{judgement:#?}");
        let mut expect = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        expect(
            judgement.outlook.name() == outlook,
            format!("outlook {}", judgement.outlook.name()),
        );
        let by_default = self.judge(&DEFAULT_NODE_CREDENTIALS).await.outlook.name();
        let expected = self.row.nodes.as_ref().unwrap_or(outlook);
        expect(
            by_default == expected,
            format!("outlook with the usual nodeCredentials {by_default}"),
        );
        expect(!shown.contains(PASSWORD), "a password is shown".to_owned());
        let Some(cause) = cause else {
            expect(judgement.findings.is_empty(), format!("findings {shown}"));
            return wrong;
        };
        let Some(finding) = judgement.findings.iter().find(|finding| finding.cause.name() == cause) else {
            expect(false, format!("no {cause} in {shown}"));
            return wrong;
        };
        for part in &self.row.says {
            expect(
                finding.message.contains(part),
                format!("the message lacks {part}: {}", finding.message),
            );
        }
        for part in &self.row.fix {
            expect(finding.fix.contains(part), format!("the fix lacks {part}: {}", finding.fix));
        }
        if let Some(end) = &self.row.kubelet {
            let said = finding.kubelet.as_ref().map_or("nothing", |kubelet| kubelet.message.as_str());
            expect(said.ends_with(end), format!("the kubelet shows {said}"));
        }
        // Only a tag list that can be read proves it.
        let proven = self.row.tags.as_ref().is_some_and(|tags| tags.status == 200);
        let claims = finding.message.contains("\" exists");
        expect(
            claims == proven,
            format!("whether the repository exists: {}", finding.message),
        );
        wrong
    }
}

fn table() -> Vec<Registrar> {
    serde_saphyr::from_str(include_str!("hiding.yaml")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_registries_hide() {
    let table = table();
    let hosts: Vec<&str> = table.iter().flat_map(|one| &one.hosts).map(String::as_str).collect();
    let tls = Tls::new(&hosts, Validity::Good);
    let mut wrong = String::new();
    for registrar in &table {
        for row in &registrar.rows {
            for what in Scene::new(registrar, row, &tls).await.wrong().await {
                wrong.push_str(&format!("{}, {}: {what}\n", registrar.registry, row.when));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_table_is_whole() {
    let table = table();
    let names: Vec<&str> = table.iter().map(|one| one.registry.as_str()).collect();
    for expected in [
        "Docker Hub",
        "GHCR",
        "Quay",
        "ECR",
        "ECR Public",
        "Google",
        "ACR",
        "Harbor",
        "GitLab",
        "Artifactory",
        "Nexus",
        "distribution",
        "MCR",
        "registry.k8s.io",
    ] {
        assert!(names.contains(&expected), "{expected}");
    }
    for registrar in &table {
        assert!(registrar.rows.len() >= 2, "{}", registrar.registry);
        for row in &registrar.rows {
            assert!(row.cause.is_none() || !row.says.is_empty(), "{}: says what?", row.when);
        }
    }
}
