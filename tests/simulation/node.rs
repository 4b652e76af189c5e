//! A node that pulls: its kubelet hands over each credential, its runtime's own machine asks the registry as it is at one moment. There is no
//! memory between, and nothing of the wire.

use crate::cluster::{NodeKind, Offers};
use crate::images::object;
use crate::registries::{CDN, Caller, Content, Reply, blob};
use pullgate::ask::{Log, Nothing, Step, step};
use pullgate::credentials::{Credential, Hidden};
use pullgate::image::{Digest, Platform, Reference};
use pullgate::runtime::answer::{Answer, AnsweredBy, AskedAt, Body, ErrorText, Fault, FaultKind, NotSent, Response, Withheld};
use pullgate::runtime::redirect::{self, Next};
use pullgate::runtime::request::{Agent, Auth, Grant, Method, Origin, Request, TokenRequest, Want, Who};
use pullgate::runtime::{Depth, End, NodeConfig, Pull, Runtime, challenge, content};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use url::Url;

/// What came of it, over all the ways in which the node may pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// Some way has the image afterwards, or rests on a request that we would not send and a node may.
    pub may_pull: bool,
    /// Every way has an image afterwards that can run there.
    pub always_pulls: bool,
}

/// Steps after which a machine is said not to end.
const STEPS: usize = 400;

/// Pulls an image on a node while the registries hold `content`.
pub fn pull(content: &Content, reference: &Reference, offers: &Offers, kind: NodeKind, until: Depth) -> Came {
    looked_at(content, reference, offers, kind, until, |_| {})
}

/// How the last way of such a pull ends, in words.
pub fn told(content: &Content, reference: &Reference, offers: &Offers, kind: NodeKind, until: Depth) -> String {
    let mut told = "a pull secret cannot be read".to_owned();
    looked_at(content, reference, offers, kind, until, |ends| told = format!("{ends:?}"));
    told
}

fn looked_at(
    content: &Content,
    reference: &Reference,
    offers: &Offers,
    kind: NodeKind,
    until: Depth,
    mut look: impl FnMut(&[End]),
) -> Came {
    let Offers::These(offers) = offers else {
        return Came {
            may_pull: false,
            always_pulls: false,
        };
    };
    let platform = Platform::parse(&format!("linux/{}", kind.architecture)).unwrap();
    let mut came = Came {
        may_pull: false,
        always_pulls: true,
    };
    for runtime in Runtime::of_node(kind.runtime).unwrap() {
        let tries: Vec<Option<&(String, String)>> = if offers.is_empty() {
            vec![None]
        } else {
            offers.iter().map(Some).collect()
        };
        let (mut pulls, mut runs) = (false, false);
        for offer in tries {
            let outside = Outside { content, offer };
            let ends = outside.pull(runtime, reference, &platform, until);
            look(&ends);
            let withheld = |end: &End| matches!(end, End::Failed(failure) if failure.evidence.is_unknown());
            if ends.iter().any(withheld) {
                // Of what a node sends there we know nothing.
                came.may_pull = true;
            }
            let has = |end: &End| matches!(end, End::Pulled { .. } | End::Foreign(_));
            if ends.iter().any(has) {
                pulls = true;
                runs = ends.iter().all(|end| matches!(end, End::Pulled { .. }));
                break;
            }
        }
        came.may_pull |= pulls;
        came.always_pulls &= runs;
    }
    came
}

/// The registries, as one runtime with one credential sees them.
struct Outside<'a> {
    content: &'a Content,
    offer: Option<&'a (String, String)>,
}

impl Outside<'_> {
    fn pull(&self, runtime: Runtime, reference: &Reference, platform: &Platform, until: Depth) -> Vec<End> {
        let who = self.offer.map_or_else(Who::default, |(user, password)| {
            Who::of(&Credential {
                username: Hidden::new(user.clone()),
                password: Hidden::new(password.clone()),
                identity_token: Hidden::default(),
            })
        });
        let pull = Pull {
            reference: reference.clone(),
            short: None,
            node: NodeConfig::Default,
            agent: Agent::default(),
            who,
            platform: platform.clone(),
            until,
        };
        let mut log = Log::default();
        for _ in 0..STEPS {
            match step(&mut log, &Nothing, |net| runtime.pull(&pull, net)) {
                Step::Done(outcome) => return outcome.ends,
                Step::Ask(questions) => {
                    for request in questions {
                        let answer = self.answer(&request);
                        log.insert(request, answer);
                    }
                }
            }
        }
        panic!("the machine of {runtime:?} does not end for {reference}");
    }

    fn user(&self, registry: usize, who: Who) -> Caller {
        match (who.id, self.offer) {
            (Some(_), Some((user, password))) => self.content.caller(registry, user, password),
            _ => Caller::Nobody,
        }
    }

    /// Who shows this to a registry.
    fn caller(&self, registry: usize, auth: Option<&Auth>) -> Caller {
        match auth {
            None => Caller::Nobody,
            Some(Auth::Basic(who)) => self.user(registry, *who),
            Some(Auth::Bearer(token)) => match self.granted(token).and_then(|(from, reply)| Some((from, reply.grants?))) {
                Some((from, (user, repositories))) if from == registry => Caller::Token { user, repositories },
                _ => Caller::Wrong,
            },
        }
    }

    /// What comes of a request for a token, and of which registry it is.
    fn granted(&self, token: &TokenRequest) -> Option<(usize, Reply)> {
        let (registry, held) = self.content.by_realm(&token.realm)?;
        let shows = match token.by {
            Grant::Anonymous => Caller::Nobody,
            Grant::Account if token.is_anonymous() => Caller::Nobody,
            Grant::Basic | Grant::Account | Grant::Password | Grant::Refresh => self.user(registry, token.who),
        };
        let scopes: Vec<String> = token
            .scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .map(str::to_owned)
            .collect();
        Some((registry, held.token(token.by.method() == Method::Post, &scopes, &shows)))
    }

    fn answer(&self, request: &Request) -> Answer {
        let Ok(mut url) = Url::parse(&format!("{}{}", request.origin, request.path)) else {
            return fault(request, &request.origin, FaultKind::Internal);
        };
        let mut method = request.method;
        for _ in 0..redirect::REQUESTS {
            let Some(origin) = Origin::of(&url) else {
                return fault(request, &request.origin, FaultKind::Internal);
            };
            let auth = request.auth.iter().find(|(to, _)| *to == origin).map(|(_, auth)| auth);
            let Some(reply) = self.reply(request, &url, &origin, auth) else {
                return fault(request, &origin, FaultKind::NameNotResolved);
            };
            match redirect::next(method, &url, reply.status, reply.one("location").map(str::as_bytes)) {
                Next::Stay => return response(request, method, &origin, &url, &reply),
                Next::Withhold(refusal, _) => {
                    return Answer::NotSent(Arc::new(NotSent {
                        asked_at: at(method, &origin, url.path()),
                        why: Withheld::Guard(refusal),
                    }));
                }
                Next::Follow { method: by, url: to, .. } => (method, url) = (by, to),
            }
        }
        fault(request, &request.origin, FaultKind::RedirectLoop)
    }

    /// `None` where nobody is.
    fn reply(&self, request: &Request, url: &Url, origin: &Origin, auth: Option<&Auth>) -> Option<Reply> {
        if let Want::Token(token) = &request.want {
            return self.granted(token).map(|(_, reply)| reply);
        }
        let host = origin.authority();
        if host == CDN {
            return Some(object(url.path().trim_start_matches('/')).map_or_else(|| Reply::new(404), blob));
        }
        let (at, registry) = self.content.at(&host)?;
        Some(registry.reply(url.path(), &self.caller(at, auth)))
    }
}

fn at(method: Method, origin: &Origin, path: &str) -> AskedAt {
    AskedAt {
        method,
        origin: origin.clone(),
        path: Arc::from(path),
    }
}

fn fault(request: &Request, origin: &Origin, what: FaultKind) -> Answer {
    Answer::Fault(Arc::new(Fault {
        asked_at: at(request.method, origin, &request.path),
        what,
        detail: None,
    }))
}

/// What a runtime reads of a reply.
fn response(request: &Request, method: Method, origin: &Origin, url: &Url, reply: &Reply) -> Answer {
    let good = (200..300).contains(&reply.status);
    let bytes = reply.body.as_slice();
    let length = bytes.len() as u64;
    let digest_of = |by: Option<&Digest>| match by {
        Some(by) if by.matches(bytes) => by.clone(),
        _ => Digest::sha256(bytes),
    };
    let body = match &request.want {
        _ if method == Method::Head => Body::Unread,
        Want::Token(_) if good => Body::Granted,
        _ if !good => Body::ErrorText(ErrorText::default()),
        Want::Manifest { by } => Body::Manifest {
            document: content::document(bytes).map(Arc::new),
            digest: digest_of(by.as_ref()),
            length,
        },
        Want::Config { by } => Body::Config {
            config: content::config(bytes).map(Arc::new),
            digest: digest_of(Some(by)),
            length,
        },
        Want::Nothing | Want::Blob { .. } | Want::Tags { .. } | Want::ErrorText | Want::Token(_) => Body::Unread,
    };
    let challenges = reply.headers.iter().filter(|(name, _)| *name == "www-authenticate");
    Answer::Response(Arc::new(Response {
        asked_at: at(method, origin, url.path()),
        status: reply.status,
        as_somebody: false,
        challenges: challenge::read(challenges.map(|(_, value)| value.as_bytes())),
        content_type: Arc::from(reply.one("content-type").unwrap_or_default()),
        length: Some(length),
        encoded: false,
        digest: reply.one("docker-content-digest").map(Arc::from),
        body,
        quota: None,
        retry_after: None,
        answered_by: AnsweredBy::Registry,
    }))
}

/// What has been pulled before, while everything was as it is.
#[derive(Debug, Default)]
pub struct Pulls {
    images: HashMap<Reference, usize>,
    offers: HashMap<Offers, usize>,
    known: HashMap<(usize, usize, usize, NodeKind, Depth), Came>,
}

impl Pulls {
    /// How many.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// `version` names `content`.
    pub fn pull(
        &mut self,
        version: usize,
        content: &Content,
        reference: &Reference,
        offers: &Offers,
        kind: NodeKind,
        until: Depth,
    ) -> Came {
        let image = number(&mut self.images, reference);
        let key = (version, image, number(&mut self.offers, offers), kind, until);
        *(self.known.entry(key)).or_insert_with(|| pull(content, reference, offers, kind, until))
    }
}

/// A number that is for this value alone.
fn number<T: Clone + Eq + Hash>(numbers: &mut HashMap<T, usize>, value: &T) -> usize {
    let next = numbers.len();
    numbers
        .get(value)
        .copied()
        .unwrap_or_else(|| *numbers.entry(value.clone()).or_insert(next))
}
