//! How containerd answers challenges (pull-semantics 5.3; `core/remotes/docker/authorizer.go`, `auth/fetch.go`).

use crate::ask::Ask;
use crate::runtime::answer::{Body, Response};
use crate::runtime::challenge::{self, Bearer, Challenge};
use crate::runtime::containerd::{Got, Stop};
use crate::runtime::outcome::{AuthStage, Evidence, Failure, Purpose, Rejection, ScopeError, WEB_PAGE};
use crate::runtime::redirect;
use crate::runtime::request::{Agent, Auth, Grant, HostSettingsId, Method, Origin, Request, Retry, TokenRequest, Want, Who};
use std::sync::Arc;
use url::form_urlencoded::Serializer;

/// What containerd sends of a credential. A user name wins over an identity token, and a user name or password alone is ignored (CRI's
/// `ParseAuth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Nothing.
    Nothing,
    /// User name and password.
    Password,
    /// The identity token.
    Refresh,
}

impl Sending {
    /// What is sent of this credential.
    pub fn of(who: Who) -> Self {
        match (who.user, who.password, who.identity_token) {
            (true, true, _) => Self::Password,
            (false, _, true) => Self::Refresh,
            (true, false, _) | (false, _, false) => Self::Nothing,
        }
    }
}

/// What is known about authentication at one host and at the hosts that it redirects to (`dockerAuthorizer`).
#[derive(Debug, Clone)]
pub(super) struct Authorizer {
    given: Who,
    /// The same, if any of it is sent.
    who: Who,
    sending: Sending,
    handlers: Vec<(Origin, Handler)>,
    /// A token was sent, and then the registry asked for user name and password (Harbor).
    shown_token: bool,
}

#[derive(Debug, Clone)]
enum Handler {
    Basic,
    Bearer(Bearer),
}

impl Authorizer {
    pub(super) fn new(who: Who) -> Self {
        let sending = Sending::of(who);
        Self {
            given: who,
            // A credential that is not sent identifies nobody.
            who: if sending == Sending::Nothing { Who::default() } else { who },
            sending,
            handlers: Vec::new(),
            shown_token: false,
        }
    }

    /// Whose credential was given, whether it is sent or not.
    pub(super) fn given(&self) -> Who {
        self.given
    }

    /// Whose credential is sent.
    pub(super) fn who(&self) -> Who {
        self.who
    }

    /// Whether a credential is sent (and was not refused since).
    pub(super) fn is_authenticated(&self) -> bool {
        self.sending != Sending::Nothing && !self.handlers.is_empty()
    }

    /// Whether there is anything to send.
    pub(super) fn has_credential(&self) -> bool {
        self.sending != Sending::Nothing
    }

    fn handler(&self, server: &Origin) -> Option<&Handler> {
        let found = self.handlers.iter().find(|(origin, _)| origin.is_same_server(server));
        found.map(|(_, handler)| handler)
    }

    fn forget(&mut self, server: &Origin) {
        self.handlers.retain(|(origin, _)| !origin.is_same_server(server));
    }

    /// Takes over what a concurrent part of the pull has learned.
    pub(super) fn learn(&mut self, other: &Self) {
        for (origin, handler) in &other.handlers {
            if self.handler(origin).is_none() {
                self.handlers.push((origin.clone(), handler.clone()));
            }
        }
        self.shown_token |= other.shown_token;
    }

    /// The authorization for each origin (`Authorize`). May ask for tokens.
    pub(super) fn authorize(&mut self, ask: &mut Ask<'_, Request>, scope: &Scope<'_>) -> Got<Vec<(Origin, Auth)>> {
        let mut all = Vec::with_capacity(self.handlers.len());
        for (origin, handler) in &self.handlers {
            let auth = match handler {
                Handler::Basic => Auth::Basic(self.who),
                Handler::Bearer(bearer) => Auth::Bearer(self.token(ask, scope, origin, bearer)?),
            };
            all.push((origin.clone(), auth));
        }
        Ok(all)
    }

    /// Takes in a 401 (`AddResponses`). `Ok(false)` means that there is no way to answer it, so that it stands. `again` says whether the
    /// request before was the same.
    pub(super) fn add(&mut self, response: &Response, again: bool) -> Result<bool, Failure> {
        let origin = &response.asked_at.origin;
        let fails = |evidence| Failure::of(evidence, response, Purpose::Content);
        match challenge::containerds(&response.challenges) {
            Challenge::Bearer(bearer) => {
                if let Some(error) = &bearer.error {
                    self.forget(origin);
                    if again {
                        return Err(fails(self.invalid(Some(error))));
                    }
                }
                if self.handler(origin).is_none() {
                    if bearer.realm.is_none() {
                        return Err(fails(Evidence::Rejected(Rejection::NoRealm)));
                    }
                    self.handlers.push((origin.clone(), Handler::Bearer(bearer.clone())));
                }
                Ok(true)
            }
            Challenge::Basic => {
                if self.sending != Sending::Password {
                    // "no basic auth credentials"
                    return Err(fails(Evidence::AuthenticationRequired { at: AuthStage::Basic }));
                }
                self.shown_token |= matches!(self.handler(origin), Some(Handler::Bearer(_)));
                self.forget(origin);
                self.handlers.push((origin.clone(), Handler::Basic));
                Ok(true)
            }
            Challenge::Other => Ok(false),
        }
    }

    /// What a 401 proves when containerd gives up on it.
    pub(super) fn refused(&self, response: &Response) -> Evidence {
        match challenge::containerds(&response.challenges) {
            Challenge::Bearer(bearer) => self.invalid(bearer.error.as_deref()),
            // The credential was good enough for a token.
            Challenge::Basic if self.shown_token => Evidence::InsufficientScope {
                with_credential: true,
                error: ScopeError::Unnamed,
            },
            Challenge::Basic => Evidence::CredentialRefused { at: AuthStage::Basic },
            // Harbor says here that there is no such project.
            Challenge::Other => Evidence::Rejected(Rejection::NoUsableChallenge),
        }
    }

    /// What a 401 in spite of a fresh token proves.
    fn invalid(&self, error: Option<&str>) -> Evidence {
        let with_credential = self.has_credential();
        match error {
            Some("insufficient_scope") => Evidence::InsufficientScope {
                with_credential,
                error: ScopeError::Named,
            },
            Some(_) | None if !with_credential => Evidence::AuthenticationRequired { at: AuthStage::Registry },
            Some(_) => Evidence::Rejected(Rejection::UnauthorizedAgain),
            // The token server took the credential: what is missing is the right.
            None => Evidence::InsufficientScope {
                with_credential,
                error: ScopeError::Unnamed,
            },
        }
    }

    /// Gets a token: with a credential by POST, and by GET if the server does not know POST; without a credential by GET (`doBearerAuth`).
    fn token(&self, ask: &mut Ask<'_, Request>, scope: &Scope<'_>, origin: &Origin, bearer: &Bearer) -> Got<Arc<TokenRequest>> {
        let by = |by| {
            Arc::new(TokenRequest {
                origin: origin.clone(),
                realm: Arc::from(bearer.realm.as_deref().unwrap_or_default()),
                service: bearer.service.as_deref().map(Arc::from),
                scopes: challenge::scopes(scope.repository, bearer.scope.as_deref()),
                who: self.who,
                by,
            })
        };
        let first = by(match self.sending {
            Sending::Nothing => Grant::Anonymous,
            Sending::Password => Grant::Password,
            Sending::Refresh => Grant::Refresh,
        });
        let response = fetch(ask, scope, &first)?;
        let by_get = match (self.sending, response.status) {
            (Sending::Nothing, _) => false,
            (_, 400 | 401 | 404) | (Sending::Password, 405) => true,
            (_, _) => false,
        };
        if !by_get {
            return granted(&response, first, None);
        }
        let second = by(Grant::Basic);
        let again = fetch(ask, scope, &second)?;
        granted(&again, second, Some(&response))
    }
}

/// What a token is requested for, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) repository: &'a str,
    pub(super) host_settings: HostSettingsId,
    pub(super) agent: Agent,
}

/// Sends a request for a token; any status.
fn fetch(ask: &mut Ask<'_, Request>, scope: &Scope<'_>, token: &Arc<TokenRequest>) -> Got<Arc<Response>> {
    let request = token_request(token, scope.host_settings, scope.agent).map_err(Stop::from)?;
    let answer = ask.get(request.clone())?;
    answer.response(&request).map_err(Stop::from)
}

/// The request for a token. `Err` if our rules forbid to ask its realm, or the realm is not a usable URL.
pub(crate) fn token_request(token: &Arc<TokenRequest>, host_settings: HostSettingsId, agent: Agent) -> Result<Request, Failure> {
    let withheld = |rule| {
        let mut failure = Failure::plain(Evidence::StoppedByGuard(rule), token.origin.authority());
        failure.detail = Some("the registry names a token server that is neither https nor the registry itself".to_owned());
        if let Some(named) = url::Url::parse(token.realm.trim()).ok().filter(url::Url::has_host) {
            let host = named.host_str().unwrap_or_default();
            failure.host = named.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        }
        failure
    };
    let realm = redirect::realm(&token.origin, &token.realm).map_err(withheld)?;
    let Some(origin) = Origin::of(&realm) else {
        return Err(withheld(crate::runtime::outcome::GuardRule::Realm));
    };
    let path = match token.by.method() {
        Method::Post => match realm.query() {
            Some(query) => format!("{}?{query}", realm.path()),
            None => realm.path().to_owned(),
        },
        Method::Get | Method::Head => {
            // Sorted by key, as Go encodes them; parameters that the realm already has stay.
            let mut query: Vec<(String, String)> = realm.query_pairs().into_owned().collect();
            query.extend(
                token
                    .service
                    .iter()
                    .map(|service| ("service".to_owned(), service.to_string())),
            );
            query.extend(token.scopes.iter().map(|scope| ("scope".to_owned(), scope.to_string())));
            query.sort_by(|a, b| a.0.cmp(&b.0));
            let query = Serializer::new(String::new()).extend_pairs(query).finish();
            if query.is_empty() {
                realm.path().to_owned()
            } else {
                format!("{}?{query}", realm.path())
            }
        }
    };
    let auth = match token.by {
        Grant::Basic => vec![(origin.clone(), Auth::Basic(token.who))],
        Grant::Account if !token.is_anonymous() => vec![(origin.clone(), Auth::Basic(token.who))],
        Grant::Anonymous | Grant::Account | Grant::Password | Grant::Refresh => Vec::new(),
    };
    Ok(Request {
        asker: token.who,
        method: token.by.method(),
        origin,
        path: Arc::from(path),
        accept: Arc::from(""),
        auth,
        want: Want::Token(Arc::clone(token)),
        host_settings,
        agent,
        retry: Retry::default(),
    })
}

/// Interprets a token server's answer. `posted` is the answer to a POST before it whose status made containerd try GET.
fn granted(response: &Response, token: Arc<TokenRequest>, posted: Option<&Response>) -> Got<Arc<TokenRequest>> {
    let purpose = if token.is_anonymous() {
        Purpose::AnonymousToken
    } else {
        Purpose::OauthToken
    };
    if !(200..400).contains(&response.status) {
        let evidence = refusal(response, !token.is_anonymous(), posted);
        return Err(Failure::of(evidence, response, purpose).into());
    }
    match &response.body {
        Body::Granted => Ok(token),
        Body::TooLong(bytes) => {
            // A runtime would read on.
            let mut failure = Failure::of(Evidence::ServerError { token_server: true }, response, purpose);
            failure.detail = Some(format!("its answer is longer than {bytes} bytes, and was not read"));
            Err(failure.into())
        }
        body => {
            // It may be a login page, or a token that cannot be sent: nothing of it is shown.
            let mut failure = Failure::of(Evidence::Rejected(Rejection::NoToken), response, purpose);
            failure.code = None;
            let said = match body {
                Body::NoToken { page: true } => WEB_PAGE,
                _ => "the authorization server did not include a usable token in its answer",
            };
            failure.detail = Some(said.to_owned());
            Err(failure.into())
        }
    }
}

/// What a token server's refusal proves.
pub(crate) fn refusal(response: &Response, with_credential: bool, posted: Option<&Response>) -> Evidence {
    let refuses = |response: &Response| {
        let code = response.error_text().code.map(|code| code.to_ascii_lowercase());
        matches!(
            code.as_deref(),
            Some("invalid_grant" | "invalid_client" | "unauthorized_client" | "access_denied" | "unauthorized" | "denied")
        )
    };
    let at = AuthStage::TokenServer;
    match response.status {
        429 => Evidence::RateLimited,
        // A firewall stands before the token server too (ACR): that is about the caller, not the credential.
        403 if response.error_text().about_address => Evidence::Forbidden {
            address_bound: true,
            with_credential,
        },
        401 | 403 if with_credential => Evidence::CredentialRefused { at },
        401 | 403 => Evidence::AuthenticationRequired { at },
        400..=407 | 409..=499 => {
            // The last answer is that of the GET; the POST before it may have said that the credential is at fault.
            let at_post = posted.is_some_and(|posted| posted.status == 401 || refuses(posted));
            if with_credential && (at_post || refuses(response)) {
                Evidence::CredentialRefused { at }
            } else {
                Evidence::Rejected(Rejection::TokenStatus)
            }
        }
        _ => Evidence::ServerError { token_server: true },
    }
}
