//! Lists, read page by page, so that no list of a large cluster is held as a whole.

use kube::Client;
use serde_json::Value;
use std::time::Duration;

/// The timeout for one page.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads one list.
#[derive(Debug)]
pub(super) struct Pages {
    path: String,
    limit: u32,
    /// Where the next page starts; `None` before the first.
    token: Option<String>,
    done: bool,
    /// How often a continue token has expired.
    expired: u32,
}

/// Why a list could not be read to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The API server answered with an error.
    Answer(kube::Error),
    /// It did not answer in time.
    Silence,
    /// The answer is not a list.
    NoList,
}

impl Broken {
    /// The status code of the answer.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Answer(kube::Error::Api(status)) => Some(status.code),
            Self::Answer(_) | Self::Silence | Self::NoList => None,
        }
    }
}

/// As a clause: `the API server answered 500`.
impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self, self.code()) {
            (_, Some(401)) => f.write_str("the API server does not accept pullgate's identity"),
            (_, Some(403)) => f.write_str("the API server forbids it"),
            (_, Some(code)) => write!(f, "the API server answered {code}"),
            (Self::Silence, None) => f.write_str("the API server did not answer in time"),
            (Self::NoList, None) => f.write_str("the API server's answer could not be read"),
            (Self::Answer(_), None) => f.write_str("the API server could not be reached"),
        }
    }
}

impl Pages {
    /// The list at this path, with this many objects per page.
    pub(super) fn of(path: impl Into<String>, limit: u32) -> Self {
        Self {
            path: path.into(),
            limit,
            token: None,
            done: false,
            expired: 0,
        }
    }

    /// The path of the next page, with its query.
    fn next_path(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::for_suffix(format!("{}?", self.path), self.path.len() + 1);
        query.append_pair("limit", &self.limit.to_string());
        if let Some(token) = &self.token {
            query.append_pair("continue", token);
        }
        query.finish()
    }

    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// If the rest of the list cannot be read.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Option<Vec<Value>>, Broken> {
        while !self.done {
            let path = self.next_path();
            let answer = match get(client, &path).await {
                // The list is older than the API server remembers: go on with the current state.
                Err(Broken::Answer(kube::Error::Api(status))) if status.code == 410 && self.token.is_some() && self.expired < 3 => {
                    let go_on = status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
                    let Some(token) = go_on.filter(|token| !token.is_empty()) else {
                        return Err(Broken::Answer(kube::Error::Api(status)));
                    };
                    self.expired += 1;
                    self.token = Some(token);
                    continue;
                }
                other => other?,
            };
            let Value::Object(mut answer) = answer else {
                return Err(Broken::NoList);
            };
            let token = answer.get("metadata").and_then(|metadata| metadata.get("continue"));
            self.token = token
                .and_then(Value::as_str)
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            self.done = self.token.is_none();
            return match answer.remove("items") {
                Some(Value::Array(items)) => Ok(Some(items)),
                // Go encodes an empty list as null.
                Some(Value::Null) => Ok(Some(Vec::new())),
                _ => Err(Broken::NoList),
            };
        }
        Ok(None)
    }
}

/// Reads one path. As text: the client logs what it cannot parse.
pub(super) async fn get(client: &Client, path: &str) -> Result<Value, Broken> {
    let ask = async {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        client.request_text(request).await
    };
    let text = tokio::time::timeout(TIMEOUT, ask).await.map_err(|_| Broken::Silence)?;
    serde_json::from_str(&text.map_err(Broken::Answer)?).map_err(|_| Broken::NoList)
}
