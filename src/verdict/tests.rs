//! Words, limits and the one ordered list of softening rules.

use super::decision::{Pending, PolicyMessage};
use super::kubelet;
use super::message::{WARNING_LIMIT, WARNINGS_LIMIT, denial, warnings};
use super::review_result::{Handling, Judged};
use super::soften::{Context, Owner, Peers, Presence, PresenceRule, Verification, soften};
use super::wording::{self, Naming, Pulled, Topic};
use super::*;
use crate::image::Reference;
use crate::runtime::containerd::PullPath;
use crate::runtime::outcome::{AuthStage, Evidence, Failure, Purpose, RequestLine};
use crate::workload::{FieldPath, ImageUse, ObjectId, PullPolicy, Role};
use std::sync::Arc;

fn failure(evidence: Evidence) -> Failure {
    Failure {
        status: Some(404),
        code: Some("MANIFEST_UNKNOWN".to_owned()),
        request: Some(RequestLine {
            method: "HEAD",
            url: "https://myacr.azurecr.io/v2/api/manifests/v99".to_owned(),
            purpose: Purpose::Content,
        }),
        suggestions: vec!["v9".to_owned(), "v2.1".to_owned(), "v2".to_owned()],
        ..Failure::plain(evidence, "myacr.azurecr.io".to_owned())
    }
}

fn finding(message: &str, outlook: Outlook) -> Finding {
    Finding {
        cause: Cause::TagNotFound,
        outlook,
        message: message.to_owned(),
        fix: "do this".to_owned(),
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

fn judged(name: &str, image: &str, findings: Vec<Finding>) -> Judged {
    Judged {
        image: ImageUse {
            path: FieldPath::root().field("spec.containers").index(0).field("image"),
            name: name.to_owned(),
            role: Role::Container,
            image: image.to_owned(),
            pull_policy: PullPolicy::Always,
            unchanged: false,
            stream: None,
            later: None,
        },
        reference: Reference::parse(image).ok(),
        remark: None,
        judgement: Judgement::from_findings(findings),
        handling: Handling::Judged,
    }
}

#[test]
fn the_denial_of_the_design() {
    let reference = Reference::parse("myacr.azurecr.io/api:v99").unwrap();
    let failure = failure(Evidence::TagUnknown { repository_exists: true });
    let topic = Topic {
        reference: &reference,
        tried: None,
        namespace: "shop",
        naming: Naming::Full,
        pulled: Pulled::Unknown,
    };
    let finding = Finding {
        cause: Cause::TagNotFound,
        outlook: Outlook::WillFail,
        message: wording::what(&failure, topic),
        fix: wording::fix(&failure, topic),
        kubelet: kubelet::predict(&failure, &reference, Some(PullPath::Transfer)),
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    };
    let object = ObjectId {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "api".to_owned(),
    };
    let images = [
        judged("api", "myacr.azurecr.io/api:v99", vec![finding]),
        judged("b", "b:1", Vec::new()),
        judged("c", "c:1", Vec::new()),
    ];
    assert_eq!(
        denial(&object, &images),
        "1 of 3 images of Deployment shop/api would fail to pull\n\
         \x20 container api: myacr.azurecr.io/api:v99\n\
         \x20   TagNotFound: repository \"api\" exists, tag \"v99\" does not (404 MANIFEST_UNKNOWN)\n\
         \x20   the kubelet would show: ErrImagePull ... myacr.azurecr.io/api:v99: not found\n\
         \x20   fix: use a tag that exists (closest: v9, v2.1, v2), or push v99"
    );
    let message = kubelet::predict(&failure, &reference, Some(PullPath::Transfer))
        .unwrap()
        .message;
    assert_eq!(
        message,
        "rpc error: code = NotFound desc = failed to pull and unpack image \"myacr.azurecr.io/api:v99\": failed to resolve image: myacr.azurecr.io/api:v99: not found"
    );
}

#[test]
fn nobody_is_asked_to_check_a_host_that_nobody_wrote() {
    let fix = |image: &str, host: &str| {
        let reference = Reference::parse(image).unwrap();
        let failure = Failure::plain(Evidence::NameNotResolved, host.to_owned());
        let topic = Topic {
            reference: &reference,
            tried: None,
            namespace: "shop",
            naming: Naming::Full,
            pulled: Pulled::Unknown,
        };
        wording::fix(&failure, topic)
    };
    assert_eq!(
        fix("docker.io/library/nginx:1", "registry-1.docker.io"),
        "check that the nodes can resolve registry-1.docker.io, which they ask for images of docker.io"
    );
    assert_eq!(
        fix("reg.example:5000/a:1", "reg.example:5000"),
        "check the spelling of reg.example:5000, and that the nodes can resolve it"
    );
}

#[test]
fn warnings_are_one_line_and_bounded() {
    let long = "why ".repeat(200);
    let images: Vec<Judged> = (0..100)
        .map(|n| {
            let name = format!("container-{n}\n\t\u{1b}[31m{}", "x".repeat(200));
            judged(
                &name,
                &format!("reg.example/{}:{n}", "a/".repeat(90)),
                vec![finding(&long, Outlook::Unknown)],
            )
        })
        .collect();
    let all = warnings(&images);
    assert!(all.len() > 10);
    for warning in &all {
        assert!(warning.chars().count() <= WARNING_LIMIT, "{warning}");
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
    }
    assert!(all.iter().map(|warning| warning.chars().count()).sum::<usize>() <= WARNINGS_LIMIT);
    assert!(all.last().unwrap().contains("more warnings"), "{all:?}");
}

#[test]
fn a_warning_says_container_image_cause_why_and_fix() {
    let images = [judged(
        "api",
        "reg.example/api:1",
        vec![finding("the tag is not there", Outlook::MayFail)],
    )];
    assert_eq!(
        warnings(&images),
        ["container api: reg.example/api:1: TagNotFound: the tag is not there; do this"]
    );
}

#[test]
fn a_warning_begins_with_what_will_be_denied_and_ends_with_the_policys_words() {
    let mut images = [judged("api", "reg.example/api:1", vec![finding("why", Outlook::WillFail)])];
    let mut warned = |pending: Pending, message: Option<PolicyMessage>| {
        images[0].judgement.verdict = Verdict::Warn;
        for decision in &mut images[0].judgement.decisions {
            decision.verdict = Verdict::Warn;
            decision.policy.clone_from(&pending.policy);
            decision.pending = Some(pending.clone());
            decision.policy_message = message.clone().map(Arc::new);
        }
        warnings(&images).remove(0)
    };
    let pending = |policy: Option<&str>, from: Option<&str>| Pending {
        policy: policy.map(Arc::from),
        from: from.map(str::to_owned),
    };
    let rest = "container api: reg.example/api:1: TagNotFound: why; do this";
    for (pending, begins) in [
        (pending(Some("p"), Some("15 January")), "will be denied from 15 January"),
        (pending(Some("p"), None), "will be denied once policy p is enforced"),
        (pending(None, None), "will be denied once pullgate is enforced here"),
    ] {
        assert_eq!(warned(pending, None), format!("{begins}: {rest}"));
    }
    let asking = |message: &str| PolicyMessage {
        message: Some(message.to_owned()),
        link: Some("https://wiki.corp/images".to_owned()),
    };
    let soon = || pending(Some("p"), Some("15 January"));
    assert_eq!(
        warned(soon(), Some(asking("Ask #platform."))),
        format!("will be denied from 15 January: {rest}; Ask #platform. (https://wiki.corp/images)")
    );
    // The link is never cut.
    let long = warned(soon(), Some(asking(&"x".repeat(300))));
    assert!(long.ends_with("\u{2026} (https://wiki.corp/images)"), "{long}");
    assert!(long.chars().count() <= 2 * WARNING_LIMIT + 2, "{long}");
}

#[test]
fn a_denial_says_by_which_policy_and_what_its_author_says() {
    let mut images = [judged("api", "reg.example/api:1", vec![finding("why", Outlook::WillFail)])];
    let mut denied = |outlook: Outlook| {
        images[0].judgement.findings[0].outlook = outlook;
        images[0].judgement.verdict = Verdict::Deny;
        let decision = &mut images[0].judgement.decisions[0];
        (decision.verdict, decision.enforced) = (Verdict::Deny, Verdict::Deny);
        decision.policy = Some("prod-digests".into());
        decision.policy_message = Some(Arc::new(PolicyMessage {
            message: Some("Ask #platform.".to_owned()),
            link: None,
        }));
        denial(&ObjectId::default(), &images)
    };
    let own = denied(Outlook::WillFail);
    assert!(
        own.ends_with("\n    fix: do this\n    denied by policy prod-digests\n    Ask #platform."),
        "{own}"
    );
    let harder = denied(Outlook::Unknown);
    assert!(
        harder.contains("\n    denied by policy prod-digests, which answers Unknown with Deny\n"),
        "{harder}"
    );
}

#[test]
fn passwords_in_names_are_not_shown() {
    let images = [judged(
        "api",
        "user:s3cret@reg.example/api:1",
        vec![finding("why", Outlook::WillFail)],
    )];
    let text = denial(&ObjectId::default(), &images);
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn nothing_hardens_an_outlook() {
    let evidence = [
        Evidence::TagUnknown { repository_exists: true },
        Evidence::AuthenticationRequired { at: AuthStage::Basic },
        Evidence::RateLimited,
        Evidence::Forbidden {
            address_bound: true,
            with_credential: false,
        },
    ];
    for presence in [
        Presence::Nowhere,
        Presence::Some(Verification::Never),
        Presence::Some(Verification::Possible),
        Presence::All(Verification::Never),
        Presence::All(Verification::Possible),
        Presence::ById,
    ] {
        for owner in [Owner::Nobody, Owner::UnjudgedController] {
            for bits in 0..128u8 {
                let context = Context {
                    node_credentials: bits & 1 > 0,
                    node_unanswered: (bits & 16 > 0).then(|| "unanswered".to_owned()),
                    secret_may_come: bits & 4 > 0,
                    hidden: (bits & 8 > 0).then(|| "hidden".to_owned()),
                    exemption_hidden: (bits & 32 > 0).then(|| "unread".to_owned()),
                    runs: (bits & 64 > 0).then(|| "reg.example/a:1".to_owned()),
                    other_image: (bits & 16 > 0).then_some("another image may run"),
                    presence,
                    peers: [Peers::None, Peers::Lack, Peers::MayHold, Peers::Hold][usize::from(bits & 3)],
                    presence_rule: if bits & 4 > 0 {
                        PresenceRule::Hide
                    } else {
                        PresenceRule::Soften
                    },
                    unmounted: bits & 64 > 0 && bits & 2 > 0,
                    stale: bits & 9 == 9,
                    owner,
                };
                for one in &evidence {
                    let failure = failure(one.clone());
                    let (_, base) = cause::base(one);
                    let (outlook, notes) = soften(base, Some(&failure), &context);
                    assert!(outlook <= base, "{one:?} {context:?}");
                    assert_eq!(outlook == base, notes.is_empty(), "{one:?} {context:?}");
                }
            }
        }
    }
}

#[test]
fn every_cause_has_a_section() {
    let text = include_str!("../../docs/causes.md");
    for cause in Cause::ALL {
        assert!(
            text.contains(&format!("\n## {}\n", cause.name())),
            "docs/causes.md has no section {}",
            cause.name()
        );
    }
}

mod answers;
mod hints;

mod kubelet_words;
