//! One registry: how CRI-O connects and authenticates (`docker/docker_client.go` of containers/image).

use crate::ask::Ask;
use crate::runtime::answer::{Body, Response};
use crate::runtime::challenge::{self, Bearer, Challenge};
use crate::runtime::containerd::authorizer::{refusal, token_request};
use crate::runtime::crio::auth::Own;
use crate::runtime::crio::pull_sources::PullSource;
use crate::runtime::crio::{Got, Stop, Walk, caught};
use crate::runtime::outcome::{
    AuthStage, ConnectionFault, Evidence, Failure, GuardRule, NodeSettingsFault, Purpose, Rejection, ScopeError, WEB_PAGE,
};
use crate::runtime::request::{Auth, Grant, HostSettingsId, Method, Origin, Request, Retry, Scheme, TokenRequest, Want, Who};
use std::sync::Arc;
use std::time::Duration;

/// How often a throttled request is sent in all (`backoffNumIterations`).
const TRIES: usize = 5;
/// The first pause, if the registry names none. Each following one is twice as long (`backoffInitialDelay`).
const PAUSE: Duration = Duration::from_secs(2);
/// No pause is longer (`backoffMaxDelay`).
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A registry that has answered.
#[derive(Debug, Clone)]
pub(super) struct Session {
    place: PullSource,
    host_settings: HostSettingsId,
    origin: Origin,
    who: Who,
    scheme: AuthScheme,
    /// The scopes beside its own for which there is a token; the empty scope is none.
    granted: Vec<Arc<str>>,
    /// The last request.
    pub(super) latest: Option<Box<Request>>,
}

/// How it authenticates clients. Only its answer to `/v2/` shows this.
#[derive(Debug, Clone)]
enum AuthScheme {
    /// It has not sent a challenge that CRI-O can answer.
    None,
    Basic,
    Bearer(Bearer),
}

/// A request to a registry, without what the session adds.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The path below the host: `/v2/…`
    pub(super) path: Arc<str>,
    pub(super) accept: Arc<str>,
    pub(super) want: Want,
}

impl Session {
    /// Asks a place for its `/v2/`: over TLS, and then over plain HTTP if that is allowed there (`detectProperties`).
    pub(super) fn connect(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, place: &PullSource) -> Got<Self> {
        if place.blocked {
            let evidence = Evidence::NodeSettings(NodeSettingsFault::Blocked);
            return Err(Failure::plain(evidence, place.reference.domain().to_owned()).into());
        }
        let over_tls = Self::ping(walk, ask, place, Scheme::Https);
        match caught(over_tls)? {
            Ok(session) => Ok(session),
            Err(_) if place.insecure => Self::ping(walk, ask, place, Scheme::Http),
            Err(failed) => Err(Stop::Failed(Box::new(failed))),
        }
    }

    fn ping(walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, place: &PullSource, scheme: Scheme) -> Got<Self> {
        let Some(origin) = place.origin(scheme) else {
            return Err(Stop::unanswered(Failure {
                detail: Some("its name and port do not form an address".to_owned()),
                ..Failure::plain(
                    Evidence::ConnectionFailed(ConnectionFault::Unreachable),
                    place.reference.domain().to_owned(),
                )
            }));
        };
        let unknown = |why: Option<&Arc<str>>| Failure {
            detail: why.map(ToString::to_string),
            ..Failure::plain(
                Evidence::NodeSettings(if why.is_some() {
                    NodeSettingsFault::Unreadable
                } else {
                    NodeSettingsFault::NodeCredential
                }),
                place.reference.domain().to_owned(),
            )
        };
        let host_settings = walk.node.host_settings(place).map_err(|why| unknown(Some(why)))?;
        let who = if place.own && walk.who.user {
            walk.who
        } else {
            // A mirror does not get the credential that is for the registry (`newImageSourceAttempt`), but may get one of the node's own.
            match walk.node.auth.of(&place.reference.name(), place.reference.domain()) {
                Own::Has(who) => who,
                Own::Unknown => return Err(unknown(None).into()),
            }
        };
        let mut session = Self {
            place: place.clone(),
            host_settings,
            origin,
            who,
            scheme: AuthScheme::None,
            granted: Vec::new(),
            latest: None,
        };
        let ping = Asked {
            path: Arc::from("/v2/"),
            accept: Arc::from(""),
            want: Want::Nothing,
        };
        let mut pause = PAUSE;
        let mut after = Duration::ZERO;
        for left in (0..TRIES).rev() {
            let response = session.once(walk, ask, &ping, None, after)?;
            match response.status {
                200 | 401 => {
                    session.scheme = match challenge::crios(&response.challenges) {
                        Challenge::Basic => AuthScheme::Basic,
                        Challenge::Bearer(bearer) => AuthScheme::Bearer(bearer.cut().clone()),
                        Challenge::Other => AuthScheme::None,
                    };
                    return Ok(session);
                }
                429 if left > 0 => after = next_pause(&response, &mut pause),
                _ => return Err(Failure::of(status(&response, false), &response, Purpose::Content).into()),
            }
        }
        Err(Failure::plain(Evidence::Internal, session.origin.authority()).into())
    }

    /// Sends a request as often as CRI-O does (`makeRequestToResolvedURL`); any status.
    pub(super) fn request(&mut self, walk: &mut Walk<'_>, ask: &mut Ask<'_, Request>, asked: &Asked) -> Got<Arc<Response>> {
        let mut response = self.once(walk, ask, asked, None, Duration::ZERO)?;
        // Once, if the registry says that the scope is too narrow.
        let wider = wider_scope(&response);
        if let Some(scope) = &wider {
            response = self.once(walk, ask, asked, Some(scope), Duration::ZERO)?;
        }
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            if response.status != 429 {
                break;
            }
            let after = next_pause(&response, &mut pause);
            response = self.once(walk, ask, asked, wider.as_ref(), after)?;
        }
        match self.withheld(&response) {
            Some(failure) => Err(Stop::unanswered(failure)),
            None => Ok(response),
        }
    }

    fn once(
        &mut self,
        walk: &mut Walk<'_>,
        ask: &mut Ask<'_, Request>,
        asked: &Asked,
        scope: Option<&Arc<str>>,
        after: Duration,
    ) -> Got<Arc<Response>> {
        let auth = match self.scheme.clone() {
            AuthScheme::None => Vec::new(),
            // Even without a credential: user and password are then empty.
            AuthScheme::Basic => vec![(self.origin.clone(), Auth::Basic(self.who))],
            AuthScheme::Bearer(bearer) => vec![(self.origin.clone(), Auth::Bearer(self.token(walk, ask, &bearer, scope)?))],
        };
        let request = Request {
            asker: self.who,
            method: Method::Get,
            origin: self.origin.clone(),
            path: Arc::clone(&asked.path),
            accept: Arc::clone(&asked.accept),
            auth,
            want: asked.want.clone(),
            host_settings: self.host_settings,
            agent: walk.agent,
            retry: Retry::default(),
        };
        let (request, answer) = walk.send(ask, request, after)?;
        let response = answer.response(&request).map_err(Stop::unanswered);
        self.latest = Some(Box::new(request));
        match response.as_ref().ok().and_then(|response| Failure::cut_short(response)) {
            Some(failure) => Err(Stop::unanswered(failure)),
            None => response,
        }
    }

    /// A token, which is used for as long as the registry is asked (`getBearerToken`). If it is refused, nothing else is tried.
    fn token(
        &mut self,
        walk: &mut Walk<'_>,
        ask: &mut Ask<'_, Request>,
        bearer: &Bearer,
        scope: Option<&Arc<str>>,
    ) -> Got<Arc<TokenRequest>> {
        let failed = |evidence| Failure::plain(evidence, self.origin.authority());
        let Some(realm) = bearer.realm.as_deref() else {
            return Err(failed(Evidence::Rejected(Rejection::NoRealm)).into());
        };
        let own: Arc<str> = Arc::from(format!("repository:{}:pull", self.place.reference.path()));
        let whole = |scope: &&Arc<str>| !scope.split(':').any(str::is_empty);
        let token = Arc::new(TokenRequest {
            origin: self.origin.clone(),
            realm: Arc::from(realm),
            service: bearer.service.as_deref().map(Arc::from),
            scopes: std::iter::once(own).chain(scope.filter(whole).cloned()).collect(),
            who: self.who,
            by: if self.who.identity_token {
                Grant::Refresh
            } else {
                Grant::Account
            },
        });
        let key = scope.cloned().unwrap_or_default();
        if self.granted.contains(&key) {
            return Ok(token);
        }
        let request = token_request(&token, self.host_settings, walk.agent).map_err(Stop::unanswered)?;
        let (request, answer) = walk.send(ask, request, Duration::ZERO)?;
        let response = answer.response(&request).map_err(Stop::unanswered)?;
        granted(&response, &token)?;
        self.granted.push(key);
        Ok(token)
    }

    /// Whether a credential is sent.
    pub(super) fn is_authenticated(&self) -> bool {
        match self.scheme {
            AuthScheme::None => false,
            AuthScheme::Basic => self.who.user,
            AuthScheme::Bearer(_) => self.who.identity_token || (self.who.user && self.who.password),
        }
    }

    /// Nodes pass their `Authorization` on to some hosts that this registry redirects to (Go, net/http), and log in as a user that a
    /// redirect's URL names. We do neither, so a refusal that may be due to that proves nothing.
    fn withheld(&self, response: &Response) -> Option<Failure> {
        let there = &response.asked_at.origin;
        let handed = self.origin.hands_to(there) && self.is_authenticated() && matches!(response.status, 401 | 403 | 404);
        let as_somebody = response.as_somebody && (400..500).contains(&response.status) && response.status != 429;
        (handed || as_somebody).then(|| {
            Failure::of(
                Evidence::StoppedByGuard(GuardRule::CredentialNotSent),
                response,
                Purpose::Content,
            )
        })
    }

    /// Whether this is the registry itself, not one that it redirects to.
    pub(super) fn is_at(&self, origin: &Origin) -> bool {
        self.origin.is_same_server(origin)
    }

    /// What a refusal proves, except for a 404.
    pub(super) fn refused(&self, response: &Response) -> Evidence {
        if response.status != 401 {
            return status(response, self.is_authenticated());
        }
        let with_credential = self.is_authenticated();
        let error = response.challenges.iter().find_map(|one| match one {
            Challenge::Bearer(bearer) => bearer.cut().error.as_deref(),
            Challenge::Basic | Challenge::Other => None,
        });
        match (&self.scheme, error) {
            (AuthScheme::None, _) => Evidence::Rejected(Rejection::NoUsableChallenge),
            (AuthScheme::Basic, _) if with_credential => Evidence::CredentialRefused { at: AuthStage::Basic },
            (AuthScheme::Basic, _) => Evidence::AuthenticationRequired { at: AuthStage::Basic },
            (AuthScheme::Bearer(_), Some("insufficient_scope")) => Evidence::InsufficientScope {
                with_credential,
                error: ScopeError::Named,
            },
            (AuthScheme::Bearer(_), _) if !with_credential => Evidence::AuthenticationRequired { at: AuthStage::Registry },
            (AuthScheme::Bearer(_), Some(_)) => Evidence::Rejected(Rejection::UnauthorizedAgain),
            // The token server accepted the credential: it lacks the right.
            (AuthScheme::Bearer(_), None) => Evidence::InsufficientScope {
                with_credential,
                error: ScopeError::Unnamed,
            },
        }
    }
}

/// What holds for every answer other than 200. CRI-O treats everything from 201 to 399 as an error.
fn status(response: &Response, with_credential: bool) -> Evidence {
    match response.status {
        200..=399 => Evidence::Rejected(Rejection::Status),
        _ => Evidence::of_status(response, with_credential),
    }
}

/// The pause before the next attempt: `pause`, unless the registry asks for another one.
fn next_pause(response: &Response, pause: &mut Duration) -> Duration {
    let after = response.retry_after.unwrap_or(*pause).min(LONGEST_PAUSE);
    *pause = after.saturating_mul(2);
    after
}

/// The scope that a registry asks for in addition to our own (`needsRetryWithUpdatedScope`).
fn wider_scope(response: &Response) -> Option<Arc<str>> {
    if response.status != 401 {
        return None;
    }
    response.challenges.iter().find_map(|one| {
        let Challenge::Bearer(bearer) = one else { return None };
        let bearer = bearer.cut();
        let scope = bearer.scope.as_deref().filter(|scope| scope.split(':').count() == 3)?;
        (bearer.error.as_deref() == Some("insufficient_scope")).then(|| Arc::from(scope))
    })
}

/// Interprets a token server's answer.
fn granted(response: &Response, token: &TokenRequest) -> Result<(), Failure> {
    let anonymous = token.is_anonymous();
    let purpose = if anonymous {
        Purpose::AnonymousToken
    } else {
        Purpose::OauthToken
    };
    let failed = |evidence| Failure::of(evidence, response, purpose);
    match (response.status, &response.body) {
        (200, Body::Granted) => Ok(()),
        (200, Body::TooLong(bytes)) => Err(Failure {
            // It may be shorter than a runtime reads.
            detail: Some(format!("its answer is longer than {bytes} bytes, and was not read")),
            ..failed(Evidence::ServerError { token_server: true })
        }),
        (200, body) => Err(Failure {
            // It may be a login page, or a token that cannot be sent: nothing of it is shown.
            code: None,
            detail: Some(match body {
                Body::NoToken { page: true } => WEB_PAGE.to_owned(),
                _ => "the answer of the token server cannot be read".to_owned(),
            }),
            ..failed(Evidence::Rejected(Rejection::NoToken))
        }),
        (201..=399, _) => Err(failed(Evidence::Rejected(Rejection::TokenStatus))),
        (_, _) => Err(failed(refusal(response, !anonymous, None))),
    }
}
