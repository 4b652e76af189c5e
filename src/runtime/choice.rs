//! Picks the failure to report when several hosts failed.

/// The longest detail, in characters.
const LONGEST: usize = 200;

use crate::runtime::outcome::{Evidence, Failure, hinges_on_credentials};

/// The failure that speaks for the image; `None` if there is none. `speaking` are the failures that the runtime could end with, `doubts`
/// those of hosts that it gave up on before.
///
/// What is unknown outweighs what is certain: where we got no answer, a node may get the image (except where a mirror answered 404 and
/// the runtime went on to the next host, [`Failure::passed_on`]). A refusal that another credential may lift outweighs certainty as well.
/// Among the certain failures, the one that came furthest counts, in the order of containerd 2.0 and later (1.7 reports the first one; the
/// pull fails either way): a manifest that is too long, a status, not found, everything else.
pub(crate) fn choose(doubts: Vec<Failure>, speaking: Vec<Failure>) -> Option<Failure> {
    let first_speaking = doubts.len();
    let mut all = doubts;
    all.extend(speaking);
    let unknown = all
        .iter()
        .position(|failure| failure.evidence.is_unknown() && !failure.next_host_decides);
    let hinging = || all.iter().position(hinges_on_credentials);
    let furthest = || {
        let speaking = all.iter().enumerate().skip(first_speaking);
        speaking.max_by_key(|(at, failure)| progress(*at, failure)).map(|(at, _)| at)
    };
    let chosen = unknown.or_else(hinging).or_else(furthest)?;
    if chosen >= all.len() {
        return None;
    }
    let mut failure = all.remove(chosen);
    failure.doubled_v2_base = all.iter().find_map(|other| doubled(&failure, other));
    let mut others: Vec<String> = all.iter().filter(|other| other.host != failure.host).map(brief).collect();
    others.dedup();
    if !others.is_empty() {
        let others = format!("also asked: {}", others.join(", "));
        let detail = match &failure.detail {
            Some(detail) => format!("{detail}; {others}"),
            None => others,
        };
        failure.detail = Some(bounded(&detail));
    }
    Some(failure)
}

/// The address of a host that was asked by a path with `/v2` twice: `https://mirror.example/v2/cache` for
/// `https://mirror.example/v2/cache/v2/app/manifests/1`, where `failure` is about another host's `/v2/app/manifests/1`.
fn doubled(failure: &Failure, other: &Failure) -> Option<Box<str>> {
    let url = |failure: &Failure| {
        let url = &failure.request.as_ref()?.url;
        Some(url.split('?').next().unwrap_or_default().to_owned())
    };
    let (own, its) = (url(failure)?, url(other)?);
    let base = its.strip_suffix(own.get(own.find("/v2/")?..)?)?;
    let (_, rest) = base.split_once("://")?;
    let path = rest.get(rest.find('/')?..)?;
    (path == "/v2" || path.starts_with("/v2/")).then(|| Box::from(base))
}

fn bounded(detail: &str) -> String {
    if detail.chars().count() > LONGEST {
        detail.chars().take(LONGEST - 1).chain(['…']).collect()
    } else {
        detail.to_owned()
    }
}

/// How far a runtime came with a host. Among hosts that do not have the image, the one that knows most speaks, then the last, which is the
/// registry itself; otherwise the first.
fn progress(at: usize, failure: &Failure) -> (u8, u8, isize) {
    let at = isize::try_from(at).unwrap_or(isize::MAX);
    match (&failure.evidence, failure.status) {
        (Evidence::TooLong { .. }, _) => (4, 0, -at),
        (Evidence::TagUnknown { repository_exists: true }, _) => (2, 1, at),
        (_, Some(404)) => (2, 0, at),
        (_, Some(400..)) => (3, 0, -at),
        (_, Some(_) | None) => (1, 0, -at),
    }
}

/// `mirror.example (404 MANIFEST_UNKNOWN)`
fn brief(failure: &Failure) -> String {
    let why = match (failure.status, &failure.code) {
        (Some(status), Some(code)) if status >= 400 => format!("{status} {code}"),
        (Some(status), None) if status >= 400 => status.to_string(),
        _ => failure.evidence.label().replace('_', " "),
    };
    format!("{} ({why})", failure.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::runtime::outcome::{AuthStage, ConnectionFault, ContentFault, Rejection};

    fn failed(host: &str, evidence: Evidence, status: Option<u16>) -> Failure {
        Failure {
            status,
            ..Failure::plain(evidence, host.to_owned())
        }
    }

    fn gone(host: &str, repository_exists: bool) -> Failure {
        failed(host, Evidence::TagUnknown { repository_exists }, Some(404))
    }

    fn down(host: &str) -> Failure {
        failed(host, Evidence::ConnectionFailed(ConnectionFault::Refused), None)
    }

    fn login(host: &str) -> Failure {
        failed(host, Evidence::AuthenticationRequired { at: AuthStage::Basic }, Some(401))
    }

    fn broken(host: &str) -> Failure {
        failed(
            host,
            Evidence::ContentInvalid(ContentFault::NotJson(String::new())),
            Some(200),
        )
    }

    fn rejected(host: &str) -> Failure {
        failed(host, Evidence::Rejected(Rejection::Status), Some(400))
    }

    fn long(host: &str) -> Failure {
        failed(host, Evidence::TooLong { bytes: 5_000_000 }, Some(200))
    }

    #[track_caller]
    fn speaks(doubts: &[Failure], speaking: &[Failure], expected: &str) -> Failure {
        let chosen = choose(doubts.to_vec(), speaking.to_vec()).unwrap();
        assert_eq!(chosen.host, expected, "{chosen:?}");
        chosen
    }

    #[test]
    fn what_is_unknown_outweighs_what_is_known() {
        speaks(&[], &[gone("m", true), down("u")], "u");
        speaks(&[], &[down("m"), gone("u", true)], "m");
        speaks(&[down("m")], &[broken("u")], "m");
        speaks(&[], &[login("m"), down("u")], "u");
    }

    #[test]
    fn a_plain_404_of_a_mirror_leaves_the_word_to_the_next_host() {
        let plain = |host: &str, spoke_before, last| {
            let fails = Box::new(Evidence::TagUnknown {
                repository_exists: false,
            });
            failed(host, Evidence::NoRegistry { fails, spoke_before }, Some(404)).of_host(last)
        };
        let chosen = speaks(&[plain("m", false, false)], &[gone("u", false)], "u");
        assert_eq!(chosen.detail.as_deref(), Some("also asked: m (404)"));
        speaks(&[plain("m", false, false)], &[broken("u")], "u");
        speaks(&[plain("m", false, false)], &[login("u")], "u");
        // The registry itself, a mirror that was a registry before, and one that says anything else, are in trouble.
        speaks(&[plain("m", false, false)], &[plain("u", false, true)], "u");
        speaks(&[gone("m", false)], &[plain("u", false, true)], "u");
        speaks(&[plain("m", true, false)], &[gone("u", false)], "m");
        let fails = Box::new(rejected("m").evidence);
        let page = failed(
            "m",
            Evidence::NoRegistry {
                fails,
                spoke_before: false,
            },
            Some(403),
        )
        .of_host(false);
        speaks(&[page], &[gone("u", false)], "m");
    }

    #[test]
    fn a_second_v2_of_a_mirror_is_remembered() {
        let asked = |host: &str, url: &str| Failure {
            request: Some(crate::runtime::outcome::RequestLine {
                method: "HEAD",
                url: url.to_owned(),
                purpose: crate::runtime::outcome::Purpose::Content,
            }),
            ..gone(host, false)
        };
        let own = asked("u", "https://u/v2/team/app/manifests/1");
        for (url, base) in [
            ("https://m/v2/cache/v2/team/app/manifests/1?ns=u", Some("https://m/v2/cache")),
            ("https://m/v2/v2/team/app/manifests/1", Some("https://m/v2")),
            ("https://m/hub/v2/team/app/manifests/1?ns=u", None),
            ("https://m/v2/team/app/manifests/1", None),
        ] {
            let chosen = speaks(&[asked("m", url)], std::slice::from_ref(&own), "u");
            assert_eq!(chosen.doubled_v2_base.as_deref(), base, "{url}");
        }
    }

    #[test]
    fn a_refusal_that_may_be_lifted_outweighs_what_is_certain() {
        speaks(&[], &[login("m"), gone("u", true)], "m");
        speaks(&[], &[rejected("m"), login("u")], "u");
        speaks(&[login("m")], &[broken("u")], "m");
    }

    #[test]
    fn the_furthest_of_those_that_are_certain() {
        speaks(&[], &[gone("m", false), long("u")], "u");
        speaks(&[], &[long("m"), rejected("u")], "m");
        speaks(&[], &[gone("m", false), rejected("n"), rejected("u")], "n");
        speaks(&[], &[gone("m", false), gone("u", false)], "u");
        speaks(&[], &[gone("m", true), gone("u", false)], "m");
        // What was passed before does not speak.
        speaks(&[rejected("m"), gone("n", true)], &[broken("u")], "u");
        assert_eq!(choose(Vec::new(), Vec::new()), None);
    }

    #[test]
    fn the_others_are_named() {
        let mut upstream = gone("u", true);
        upstream.detail = Some("manifest unknown".to_owned());
        let chosen = speaks(&[], &[gone("m", false), rejected("n"), upstream.clone()], "n");
        assert_eq!(chosen.detail.as_deref(), Some("also asked: m (404), u (404)"));
        let chosen = speaks(&[], &[gone("m", false), upstream.clone()], "u");
        assert_eq!(chosen.detail.as_deref(), Some("manifest unknown; also asked: m (404)"));
        let chosen = speaks(&[], &[upstream], "u");
        assert_eq!(chosen.detail.as_deref(), Some("manifest unknown"));
        let chosen = speaks(&[], &[down("m"), down("u")], "m");
        assert_eq!(chosen.detail.as_deref(), Some("also asked: u (connect)"));
    }
}
