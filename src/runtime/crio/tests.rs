use super::*;
use crate::ask::{Log, Nothing, Step, step};
use crate::image::Digest;
use crate::runtime::answer::{AnsweredBy, AskedAt, Body, Fault, FaultKind, Response};
use crate::runtime::challenge;
use crate::runtime::content::{self, Content};
use crate::runtime::crio::auth::NodeAuth;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::crio::policy::Policy;
use crate::runtime::crio::registries_conf::RegistriesConf;
use crate::runtime::crio::version::Version;
use crate::runtime::outcome::{AuthStage, ConnectionFault, Rejection, TlsFault, UnreadLayer};
use crate::runtime::request::{Agent, Auth, Grant, Method, Want};
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use std::collections::BTreeMap;

const NEW: Version = Version(1, 36, 3);
const LAYER: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
const CONFIG: &str = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;

/// What a registry answers to one request.
#[derive(Debug, Clone)]
struct Says {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn says(status: u16) -> Says {
    Says {
        status,
        headers: Vec::new(),
        body: String::new(),
    }
}

impl Says {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }
}

/// Registries by what is asked of them: `https://a.example/v2/x`, and again and again with ` 2`, ` 3` … behind it. Nothing else is heard.
#[derive(Debug, Clone, Default)]
struct Net(BTreeMap<String, Says>);

impl Net {
    fn at(mut self, url: &str, says: Says) -> Self {
        self.0.insert(url.to_owned(), says);
        self
    }

    /// A public image: `host/x:v1`, and its parts.
    fn image(self, host: &str) -> Self {
        self.manifest(
            host,
            OCI_IMAGE_MEDIA_TYPE,
            &manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER]),
        )
        .at(&format!("{host}/v2/x/blobs/{}", digest(CONFIG)), says(200).body(CONFIG))
        .at(&format!("{host}/v2/x/blobs/{LAYER}"), says(200).body("layer"))
    }

    fn manifest(self, host: &str, media_type: &str, body: &str) -> Self {
        self.at(&format!("{host}/v2/"), says(200)).at(
            &format!("{host}/v2/x/manifests/v1"),
            says(200).with("content-type", media_type).body(body),
        )
    }

    fn answer(&self, request: &Request) -> Answer {
        let url = format!("{}{}", request.origin, request.path);
        let again = match request.retry.nth {
            0 => None,
            nth => self.0.get(&format!("{url} {}", nth + 1)),
        };
        let asked_at = AskedAt {
            method: request.method,
            origin: request.origin.clone(),
            path: Arc::clone(&request.path),
        };
        let Some(says) = again.or_else(|| self.0.get(&url)) else {
            let what = match request.origin.scheme.name() {
                "https" => FaultKind::Tls(TlsFault::PlainHttp),
                _ => FaultKind::Connection(ConnectionFault::Refused),
            };
            return Answer::Fault(Arc::new(Fault {
                asked_at,
                what,
                detail: None,
            }));
        };
        let one = |name: &str| {
            says.headers
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.as_str())
        };
        let bytes = says.body.as_bytes();
        let length = bytes.len() as u64;
        let body = match &request.want {
            Want::Token(_) if says.body.contains("token") => Body::Granted,
            Want::Token(_) => Body::NoToken { page: false },
            Want::Manifest { .. } if says.status == 200 => Body::Manifest {
                document: content::document(bytes).map(Arc::new),
                digest: Digest::sha256(bytes),
                length,
            },
            Want::Config { .. } if says.status == 200 => Body::Config {
                config: content::config(bytes).map(Arc::new),
                digest: Digest::sha256(bytes),
                length,
            },
            _ => Body::Unread,
        };
        let challenges = says.headers.iter().filter(|(name, _)| *name == "www-authenticate");
        Answer::Response(Arc::new(Response {
            asked_at,
            status: says.status,
            as_somebody: false,
            challenges: challenge::read(challenges.map(|(_, value)| value.as_bytes())),
            content_type: Arc::from(one("content-type").unwrap_or_default()),
            length: Some(length),
            encoded: false,
            digest: None,
            body,
            quota: None,
            retry_after: one("retry-after").map(|text| Duration::from_secs(text.parse().unwrap())),
            answered_by: if one("content-type") == Some("text/html") {
                AnsweredBy::Other
            } else {
                AnsweredBy::Registry
            },
        }))
    }
}

fn digest(text: &str) -> String {
    Digest::sha256(text.as_bytes()).to_string()
}

fn manifest(config_type: &str, config: &str, layers: &[&str]) -> String {
    let descriptor =
        |media_type: &str, digest: &str, size: usize| serde_json::json!({"mediaType": media_type, "digest": digest, "size": size});
    let layers = layers
        .iter()
        .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer, 5));
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "config": descriptor(config_type, &digest(config), config.len()),
        "layers": layers.collect::<Vec<_>>(),
    })
    .to_string()
}

/// An index of these manifests: `linux/amd64`, or nothing of the platform.
fn index(entries: &[(&str, &str)]) -> String {
    let entry = |(platform, manifest): &(&str, &str)| {
        let mut entry = serde_json::json!({"mediaType": OCI_IMAGE_MEDIA_TYPE, "digest": digest(manifest), "size": manifest.len()});
        if let Some((os, architecture)) = platform.split_once('/') {
            entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
        }
        entry
    };
    let entries: Vec<_> = entries.iter().map(entry).collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": entries}).to_string()
}

fn pull(image: &str) -> Pull {
    Pull {
        reference: Reference::parse(image).unwrap(),
        short: short_names::written(image).map(Arc::from),
        node: NodeConfig::Default,
        who: Who::default(),
        platform: Platform::parse("linux/amd64").unwrap(),
        until: Depth::Layers,
        agent: Agent::default(),
    }
}

fn somebody() -> Who {
    Who {
        user: true,
        password: true,
        ..Who::default()
    }
}

fn conf(text: &str) -> NodeConfig {
    NodeConfig::Crio(Arc::new(RegistriesConf::parse(text, &[]).unwrap().into()))
}

/// Pulls, and tells what was asked: `https://a.example/v2/ 2 +4s Basic`. In whatever order answers come, it ends the same.
#[track_caller]
fn play(version: Version, pull: &Pull, net: &Net) -> (Outcome, Vec<String>) {
    let run = |from_behind: bool| {
        let mut log = Log::default();
        let mut asked = Vec::new();
        loop {
            match step(&mut log, &Nothing, |ask| Crio { version }.pull(pull, ask)) {
                Step::Done(outcome) => return (outcome, asked),
                Step::Ask(questions) => {
                    let question = if from_behind { questions.last() } else { questions.first() };
                    let question = question.unwrap().clone();
                    asked.push(line(&question));
                    let answer = net.answer(&question);
                    log.insert(question, answer);
                }
            }
        }
    };
    let (outcome, asked) = run(false);
    let (other, mut others) = run(true);
    assert_eq!(outcome, other);
    let mut sorted = asked.clone();
    sorted.sort();
    others.sort();
    assert_eq!(sorted, others);
    (outcome, asked)
}

fn line(request: &Request) -> String {
    let mut line = format!("{}{}", request.origin, request.path);
    if request.retry.nth > 0 {
        line = format!("{line} {}", request.retry.nth + 1);
    }
    if !request.retry.after.is_zero() {
        line = format!("{line} +{}s", request.retry.after.as_secs());
    }
    let auth = request.auth.iter().map(|(_, auth)| match auth {
        Auth::Basic(who) if who.user => " Basic",
        Auth::Basic(_) => " Basic of nobody",
        Auth::Bearer(_) => " Bearer",
    });
    line + &auth.collect::<String>()
}

#[track_caller]
fn asks(version: Version, pull: &Pull, net: &Net, expected: &[&str]) -> Outcome {
    let (outcome, asked) = play(version, pull, net);
    assert_eq!(asked, expected);
    outcome
}

#[track_caller]
fn evidence(outcome: &Outcome) -> &Evidence {
    match &outcome.ends[..] {
        [End::Failed(failure)] => &failure.evidence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_public_image() {
    let net = Net::default().image("https://a.example");
    let config = format!("https://a.example/v2/x/blobs/{}", digest(CONFIG));
    let layer = format!("https://a.example/v2/x/blobs/{LAYER}");
    let all = [
        "https://a.example/v2/",
        "https://a.example/v2/x/manifests/v1",
        &config,
        &layer,
    ];
    let outcome = asks(NEW, &pull("a.example/x:v1"), &net, &all);
    assert!(outcome.is_pulled());
    assert!(!outcome.found.unwrap().authenticated);
    // As deep as is looked.
    for until in [Depth::Manifest, Depth::Sizes, Depth::Config] {
        let shallow = Pull {
            until,
            ..pull("a.example/x:v1")
        };
        assert!(asks(NEW, &shallow, &net, &all[..3]).is_pulled());
    }
}

#[test]
fn a_token_by_account() {
    let challenge = r#"Bearer realm="https://t.example/token?z=1",service="s""#;
    let net = Net::default()
        .image("https://a.example")
        .at("https://a.example/v2/", says(401).with("www-authenticate", challenge))
        .at(
            "https://t.example/token?scope=repository%3Ax%3Apull&service=s&z=1",
            says(200).body(r#"{"token":"t"}"#),
        );
    let by_token = |who| Pull {
        until: Depth::Manifest,
        who,
        ..pull("a.example/x:v1")
    };
    let outcome = asks(
        NEW,
        &by_token(somebody()),
        &net,
        &[
            "https://a.example/v2/",
            "https://t.example/token?scope=repository%3Ax%3Apull&service=s&z=1 Basic",
            "https://a.example/v2/x/manifests/v1 Bearer",
            &format!("https://a.example/v2/x/blobs/{} Bearer", digest(CONFIG)),
        ],
    );
    assert!(outcome.found.unwrap().authenticated);
    let without_password = Who {
        password: false,
        ..somebody()
    };
    let (_, asked) = play(NEW, &by_token(without_password), &net);
    assert_eq!(asked[1], "https://t.example/token?scope=repository%3Ax%3Apull&service=s&z=1");
    // Whatever refuses a token refuses the image, public or not, and then as an artifact.
    for (status, expected) in [
        (
            401,
            Evidence::AuthenticationRequired {
                at: AuthStage::TokenServer,
            },
        ),
        (204, Evidence::Rejected(Rejection::TokenStatus)),
        (429, Evidence::RateLimited),
    ] {
        let refused = net.clone().at(
            "https://t.example/token?scope=repository%3Ax%3Apull&service=s&z=1",
            says(status),
        );
        let (outcome, asked) = play(NEW, &by_token(Who::default()), &refused);
        assert_eq!(evidence(&outcome), &expected);
        assert_eq!(asked.len(), 4);
    }
}

#[test]
fn basic_is_sent_without_a_credential_too() {
    let net = Net::default().image("https://a.example").at(
        "https://a.example/v2/",
        says(401)
            .with("www-authenticate", "Negotiate")
            .with("www-authenticate", "Basic realm=\"x\"")
            .with("www-authenticate", "Bearer realm=\"https://t.example/\""),
    );
    let (_, asked) = play(NEW, &pull("a.example/x:v1"), &net);
    assert_eq!(asked[1], "https://a.example/v2/x/manifests/v1 Basic of nobody");
    // An identity token is not looked at, nor a password without a user.
    let half = Who {
        password: true,
        identity_token: true,
        ..Who::default()
    };
    let half = Pull {
        who: half,
        ..pull("a.example/x:v1")
    };
    let (_, asked) = play(NEW, &half, &net);
    assert_eq!(asked[1], "https://a.example/v2/x/manifests/v1 Basic of nobody");
    let refused = net.at("https://a.example/v2/x/manifests/v1", says(401));
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &refused);
    assert_eq!(evidence(&outcome), &Evidence::AuthenticationRequired { at: AuthStage::Basic });
    let with = Pull {
        who: somebody(),
        ..pull("a.example/x:v1")
    };
    let (outcome, _) = play(NEW, &with, &refused);
    assert_eq!(evidence(&outcome), &Evidence::CredentialRefused { at: AuthStage::Basic });
}

#[test]
fn challenges_count_at_the_first_request_only() {
    let net = Net::default().image("https://a.example").at(
        "https://a.example/v2/x/manifests/v1",
        says(401).with("www-authenticate", "Basic realm=\"x\""),
    );
    let with = Pull {
        who: somebody(),
        ..pull("a.example/x:v1")
    };
    let outcome = asks(
        NEW,
        &with,
        &net,
        &[
            "https://a.example/v2/",
            "https://a.example/v2/x/manifests/v1",
            "https://a.example/v2/ 2",
            "https://a.example/v2/x/manifests/v1 2",
        ],
    );
    assert_eq!(evidence(&outcome), &Evidence::Rejected(Rejection::NoUsableChallenge));
}

#[test]
fn without_tls_only_where_it_is_said() {
    let net = Net::default().image("http://127.0.0.1:5000");
    let insecure = Pull {
        node: conf("[[registry]]\nlocation = '127.0.0.1'\ninsecure = true\n"),
        until: Depth::Manifest,
        ..pull("127.0.0.1:5000/x:v1")
    };
    let plain = [
        "https://127.0.0.1:5000/v2/",
        "http://127.0.0.1:5000/v2/",
        "http://127.0.0.1:5000/v2/x/manifests/v1",
        &format!("http://127.0.0.1:5000/v2/x/blobs/{}", digest(CONFIG)),
    ];
    assert!(asks(NEW, &insecure, &net, &plain).is_pulled());
    // Loopback is no exception since 1.35; and where nobody answers, nothing else is tried.
    let by_default = Pull {
        node: NodeConfig::Default,
        ..insecure
    };
    let outcome = asks(NEW, &by_default, &net, &plain[..1]);
    assert_eq!(evidence(&outcome), &Evidence::NodeSettings(NodeSettingsFault::PlainHttp));
    assert!(asks(Version(1, 34, 11), &by_default, &net, &plain).is_pulled());
    // Up to 1.35.0 an artifact is looked for all the same.
    let nobody = pull("a.example/x:v1");
    let (_, asked) = play(Version(1, 34, 11), &nobody, &Net::default());
    assert_eq!(asked, ["https://a.example/v2/", "https://a.example/v2/ 2"]);
}

#[test]
fn only_200_and_401_open_a_registry() {
    for (status, expected) in [
        (204, Evidence::Rejected(Rejection::Status)),
        (404, Evidence::Rejected(Rejection::Status)),
        (503, Evidence::ServerError { token_server: false }),
    ] {
        let net = Net::default()
            .image("https://a.example")
            .at("https://a.example/v2/", says(status));
        let both = ["https://a.example/v2/", "https://a.example/v2/ 2"];
        let outcome = asks(NEW, &pull("a.example/x:v1"), &net, &both);
        assert_eq!(evidence(&outcome), &expected);
    }
    for status in [203, 206, 300] {
        let net = Net::default()
            .image("https://a.example")
            .at("https://a.example/v2/x/manifests/v1", says(status));
        let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &net);
        assert_eq!(evidence(&outcome), &Evidence::Rejected(Rejection::Status), "{status}");
    }
}

#[test]
fn what_is_throttled_is_asked_five_times() {
    let net = Net::default()
        .image("https://a.example")
        .at("https://a.example/v2/", says(429))
        .at("https://a.example/v2/ 3", says(200));
    let shallow = Pull {
        until: Depth::Manifest,
        ..pull("a.example/x:v1")
    };
    let (outcome, asked) = play(NEW, &shallow, &net);
    assert!(outcome.is_pulled());
    let tries = [
        "https://a.example/v2/",
        "https://a.example/v2/ 2 +2s",
        "https://a.example/v2/ 3 +4s",
    ];
    assert_eq!(asked[..3], tries);
    let lasting = net
        .at("https://a.example/v2/", says(200))
        .at("https://a.example/v2/x/manifests/v1", says(429))
        .at("https://a.example/v2/x/manifests/v1 2", says(429).with("retry-after", "7"))
        .at("https://a.example/v2/x/manifests/v1 3", says(429).with("retry-after", "3600"));
    let (outcome, asked) = play(NEW, &shallow, &lasting);
    assert_eq!(evidence(&outcome), &Evidence::RateLimited);
    let manifest = |nth: &str| format!("https://a.example/v2/x/manifests/v1{nth}");
    let five = ["", " 2 +2s", " 3 +7s", " 4 +60s", " 5 +60s"].map(manifest);
    assert_eq!(asked[1..6], five);
    // And five times again as an artifact.
    assert_eq!(asked[6], "https://a.example/v2/ 2");
    assert_eq!(asked.len(), 12);
}

#[test]
fn a_wider_scope_is_asked_for_once() {
    let challenge = r#"Bearer realm="https://t.example/token""#;
    let wider = r#"Bearer realm="https://t.example/token",scope="repository:y:pull",error="insufficient_scope""#;
    let token = || says(200).body(r#"{"token":"t"}"#);
    let net = Net::default()
        .image("https://a.example")
        .at("https://a.example/v2/", says(401).with("www-authenticate", challenge))
        .at(
            "https://a.example/v2/x/manifests/v1",
            says(401).with("www-authenticate", wider),
        )
        .at("https://t.example/token?scope=repository%3Ax%3Apull", token())
        .at(
            "https://t.example/token?scope=repository%3Ax%3Apull&scope=repository%3Ay%3Apull",
            token(),
        );
    let (outcome, asked) = play(Version(1, 32, 0), &pull("a.example/x:v1"), &net);
    assert_eq!(
        asked,
        [
            "https://a.example/v2/",
            "https://t.example/token?scope=repository%3Ax%3Apull",
            "https://a.example/v2/x/manifests/v1 Bearer",
            "https://t.example/token?scope=repository%3Ax%3Apull&scope=repository%3Ay%3Apull",
            "https://a.example/v2/x/manifests/v1 Bearer",
        ]
    );
    assert!(matches!(
        evidence(&outcome),
        Evidence::InsufficientScope {
            with_credential: false,
            ..
        }
    ));
}

#[test]
fn mirrors_are_asked_first_and_see_no_credential() {
    let mirrored = |until| Pull {
        node: conf(
            "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'm.test/a'\n\
             [[registry.mirror]]\nlocation = 'n.test'\ninsecure = true\n",
        ),
        who: somebody(),
        until,
        ..pull("a.example/x:v1")
    };
    let basic = || says(401).with("www-authenticate", "Basic realm=\"x\"");
    let net = Net::default()
        .image("http://n.test")
        .at("http://n.test/v2/", basic())
        .at("https://m.test/v2/", says(200))
        .at("https://m.test/v2/a/x/manifests/v1", says(404));
    let config = format!("http://n.test/v2/x/blobs/{} Basic of nobody", digest(CONFIG));
    let outcome = asks(
        NEW,
        &mirrored(Depth::Manifest),
        &net,
        &[
            "https://m.test/v2/",
            "https://m.test/v2/a/x/manifests/v1",
            "https://n.test/v2/",
            "http://n.test/v2/",
            "http://n.test/v2/x/manifests/v1 Basic of nobody",
            &config,
        ],
    );
    assert!(outcome.is_pulled());
    let [passed] = &outcome.passed[..] else {
        panic!("{outcome:?}")
    };
    assert_eq!(passed.host, "m.test");
    // A part that is missing there is missing.
    let broken = net.clone().at(&format!("http://n.test/v2/x/blobs/{LAYER}"), says(404));
    let (outcome, _) = play(NEW, &mirrored(Depth::Layers), &broken);
    assert!(matches!(evidence(&outcome), Evidence::ContentMissing { part: "layer", .. }));
    // Where all fail, that of the registry itself is told; and the credential is for it.
    let none = Net::default()
        .at("https://m.test/v2/", says(403))
        .at("https://a.example/v2/", basic())
        .at("https://a.example/v2/x/manifests/v1", says(404));
    let (outcome, asked) = play(NEW, &mirrored(Depth::Manifest), &none);
    assert_eq!(
        evidence(&outcome),
        &Evidence::TagUnknown {
            repository_exists: false
        }
    );
    assert_eq!(asked[4], "https://a.example/v2/x/manifests/v1 Basic");
    let hosts: Vec<&str> = outcome.passed.iter().map(|failure| failure.host.as_str()).collect();
    assert_eq!(hosts, ["m.test", "n.test"]);
}

/// The settings of a node, changed.
fn node(change: impl FnOnce(&mut NodeSettings)) -> NodeConfig {
    let mut node = NodeSettings::default();
    change(&mut node);
    NodeConfig::Crio(Arc::new(node))
}

#[test]
fn a_policy_is_judged_once_there_is_a_manifest() {
    let policy = |json: &str| node(|node| node.policy = Some(Arc::new(Policy::parse(json.as_bytes()).unwrap())));
    let pulled = |node: NodeConfig, net: &Net| {
        let pull = Pull {
            node,
            ..pull("a.example/x:v1")
        };
        let (outcome, _) = play(NEW, &pull, net);
        let text = Crio { version: NEW }.text(&pull, &outcome);
        (outcome, text)
    };
    let net = Net::default().image("https://a.example");
    let rejects =
        r#"{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"a.example": [{"type": "reject"}]}}}"#;
    let (outcome, text) = pulled(policy(rejects), &net);
    assert_eq!(
        evidence(&outcome),
        &Evidence::NodeSettings(NodeSettingsFault::RejectedByPolicy)
    );
    assert_eq!(
        text.unwrap(),
        "SignatureValidationFailed: unable to pull image or OCI artifact: pull image err: Source image rejected: Running image \
         docker://a.example/x:v1 is rejected by policy.; artifact err: image reference: reference is a container image, not an OCI \
         artifact"
    );
    let missing = Net::default()
        .at("https://a.example/v2/", says(200))
        .at("https://a.example/v2/x/manifests/v1", says(404));
    let (outcome, _) = pulled(policy(rejects), &missing);
    assert!(matches!(evidence(&outcome), Evidence::TagUnknown { .. }), "{outcome:?}");
    let signed = r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/k"}]}"#;
    let (outcome, text) = pulled(policy(signed), &net);
    assert_eq!(
        (evidence(&outcome), text),
        (&Evidence::NodeSettings(NodeSettingsFault::SignatureNotChecked), None)
    );
    assert!(evidence(&outcome).is_unknown() && !Evidence::NodeSettings(NodeSettingsFault::RejectedByPolicy).is_unknown());
    let accepts =
        r#"{"default": [{"type": "reject"}], "transports": {"docker": {"a.example/x": [{"type": "insecureAcceptAnything"}]}}}"#;
    assert!(pulled(policy(accepts), &net).0.is_pulled());
}

#[test]
fn a_nodes_own_credentials_count_where_the_pod_has_none_for_the_place() {
    let json = r#"{"auths": {"m.test": {"auth": "bTpw"}, "a.example/x": {"auth": "YTpw"}, "t.test": {"auth": "dDpw", "identitytoken": "r"}},
                   "credHelpers": {"h.test": "x"}}"#;
    let (auth, _) = NodeAuth::parse(json.as_bytes()).unwrap();
    let registries = RegistriesConf::parse(
        "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'm.test'\n",
        &[],
    )
    .unwrap();
    let config = node(|node| {
        node.auth = Arc::new(auth);
        node.registries = registries;
    });
    let basic = |net: Net, host: &str| net.at(&format!("{host}/v2/"), says(401).with("www-authenticate", "Basic realm=x"));
    let net = basic(Net::default().image("https://a.example"), "https://m.test");
    let net = basic(net.at("https://m.test/v2/x/manifests/v1", says(404)), "https://a.example");
    let who = |pull: &Pull| {
        let mut log = Log::default();
        let mut seen = Vec::new();
        while let Step::Ask(questions) = step(&mut log, &Nothing, |ask| Crio { version: NEW }.pull(pull, ask)) {
            for question in questions {
                if question.path.contains("manifests") {
                    seen.push((question.origin.host.to_string(), question.asker));
                }
                let answer = net.answer(&question);
                log.insert(question, answer);
            }
        }
        seen
    };
    let nobody = Pull {
        node: config.clone(),
        until: Depth::Manifest,
        ..pull("a.example/x:v1")
    };
    let seen = who(&nobody);
    assert_eq!(seen[0].0, "m.test");
    assert!(seen[0].1.user && seen[1].1.user && seen[0].1 != seen[1].1, "{seen:?}");
    let with_secret = Pull {
        who: somebody(),
        ..nobody.clone()
    };
    let seen_by_pod = who(&with_secret);
    assert_eq!((seen_by_pod[0].1, seen_by_pod[1].1), (seen[0].1, somebody()));
    let helped = Pull {
        node: config.clone(),
        ..pull("h.test/x:v1")
    };
    let (outcome, asked) = play(NEW, &helped, &Net::default().image("https://h.test"));
    assert_eq!(evidence(&outcome), &Evidence::NodeSettings(NodeSettingsFault::NodeCredential));
    assert!(asked.is_empty());
    let token = Pull {
        node: config,
        until: Depth::Manifest,
        ..pull("t.test/x:v1")
    };
    let bearer = "Bearer realm=\"https://t.test/token\",service=\"s\"";
    let net = Net::default()
        .image("https://t.test")
        .at("https://t.test/v2/", says(401).with("www-authenticate", bearer))
        .at("https://t.test/token", says(200).body("{\"token\": \"t\"}"));
    let mut log = Log::default();
    let mut grants = Vec::new();
    while let Step::Ask(questions) = step(&mut log, &Nothing, |ask| Crio { version: NEW }.pull(&token, ask)) {
        for question in questions {
            if let Want::Token(token) = &question.want {
                grants.push((question.method, token.by));
            }
            let answer = net.answer(&question);
            log.insert(question, answer);
        }
    }
    assert_eq!(grants, [(Method::Post, Grant::Refresh)]);
}

#[test]
fn what_hinges_on_a_file_that_is_not_known() {
    let known = Pull {
        node: conf(""),
        ..pull("a.example/x:v1")
    };
    let (outcome, _) = play(NEW, &known, &Net::default());
    assert_eq!(evidence(&outcome), &Evidence::Tls(TlsFault::PlainHttp));
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &Net::default());
    assert_eq!(evidence(&outcome), &Evidence::NodeSettings(NodeSettingsFault::PlainHttp));
    assert!(evidence(&outcome).is_unknown());
}

#[test]
fn what_is_blocked_is_not_asked() {
    let blocked = Pull {
        node: conf("[[registry]]\nlocation = 'a.example'\nblocked = true\n"),
        ..pull("a.example/x:v1")
    };
    let outcome = asks(NEW, &blocked, &Net::default(), &[]);
    assert_eq!(evidence(&outcome), &Evidence::NodeSettings(NodeSettingsFault::Blocked));
}

#[test]
fn short_names() {
    let outcome = asks(NEW, &pull("x:v1"), &Net::default(), &[]);
    assert_eq!(evidence(&outcome), &Evidence::NodeSettings(NodeSettingsFault::ShortName));
    let searched = Pull {
        node: conf("unqualified-search-registries = ['a.example', 'b.example']\n"),
        until: Depth::Manifest,
        ..pull("x:v1")
    };
    let outcome = asks(NEW, &searched, &Net::default(), &[]);
    assert_eq!(evidence(&outcome), &Evidence::NodeSettings(NodeSettingsFault::Ambiguous));
    let net = Net::default()
        .image("https://b.example")
        .at("https://a.example/v2/", says(200))
        .at("https://a.example/v2/x/manifests/v1", says(404));
    let old = Version(1, 32, 0);
    let (outcome, asked) = play(old, &searched, &net);
    assert!(outcome.is_pulled());
    assert_eq!(
        asked[..3],
        [
            "https://a.example/v2/",
            "https://a.example/v2/x/manifests/v1",
            "https://b.example/v2/"
        ]
    );
    assert_eq!(outcome.passed.len(), 1);
    // The last one is told.
    let (outcome, _) = play(old, &searched, &net.at("https://b.example/v2/", says(403)));
    assert!(matches!(evidence(&outcome), Evidence::Forbidden { .. }));
    assert_eq!(outcome.passed.len(), 1);
    let names = |failure: &Failure| failure.full_name.as_ref().map(ToString::to_string);
    assert_eq!(names(&outcome.passed[0]).as_deref(), Some("a.example/x:v1"));
    let [End::Failed(failure)] = outcome.ends.as_slice() else {
        panic!("{outcome:?}")
    };
    assert_eq!(names(failure).as_deref(), Some("b.example/x:v1"));
}

#[test]
fn by_digest() {
    let body = manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER]);
    let served = |name: &str| {
        Net::default().image("https://a.example").at(
            &format!("https://a.example/v2/x/manifests/{name}"),
            says(200).with("content-type", OCI_IMAGE_MEDIA_TYPE).body(&body),
        )
    };
    // The tag is dropped.
    let good = digest(&body);
    let (outcome, asked) = play(NEW, &pull(&format!("a.example/x:gone@{good}")), &served(&good));
    assert!(outcome.is_pulled());
    assert_eq!(asked[1], format!("https://a.example/v2/x/manifests/{good}"));
    let sha512 = format!("sha512:{}", "1".repeat(128));
    for other in [OTHER, &sha512] {
        let (outcome, _) = play(NEW, &pull(&format!("a.example/x@{other}")), &served(other));
        assert_eq!(evidence(&outcome), &Evidence::ContentInvalid(ContentFault::DigestWrong));
    }
    let (outcome, _) = play(
        NEW,
        &pull(&format!("a.example/x@{OTHER}")),
        &served(&good).at(&format!("https://a.example/v2/x/manifests/{OTHER}"), says(404)),
    );
    assert_eq!(evidence(&outcome), &Evidence::DigestUnknown);
}

#[test]
fn an_index_as_deep_as_is_looked() {
    let child = manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER]);
    let url = format!("https://a.example/v2/x/manifests/{}", digest(&child));
    let net = Net::default()
        .image("https://a.example")
        .manifest(
            "https://a.example",
            OCI_IMAGE_INDEX_MEDIA_TYPE,
            &index(&[("linux/arm64", "other"), ("linux/amd64", &child)]),
        )
        .at(&url, says(200).with("content-type", OCI_IMAGE_MEDIA_TYPE).body(&child));
    let all = [
        "https://a.example/v2/",
        "https://a.example/v2/x/manifests/v1",
        &url,
        &format!("https://a.example/v2/x/blobs/{}", digest(CONFIG)),
        &format!("https://a.example/v2/x/blobs/{LAYER}"),
    ];
    for (until, deep) in [
        (Depth::Manifest, 3),
        (Depth::Sizes, 3),
        (Depth::Config, 4),
        (Depth::Layers, 5),
    ] {
        let pull = Pull {
            until,
            ..pull("a.example/x:v1")
        };
        let outcome = asks(NEW, &pull, &net, &all[..deep]);
        let size = (until > Depth::Manifest).then(|| CONFIG.len() as u64 + 5);
        assert_eq!(outcome.ends, [End::Pulled { size }]);
        assert_eq!(outcome.found.unwrap().builds.len(), usize::from(until > Depth::Manifest));
    }
    // Nothing for the node: found out twice.
    let s390x = Pull {
        platform: Platform::parse("linux/s390x").unwrap(),
        ..pull("a.example/x:v1")
    };
    let (outcome, asked) = play(NEW, &s390x, &net);
    assert_eq!(outcome.ends, [End::NoMatch]);
    assert_eq!(asked.len(), 4);
    // The first entry that fits is final, and is looked for as an artifact too.
    let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &net.clone().at(&url, says(404)));
    let missing = matches!(evidence(&outcome), Evidence::ContentMissing { part: "child manifest", media_type, .. } if media_type == OCI_IMAGE_MEDIA_TYPE);
    assert!(missing, "{outcome:?}");
    assert_eq!(asked.len(), 3 + 5);
    // Those that look for an artifact first end with what an image ends with.
    let first = Version(1, 33, 0);
    assert_eq!(play(first, &s390x, &net).0.ends, [End::NoMatch]);
    let (outcome, _) = play(first, &pull("a.example/x:v1"), &net.clone().at(&url, says(404)));
    let missing = matches!(evidence(&outcome), Evidence::ContentMissing { part: "child manifest", media_type, .. } if media_type == OCI_IMAGE_MEDIA_TYPE);
    assert!(missing, "{outcome:?}");
    // An index there is not followed.
    let nested = net.at(&url, says(200).with("content-type", OCI_IMAGE_INDEX_MEDIA_TYPE).body(&child));
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &nested);
    assert!(matches!(
        evidence(&outcome),
        Evidence::ContentInvalid(ContentFault::Structure(_))
    ));
}

#[test]
fn an_image_for_others_pulls() {
    let foreign = CONFIG.replace("amd64", "arm64");
    let child = manifest(IMAGE_CONFIG_MEDIA_TYPE, &foreign, &[]);
    let config = format!("https://a.example/v2/x/blobs/{}", digest(&foreign));
    let net = Net::default().at(&config, says(200).body(&foreign));
    let single = net.clone().manifest("https://a.example", OCI_IMAGE_MEDIA_TYPE, &child);
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &single);
    assert!(matches!(outcome.ends[..], [End::Pulled { .. }]));
    let listed = net
        .manifest(
            "https://a.example",
            OCI_IMAGE_INDEX_MEDIA_TYPE,
            &index(&[("linux/amd64", &child)]),
        )
        .at(
            &format!("https://a.example/v2/x/manifests/{}", digest(&child)),
            says(200).with("content-type", OCI_IMAGE_MEDIA_TYPE).body(&child),
        );
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &listed);
    assert!(matches!(&outcome.ends[..], [End::Foreign(platform)] if platform.architecture == "arm64"));
}

#[test]
fn all_layers_are_asked_for_and_the_lowest_that_fails_is_told() {
    let net = Net::default()
        .image("https://a.example")
        .manifest(
            "https://a.example",
            OCI_IMAGE_MEDIA_TYPE,
            &manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER, OTHER, LAYER]),
        )
        .at(&format!("https://a.example/v2/x/blobs/{LAYER}"), says(403))
        .at(&format!("https://a.example/v2/x/blobs/{OTHER}"), says(404));
    let (outcome, asked) = play(Version(1, 32, 0), &pull("a.example/x:v1"), &net);
    assert_eq!(asked.len(), 5);
    assert!(matches!(evidence(&outcome), Evidence::Forbidden { .. }));
    assert_eq!(outcome.found.unwrap().builds[0].troubles.len(), 2);
    // What is certain speaks before what is not known.
    let (outcome, _) = play(
        Version(1, 32, 0),
        &pull("a.example/x:v1"),
        &net.at(&format!("https://a.example/v2/x/blobs/{LAYER}"), says(503)),
    );
    assert!(matches!(evidence(&outcome), Evidence::ContentMissing { .. }));
}

#[test]
fn a_login_page_is_no_layer() {
    // As long as the layer, so that nothing but its type gives it away.
    let url = format!("https://a.example/v2/x/blobs/{LAYER}");
    let page = says(200).with("content-type", "text/html").body("<htm>");
    let net = Net::default().image("https://a.example").at(&url, page);
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &net);
    assert!(matches!(evidence(&outcome), Evidence::NoRegistry { .. }), "{outcome:?}");
}

#[test]
fn layers_that_a_config_does_not_count_are_not_asked_for() {
    let config = CONFIG.replace("[]", &format!("[\"{LAYER}\"]"));
    let net = Net::default()
        .manifest(
            "https://a.example",
            OCI_IMAGE_MEDIA_TYPE,
            &manifest(IMAGE_CONFIG_MEDIA_TYPE, &config, &[LAYER, OTHER]),
        )
        .at(
            &format!("https://a.example/v2/x/blobs/{}", digest(&config)),
            says(200).body(&config),
        )
        .at(&format!("https://a.example/v2/x/blobs/{LAYER}"), says(200).body("layer"));
    let (outcome, asked) = play(Version(1, 32, 0), &pull("a.example/x:v1"), &net);
    assert_eq!(asked.len(), 4);
    let count = ContentFault::LayerCount { layers: 2, diff_ids: 1 };
    assert_eq!(evidence(&outcome), &Evidence::ContentInvalid(count));
}

#[test]
fn configs_that_are_refused() {
    let url = format!("https://a.example/v2/x/blobs/{}", digest(CONFIG));
    let check = |says: Says, expected: &dyn Fn(&Evidence) -> bool| {
        let net = Net::default().image("https://a.example").at(&url, says);
        let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &net);
        assert!(expected(evidence(&outcome)), "{outcome:?}");
        assert!(outcome.found.is_none());
        // Without its layers, and then as an artifact, which it is not.
        assert_eq!(asked.len(), 5);
    };
    check(says(404), &|evidence| {
        matches!(evidence, Evidence::ContentMissing { part: "config", .. })
    });
    check(says(200).body("{}"), &|evidence| {
        matches!(
            evidence,
            Evidence::ContentInvalid(ContentFault::OtherDigest { part: "config", .. })
        )
    });
    let long = says(200).body(&" ".repeat(4 << 20 | 1));
    check(
        long,
        &|evidence| matches!(evidence, Evidence::ContentInvalid(ContentFault::Structure(text)) if text.contains("4194304")),
    );
}

#[test]
fn manifests_over_four_mebibytes_are_refused() {
    let body = manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER]);
    let padded = |length: usize| {
        let body = format!("{body}{}", " ".repeat(length - body.len()));
        Net::default()
            .image("https://a.example")
            .manifest("https://a.example", OCI_IMAGE_MEDIA_TYPE, &body)
    };
    assert!(play(NEW, &pull("a.example/x:v1"), &padded(4 << 20)).0.is_pulled());
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &padded((4 << 20) + 1));
    assert_eq!(evidence(&outcome), &Evidence::TooLong { bytes: 4_194_305 });
}

#[test]
fn layers_elsewhere() {
    let with_urls = |url: &str| {
        let mut manifest: serde_json::Value = serde_json::from_str(&manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER])).unwrap();
        manifest["layers"][0]["urls"] = serde_json::json!([url]);
        Net::default()
            .image("https://a.example")
            .manifest("https://a.example", OCI_IMAGE_MEDIA_TYPE, &manifest.to_string())
    };
    let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &with_urls("https://cdn.example/layer"));
    assert!(matches!(evidence(&outcome), Evidence::ForeignUrls { part: "layer", host, .. } if host == "cdn.example"));
    assert_eq!(asked.len(), 3, "the registry is not asked for it, nor for an artifact");
    assert!(
        play(NEW, &pull("a.example/x:v1"), &with_urls("ftp://cdn.example/layer"))
            .0
            .is_pulled()
    );
}

#[test]
fn artifacts_by_version() {
    let chart = manifest("application/vnd.cncf.helm.config.v1+json", "{}", &[LAYER]);
    let config = format!("https://a.example/v2/x/blobs/{}", digest("{}"));
    let layer = format!("https://a.example/v2/x/blobs/{LAYER}");
    let net = Net::default()
        .manifest("https://a.example", OCI_IMAGE_MEDIA_TYPE, &chart)
        .at(&config, says(200).body("{}"))
        .at(&layer, says(200).body("layer"));
    let once = |nth: &str| {
        [
            format!("https://a.example/v2/{nth}"),
            format!("https://a.example/v2/x/manifests/v1{nth}"),
        ]
    };
    let times = |often: usize| -> Vec<String> { ["", " 2", " 3"][..often].iter().flat_map(|nth| once(nth)).collect() };
    let with_blobs = |often: usize| [times(often), vec![layer.clone(), config.clone()]].concat();
    let kind = "application/vnd.cncf.helm.config.v1+json".to_owned();
    for (version, expected, fails) in [
        (Version(1, 32, 13), times(1), true),
        // The look and the pull.
        (Version(1, 33, 3), with_blobs(2), false),
        // The image, the look and the pull.
        (Version(1, 34, 11), with_blobs(3), false),
        // The image and the pull.
        (Version(1, 35, 1), with_blobs(2), false),
        (NEW, with_blobs(3), false),
    ] {
        let (outcome, asked) = play(version, &pull("a.example/x:v1"), &net);
        assert_eq!(asked, expected, "{version:?}");
        let kind = kind.clone();
        assert_eq!(outcome.ends, [End::Artifact { kind, fails }], "{version:?}");
        assert!(matches!(outcome.found.unwrap().content, Content::Artifact { .. }));
    }
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &net.at(&layer, says(404)));
    assert!(matches!(evidence(&outcome), Evidence::ContentMissing { part: "layer", .. }));
}

#[test]
fn artifacts_in_an_index() {
    let chart = manifest("application/vnd.cncf.helm.config.v1+json", "{}", &[]);
    let entry = format!("https://a.example/v2/x/manifests/{}", digest(&chart));
    let net = Net::default()
        .manifest(
            "https://a.example",
            OCI_IMAGE_INDEX_MEDIA_TYPE,
            &index(&[("linux/amd64", &chart)]),
        )
        .at(&entry, says(200).with("content-type", OCI_IMAGE_MEDIA_TYPE).body(&chart))
        .at(
            &format!("https://a.example/v2/x/blobs/{}", digest("{}")),
            says(200).body("{}"),
        );
    let shown = |asked: Vec<String>| -> Vec<&'static str> {
        let kind = |line: &String| match line {
            line if line.contains("manifests/sha256:") => "child",
            line if line.contains("manifests/v1") => "root",
            line if line.contains("blobs") => "blob",
            _ => "ping",
        };
        asked.iter().map(kind).collect()
    };
    let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &net);
    assert!(matches!(outcome.ends[..], [End::Artifact { fails: false, .. }]));
    let image = ["ping", "root", "child"];
    let look = ["ping", "root", "ping", "root", "child"];
    let copy = ["ping", "root", "child", "blob"];
    assert_eq!(shown(asked), [&image[..], &look, &copy].concat());
    // Older ones go on with the entry as a reference of its own.
    let (outcome, asked) = play(Version(1, 34, 11), &pull("a.example/x:v1"), &net);
    assert!(matches!(outcome.ends[..], [End::Artifact { fails: false, .. }]));
    let look = ["ping", "root", "ping", "child"];
    assert_eq!(shown(asked), [&image[..], &look, &["ping", "child", "blob"]].concat());
}

#[test]
fn a_layer_of_another_length_may_be_the_same_bytes() {
    let net = Net::default()
        .image("https://a.example")
        .at(&format!("https://a.example/v2/x/blobs/{LAYER}"), says(200).body("<html>"));
    let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &net);
    let fault = ContentFault::CrioMayFail(UnreadLayer::Length { has: 6, says: 5 });
    assert!(matches!(&outcome.ends[..], [End::Failed(failure)] if failure.evidence == Evidence::ContentInvalid(fault.clone())));
    // It may well have been an image: nobody looks for an artifact.
    assert_eq!(asked.iter().filter(|line| line.ends_with("/v2/")).count(), 1, "{asked:?}");
}

#[test]
fn an_image_that_fails_is_no_artifact() {
    let net = Net::default()
        .image("https://a.example")
        .at(&format!("https://a.example/v2/x/blobs/{LAYER}"), says(404));
    let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &net);
    assert!(matches!(evidence(&outcome), Evidence::ContentMissing { .. }));
    assert_eq!(asked.len(), 6);
    // 1.35.1 does not look, and stores whatever it is as an artifact.
    let broken = Net::default().image("https://a.example").manifest(
        "https://a.example",
        OCI_IMAGE_MEDIA_TYPE,
        &manifest(IMAGE_DOCKER_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER]),
    );
    let (outcome, _) = play(Version(1, 35, 1), &pull("a.example/x:v1"), &broken);
    assert!(matches!(outcome.ends[..], [End::Artifact { fails: false, .. }]));
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &broken);
    assert!(matches!(
        evidence(&outcome),
        Evidence::ContentInvalid(ContentFault::BodyMismatch(_))
    ));
}

#[test]
fn docker_schema_1_pulls() {
    let id = "a".repeat(64);
    let body = serde_json::json!({
        "schemaVersion": 1, "name": "x", "tag": "v1", "architecture": "amd64",
        "fsLayers": [{"blobSum": LAYER}], "history": [{"v1Compatibility": format!("{{\"id\":\"{id}\"}}")}],
    })
    .to_string();
    for media_type in [
        "application/json",
        "text/plain",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ] {
        let net = Net::default()
            .manifest("https://a.example", media_type, &body)
            .at(&format!("https://a.example/v2/x/blobs/{LAYER}"), says(200).body("layer"));
        let (outcome, asked) = play(NEW, &pull("a.example/x:v1"), &net);
        assert_eq!(outcome.ends, [End::Pulled { size: None }], "{media_type}");
        assert_eq!(outcome.found.unwrap().content, Content::Schema1);
        assert_eq!(asked.len(), 3);
    }
    // Nothing else that is called so.
    let net = Net::default().image("https://a.example").manifest(
        "https://a.example",
        "application/json",
        &manifest(IMAGE_CONFIG_MEDIA_TYPE, CONFIG, &[LAYER]),
    );
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &net);
    let named = ContentFault::MediaType("application/json".to_owned());
    assert_eq!(evidence(&outcome), &Evidence::ContentInvalid(named));
    let html = Net::default().manifest("https://a.example", "text/html; charset=utf-8", "<html>");
    let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &html);
    assert!(matches!(evidence(&outcome), Evidence::ContentInvalid(ContentFault::MediaType(kind)) if kind.starts_with("text/html")));
}

#[test]
fn dockers_own_manifests_take_any_config_type() {
    let docker = |config_type: &str| {
        let body = manifest(config_type, CONFIG, &[]).replace(OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE);
        Net::default()
            .image("https://a.example")
            .manifest("https://a.example", IMAGE_MANIFEST_MEDIA_TYPE, &body)
    };
    for config_type in [
        IMAGE_CONFIG_MEDIA_TYPE,
        IMAGE_DOCKER_CONFIG_MEDIA_TYPE,
        "application/vnd.docker.plugin.v1+json",
    ] {
        let (outcome, _) = play(NEW, &pull("a.example/x:v1"), &docker(config_type));
        assert!(outcome.is_pulled(), "{config_type}");
    }
}
