//! Hints, short names, quotas and token servers in words.

use super::super::wording::hint::{HINTS, LONGEST, Situation, Software, by_host, hint};
use super::*;
use crate::image::Digest;
use crate::runtime::containerd::PullPath;
use crate::runtime::outcome::{ConnectionFault, Counted, Level, Quota, ScopeError};
use crate::runtime::{Pool, Runtime};
use crate::verdict::platforms::FoundImage;
use std::time::Duration;

fn topic(reference: &Reference, naming: Naming) -> Topic<'_> {
    Topic {
        reference,
        tried: None,
        namespace: "shop",
        naming,
        pulled: Pulled::Unknown,
    }
}

#[test]
fn hosts_tell_their_software() {
    for (host, software) in [
        ("docker.io", Some(Software::DockerHub)),
        ("ghcr.io", Some(Software::Ghcr)),
        ("GHCR.io:443", Some(Software::Ghcr)),
        ("quay.io", Some(Software::Quay)),
        ("quay.corp.example:8443", Some(Software::Quay)),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", Some(Software::Ecr)),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", Some(Software::Ecr)),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some(Software::Ecr)),
        ("x.dkr.ecr.evil.example", None),
        ("public.ecr.aws", Some(Software::EcrPublic)),
        ("gcr.io", Some(Software::Google)),
        ("eu.gcr.io", Some(Software::Google)),
        ("europe-docker.pkg.dev", Some(Software::Google)),
        ("notgcr.io", None),
        ("acme.azurecr.io", Some(Software::Acr)),
        ("harbor.corp.example", Some(Software::Harbor)),
        ("my-harbor.example", Some(Software::Harbor)),
        ("harbormaster.example", None),
        ("registry.gitlab.example:5050", Some(Software::GitLab)),
        ("acme.jfrog.io", Some(Software::Artifactory)),
        ("docker.artifactory.corp.example", Some(Software::Artifactory)),
        ("nexus.corp.example:8082", Some(Software::Nexus)),
        ("mcr.microsoft.com", None),
        ("registry.k8s.io", None),
        ("[::1]:5000", None),
        ("", None),
    ] {
        assert_eq!(by_host(host), software, "{host}");
    }
}

#[test]
fn hints_are_short_clauses_and_stand_once() {
    for (at, (software, situation, text)) in HINTS.iter().enumerate() {
        assert!(text.chars().count() <= LONGEST, "{} characters: {text}", text.chars().count());
        assert!(text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
        assert!(!text.chars().any(char::is_control), "{text}");
        let place = HINTS.iter().position(|(of, when, _)| (of, when) == (software, situation));
        assert_eq!(place, Some(at), "{software:?} {situation:?} stands twice");
    }
    assert_eq!(hint(None, Situation::Login), None);
}

/// Where nodes may hold the credential, the finding is a warning, and a warning shows the beginning of a fix.
#[test]
fn a_warning_shows_the_hint_whole() {
    for host in [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "europe-west1-docker.pkg.dev",
        "acme.azurecr.io",
    ] {
        let image = format!("{host}/team/app:v1");
        let reference = Reference::parse(&image).unwrap();
        let failure = Failure {
            host: host.to_owned(),
            ..failure(Evidence::AuthenticationRequired { at: AuthStage::Basic })
        };
        let mut finding = finding(&wording::what(&failure, topic(&reference, Naming::Full)), Outlook::Unknown);
        finding.fix = wording::fix(&failure, topic(&reference, Naming::Full));
        let [warning] = warnings(&[judged("app", &image, vec![finding])]).try_into().unwrap();
        let hint = hint(by_host(host), Situation::Login).unwrap();
        assert!(
            warning.chars().count() <= WARNING_LIMIT && warning.contains(hint),
            "{warning}"
        );
    }
}

#[test]
fn a_name_that_the_nodes_complete_is_told_as_they_complete_it() {
    let reference = Reference::parse("search.example:5000/myapp:v1").unwrap();
    let failure = Failure {
        host: "search.example:5000".to_owned(),
        status: Some(404),
        ..failure(Evidence::TagUnknown { repository_exists: true })
    };
    let message = wording::what(&failure, topic(&reference, Naming::Completed));
    let start = "no registry is named, and the nodes make it search.example:5000/myapp: repository \"myapp\" exists";
    assert!(message.starts_with(start), "{message}");
    assert!(!wording::fix(&failure, topic(&reference, Naming::Completed)).contains("Docker Hub"));
}

#[test]
fn a_name_without_a_registry_is_docker_hubs() {
    let reference = Reference::parse("myapp:v1").unwrap();
    let short = topic(&reference, Naming::Short);
    let hub = |evidence, status| Failure {
        host: "registry-1.docker.io".to_owned(),
        status: Some(status),
        ..failure(evidence)
    };
    let note = "no registry is named, so this is docker.io/library/myapp: ";
    let missing = [
        hub(Evidence::RepositoryUnknown, 404),
        hub(Evidence::TagUnknown { repository_exists: true }, 404),
        hub(Evidence::DigestUnknown, 404),
        hub(Evidence::AuthenticationRequired { at: AuthStage::Registry }, 401),
        hub(
            Evidence::InsufficientScope {
                with_credential: false,
                error: ScopeError::Named,
            },
            401,
        ),
        hub(
            Evidence::Forbidden {
                address_bound: false,
                with_credential: false,
            },
            403,
        ),
    ];
    for failure in &missing {
        let message = wording::what(failure, short);
        assert!(message.starts_with(note), "{message}");
        assert_eq!(message.matches("no registry is named").count(), 1, "{message}");
        let fix = wording::fix(failure, short);
        assert!(fix.contains("write the registry in front of the name"), "{fix}");
        let full = topic(&reference, Naming::Full);
        assert!(!wording::what(failure, full).contains("no registry is named"));
        assert!(!wording::fix(failure, full).contains("in front of the name"));
    }
    for other in [
        hub(Evidence::RateLimited, 429),
        hub(Evidence::ConnectionFailed(ConnectionFault::Refused), 0),
        hub(
            Evidence::Forbidden {
                address_bound: false,
                with_credential: false,
            },
            451,
        ),
    ] {
        assert!(!wording::what(&other, short).contains("no registry"), "{other:?}");
        assert!(!wording::fix(&other, short).contains("in front of"), "{other:?}");
    }
}

#[test]
fn token_servers_in_containerds_words() {
    let reference = Reference::parse("r.example/app:1").unwrap();
    let resolve = "failed to pull and unpack image \"r.example/app:1\": failed to resolve image: ";
    let url = "https://r.example/v2/token?service=s";
    let asked = |evidence, status, method, purpose| {
        let failure = Failure {
            status,
            request: Some(RequestLine {
                method,
                url: url.to_owned(),
                purpose,
            }),
            ..failure(evidence)
        };
        kubelet::predict(&failure, &reference, Some(PullPath::Transfer))
            .unwrap()
            .message
    };
    let anonymous = format!("{resolve}failed to authorize: failed to fetch anonymous token: ");
    let oauth = format!("{resolve}failed to authorize: failed to fetch oauth token: ");
    assert_eq!(
        asked(Evidence::RateLimited, Some(429), "GET", Purpose::AnonymousToken),
        format!("{anonymous}unexpected status from GET request to {url}: 429 Too Many Requests")
    );
    // With a credential it is an oauth token, by GET too.
    assert_eq!(
        asked(Evidence::RateLimited, Some(429), "GET", Purpose::OauthToken),
        format!("{oauth}unexpected status from GET request to {url}: 429 Too Many Requests")
    );
    assert_eq!(
        asked(
            Evidence::ServerError { token_server: true },
            Some(503),
            "POST",
            Purpose::OauthToken
        ),
        format!("{oauth}unexpected status from POST request to {url}: 503 Service Unavailable")
    );
    assert_eq!(
        asked(
            Evidence::ConnectionFailed(ConnectionFault::Interrupted),
            None,
            "GET",
            Purpose::AnonymousToken
        ),
        format!("{anonymous}Get \"{url}\": EOF")
    );
    assert_eq!(
        asked(Evidence::RateLimited, Some(429), "HEAD", Purpose::Content),
        format!("{resolve}unexpected status from HEAD request to {url}: 429 Too Many Requests")
    );
}

#[test]
fn quotas_in_words() {
    let reference = Reference::parse("nginx:1").unwrap();
    let quota = |remaining, window| Quota {
        remaining,
        limit: Some(100),
        window,
        counted: Counted::NotSaid,
    };
    let six_hours = Some(Duration::from_hours(6));
    let said = |one| wording::quota(one, &reference).map(|(message, _)| message);
    assert_eq!(said(quota(11, six_hours)), None);
    assert_eq!(quota(5, None).level(), Level::Plenty, "a count of requests, not of pulls");
    let low = said(quota(10, six_hours)).unwrap();
    assert!(
        low.contains("docker.io says: 10 of 100 pulls left in the window of 6 h"),
        "{low}"
    );
    let odd = said(quota(1, Some(Duration::from_secs(90)))).unwrap();
    assert!(odd.contains("1 of 100 pulls left in the window of 90 s"), "{odd}");
    let none = said(quota(0, None)).unwrap();
    assert!(none.contains("used up, 0 of 100 pulls left in the window ("), "{none}");
    let unknown = Quota {
        limit: None,
        ..quota(0, None)
    };
    assert!(said(unknown).unwrap().contains("is used up (nodes"));
}

#[test]
fn schema_1_fails_for_sure_where_every_runtime_refuses_it() {
    use super::super::platforms::{Audience, Group, PlatformSource, Use, judge};
    use crate::image::Platform;
    let reference = Reference::parse("r.example/app:1").unwrap();
    let outlook = |runtimes: &[&str], unknown| {
        let group = |runtime: &&str| Group {
            platform: Platform::of_node("linux", "amd64", ""),
            runtimes: Runtime::of_node(runtime).unwrap_or_else(Runtime::unknown),
            pool: Pool::default(),
            tolerated: 1,
            tainted: 0,
            names: Vec::new(),
            storage: Vec::new(),
        };
        let audience = Audience {
            groups: runtimes.iter().map(group).collect(),
            source: PlatformSource::Nodes,
            doubt: None,
            picked: false,
            unknown,
            ..Audience::default()
        };
        let facts = ImageFacts {
            digest: Digest::sha256(b"x"),
            media_type: String::new(),
            content: Content::Schema1,
            quota: None,
            authenticated: false,
            stale: false,
            builds: Vec::new(),
        };
        judge(&FoundImage::by_all(&facts), &reference, &audience, Use::Container).findings[0].outlook
    };
    let new = "containerd://2.1.4";
    assert_eq!(outlook(&[new, "containerd://2.3.0"], 0), Outlook::WillFail);
    for other in [
        "containerd://2.0.5",
        "containerd://1.7.27",
        "containerd://1.6.20",
        "cri-o://1.33.0",
        "docker://20.10",
        "containerd://dev",
    ] {
        assert_eq!(outlook(&[other], 0), Outlook::MayFail, "{other}");
        assert_eq!(outlook(&[new, other], 0), Outlook::MayFail, "{other}");
    }
    assert_eq!(outlook(&[new], 1), Outlook::MayFail);
    assert_eq!(outlook(&[], 0), Outlook::MayFail);
}
