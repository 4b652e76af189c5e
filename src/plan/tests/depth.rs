//! What was found of builds and layers, to outlooks; sizes, and what is too large.

use super::*;
use crate::policy::{Modes, Policies, Policy, PolicyLocation, Requester};
use crate::runtime::Puller;
use crate::runtime::content::BlobRef;
use crate::runtime::outcome::Build;
use crate::verdict::size::Size;

const MT: &str = "application/vnd.oci.image.manifest.v1+json";

fn deep() -> PlanSettings {
    PlanSettings {
        depth: Depth::Layers,
        ..settings()
    }
}

fn entry(arch: &str) -> IndexEntry {
    IndexEntry {
        digest: format!("sha256:{arch}"),
        media_type: MT.to_owned(),
        platform: (arch != "none").then(|| platform(arch)),
        size: 1,
    }
}

fn image(arch: &str, size: u64) -> Content {
    Content::Image {
        platform: Some(platform(arch)),
        body: Body {
            size: Some(size),
            ..Body::default()
        },
    }
}

/// The build behind `entry(arch)`.
fn build(arch: &str, content: Result<Content, Failure>) -> Build {
    Build {
        digest: format!("sha256:{arch}"),
        media_type: MT.to_owned(),
        content,
        troubles: Vec::new(),
    }
}

fn facts_of(archs: &[&str], builds: Vec<Build>) -> Result<ImageFacts, Failure> {
    found(Content::Index(archs.iter().map(|arch| entry(arch)).collect())).map(|facts| ImageFacts { builds, ..facts })
}

fn gone() -> Failure {
    failure(
        Evidence::ContentMissing {
            part: "layer",
            digest: "sha256:1".to_owned(),
            media_type: "m".to_owned(),
        },
        404,
    )
}

fn down() -> Failure {
    failure(Evidence::ConnectionFailed(ConnectionFault::Refused), 0)
}

fn nodes(archs: &[&str]) -> Facts {
    Facts {
        nodes: Arc::new(
            archs
                .iter()
                .enumerate()
                .map(|(at, arch)| node(&format!("n{at}"), arch))
                .collect(),
        ),
        ..facts()
    }
}

fn judged(nodes_of: &[&str], answer: &Result<ImageFacts, Failure>) -> Judgement {
    judge_with(&pod("reg.example/a:1", &[]), &nodes(nodes_of), &deep(), answer).remove(0)
}

fn outlook(nodes_of: &[&str], answer: &Result<ImageFacts, Failure>) -> Outlook {
    judged(nodes_of, answer).outlook
}

#[test]
fn a_build_that_is_broken_fails_those_who_would_take_it() {
    let both = ["amd64", "arm64"];
    for (amd, arm, on_amd, on_both) in [
        (None, Some(gone()), Outlook::Pulls, Outlook::MayFail),
        (Some(gone()), None, Outlook::WillFail, Outlook::MayFail),
        (Some(gone()), Some(gone()), Outlook::WillFail, Outlook::WillFail),
        (Some(down()), None, Outlook::Unknown, Outlook::Unknown),
        (None, Some(down()), Outlook::Pulls, Outlook::Unknown),
        // What is not known may pull.
        (Some(gone()), Some(down()), Outlook::WillFail, Outlook::MayFail),
    ] {
        for in_manifest in [true, false] {
            let of = |arch: &str, trouble: &Option<Failure>| match trouble {
                Some(failure) if in_manifest => build(arch, Err(failure.clone())),
                trouble => Build {
                    troubles: trouble.iter().cloned().collect(),
                    ..build(arch, Ok(image(arch, 1)))
                },
            };
            let answer = facts_of(&both, vec![of("amd64", &amd), of("arm64", &arm)]);
            assert_eq!(outlook(&["amd64"], &answer), on_amd, "{amd:?} {arm:?} on amd64");
            assert_eq!(outlook(&both, &answer), on_both, "{amd:?} {arm:?} on both");
        }
    }
}

#[test]
fn where_no_node_is_known_a_broken_build_denies_nothing() {
    let answer = facts_of(&["amd64", "arm64"], vec![build("amd64", Err(gone()))]);
    let judgement = judged(&[], &answer);
    assert_eq!(judgement.outlook, Outlook::MayFail, "linux/amd64 is a guess");
    assert!(judgement.findings[0].message.contains("linux/amd64"));
}

#[test]
fn a_mismatch_and_a_broken_build_together_fail_everybody() {
    let answer = facts_of(&["arm64"], vec![build("arm64", Err(gone()))]);
    let judgement = judged(&["amd64", "arm64"], &answer);
    assert_eq!(judgement.outlook, Outlook::WillFail);
    assert_eq!(causes(&judgement), [Cause::PlatformMismatch, Cause::ContentMissing]);
    let unknown = facts_of(&["arm64"], vec![build("arm64", Err(down()))]);
    assert_eq!(outlook(&["amd64", "arm64"], &unknown), Outlook::MayFail);
}

#[test]
fn configs_decide_where_entries_do_not() {
    let none = |arch: &str| facts_of(&["none"], vec![build("none", Ok(image(arch, 1)))]);
    assert_eq!(outlook(&["amd64"], &none("amd64")), Outlook::Pulls);
    let judgement = judged(&["amd64"], &none("arm64"));
    assert_eq!(
        (judgement.outlook, causes(&judgement)),
        (Outlook::WillFail, vec![Cause::PlatformMismatch])
    );
    assert_eq!(judgement.platforms, ["linux/arm64"]);
    // Where an entry says something, its config only decides whether the container starts.
    let foreign = facts_of(&["amd64"], vec![build("amd64", Ok(image("arm64", 1)))]);
    let judgement = judged(&["amd64"], &foreign);
    assert_eq!(
        (judgement.outlook, causes(&judgement)),
        (Outlook::FailsToRun, vec![Cause::ArchitectureMismatch])
    );
    let unread = facts_of(&["none"], Vec::new());
    assert_eq!(outlook(&["amd64"], &unread), Outlook::Pulls, "nothing was looked at");
}

#[test]
fn an_index_that_lists_itself_over_and_over_comes_to_an_end() {
    let same: Vec<IndexEntry> = (0..2000).map(|_| entry("none")).collect();
    let nested = Build {
        media_type: MT.to_owned(),
        ..build("none", Ok(Content::Index(same.clone())))
    };
    let answer = found(Content::Index(same)).map(|facts| ImageFacts {
        builds: vec![nested],
        ..facts
    });
    assert_eq!(outlook(&["amd64", "arm"], &answer), Outlook::Pulls, "nothing is known");
}

#[test]
fn layers_of_a_single_manifest() {
    let with = |troubles: Vec<Failure>| {
        found(image("amd64", 5)).map(|facts| ImageFacts {
            builds: vec![Build {
                digest: facts.digest.to_string(),
                troubles,
                ..build("", Ok(image("amd64", 5)))
            }],
            ..facts
        })
    };
    for (troubles, expected) in [
        (vec![], Outlook::Pulls),
        (vec![gone()], Outlook::WillFail),
        (vec![down(), gone(), gone()], Outlook::WillFail),
        (vec![down()], Outlook::Unknown),
    ] {
        for on in [&["amd64"][..], &[], &["amd64", "arm64"]] {
            let judgement = judged(on, &with(troubles.clone()));
            let worst = judgement
                .findings
                .iter()
                .filter(|finding| finding.cause != Cause::ArchitectureMismatch)
                .map(|finding| finding.outlook)
                .max()
                .unwrap_or(Outlook::Pulls);
            assert_eq!(worst, expected, "{troubles:?} on {on:?}");
        }
    }
    // What nodes hold need not be fetched.
    let mut holder = node("n1", "amd64");
    holder.images = ["reg.example/a:1"].into_iter().collect();
    let held = Facts {
        nodes: Arc::new(vec![holder]),
        ..facts()
    };
    for trouble in [gone(), down()] {
        let judgement = judge_with(&pod("reg.example/a:1", &[]), &held, &deep(), &with(vec![trouble])).remove(0);
        assert_eq!(judgement.outlook, Outlook::Pulls);
    }
}

#[test]
fn a_layer_from_elsewhere_may_fail() {
    let elsewhere = Evidence::ForeignUrls {
        part: "layer",
        host: "mcr.example".to_owned(),
        digest: "sha256:1".to_owned(),
    };
    let answer = facts_of(
        &["amd64"],
        vec![Build {
            troubles: vec![failure(elsewhere, 0)],
            ..build("amd64", Ok(image("amd64", 1)))
        }],
    );
    let judgement = judged(&["amd64"], &answer);
    assert_eq!(
        (judgement.outlook, causes(&judgement)),
        (Outlook::MayFail, vec![Cause::ContentMissing])
    );
    assert!(judgement.findings[0].message.contains("mcr.example"));
}

#[test]
fn a_data_endpoint_is_named_with_what_it_takes() {
    let mut failure = failure(
        Evidence::Redirected {
            by: "shop.azurecr.io".to_owned(),
            fails: Box::new(Evidence::NameNotResolved),
        },
        0,
    );
    failure.host = "shop.westeurope.data.azurecr.io".to_owned();
    let judgement = judged(&["amd64"], &facts_of(&["amd64"], vec![build("amd64", Err(failure))]));
    let finding = &judgement.findings[0];
    assert_eq!((finding.cause, finding.outlook), (Cause::DnsFailure, Outlook::Unknown));
    assert!(
        finding
            .message
            .starts_with("shop.azurecr.io redirects to shop.westeurope.data.azurecr.io")
    );
    assert!(finding.fix.contains("nodes reach shop.westeurope.data.azurecr.io") && finding.fix.contains("*.data.azurecr.io"));
}

#[test]
fn questions_differ_by_depth_and_by_who_would_fetch() {
    let mut selecting = pod("reg.example/a:1", &[]);
    selecting["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    let checks = |object: &Value, settings: &PlanSettings| {
        let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
        plan(&workload, &nodes(&["amd64", "arm64"]), settings).checks
    };
    let shallow = checks(&selecting, &settings()).remove(0);
    assert_eq!(shallow.depth, Depth::Manifest);
    let some = checks(&selecting, &deep()).remove(0);
    let all = checks(&pod("reg.example/a:1", &[]), &deep()).remove(0);
    assert_eq!(some.depth, Depth::Layers);
    // The nodes run a containerd that does not look at `os.features`, which their platform says.
    let of_arm64 = |puller: &Puller| puller.platform.os == "linux" && puller.platform.architecture == "arm64";
    assert!(some.pullers.iter().all(of_arm64));
    assert_eq!(all.pullers.len(), 2 * some.pullers.len());
}

fn sizes(judgement: &Judgement) -> Vec<(&str, u64)> {
    judgement
        .sizes
        .iter()
        .map(|Size { platform, bytes }| (platform.as_str(), *bytes))
        .collect()
}

#[test]
fn sizes_are_those_of_what_each_platform_would_take() {
    let both = facts_of(
        &["amd64", "arm64"],
        vec![build("amd64", Ok(image("amd64", 10))), build("arm64", Ok(image("arm64", 30)))],
    );
    let judgement = judged(&["amd64", "arm64", "amd64"], &both);
    assert_eq!(sizes(&judgement), [("linux/amd64", 10), ("linux/arm64", 30)]);
    assert_eq!(judgement.size(), Some(30));
    assert_eq!(judged(&["amd64"], &both).size(), Some(10));
    assert_eq!(judged(&["amd64"], &facts_of(&["amd64"], Vec::new())).size(), None);
    let single = judged(&["amd64", "arm64"], &found(image("amd64", 7)));
    assert_eq!(sizes(&single), [("linux/amd64", 7), ("linux/arm64", 7)]);
    let broken = facts_of(&["amd64"], vec![build("amd64", Err(gone()))]);
    assert_eq!(judged(&["amd64"], &broken).size(), None);
}

#[test]
fn too_large_for_the_nodes() {
    let with_storage = |storage: &[Option<&str>]| {
        let node = |(at, storage): (usize, Option<&str>)| {
            let mut object = json!({"metadata": {"name": format!("n{at}")}, "status": {"nodeInfo": {
                "operatingSystem": "linux", "architecture": "amd64", "containerRuntimeVersion": "containerd://1.7.1"}}});
            if let Some(storage) = storage {
                object["status"]["allocatable"] = json!({"ephemeral-storage": storage});
            }
            Node::from_json(&object)
        };
        Facts {
            nodes: Arc::new(storage.iter().copied().enumerate().map(node).collect()),
            ..facts()
        }
    };
    let judge = |storage: &[Option<&str>]| {
        let image = found(image("amd64", 3 << 30));
        judge_with(&pod("reg.example/a:1", &[]), &with_storage(storage), &settings(), &image).remove(0)
    };
    assert_eq!(judge(&[Some("3Gi"), None]).outlook, Outlook::Pulls);
    let some = judge(&[Some("100Gi"), Some("2Gi"), None]);
    assert_eq!((some.outlook, causes(&some)), (Outlook::MayFail, vec![Cause::ImageTooLarge]));
    let message = &some.findings[0].message;
    assert!(
        message.contains("3.0 GiB") && message.contains("1 of 2") && message.contains("2.0 GiB"),
        "{message}"
    );
}

#[test]
fn too_large_for_a_policy() {
    let object = |spec: &Value| json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "small"}, "spec": spec});
    let policies = |spec: &Value| {
        let policy = Policy::compile(&object(spec), PolicyLocation::Cluster).unwrap_or_else(|problems| panic!("{problems:?}"));
        Policies::new(vec![Arc::new(policy)])
    };
    let pod = pod("reg.example/a:1", &[]);
    let workload = extract(&pod, None, "ns", &Kinds::default()).unwrap();
    let judged = |spec: &Value, bytes: u64| {
        let matching = matching(
            &workload,
            &facts(),
            &policies(spec),
            &Requester::default(),
            std::slice::from_ref(&workload.object.kind),
            super::policies::circumstances(&Modes::default()),
        );
        let mut plan = crate::plan::plan(&workload, &facts(), &settings(), &NodeCredentials::default(), &matching);
        assert_eq!(plan.checks[0].depth, Depth::Sizes, "a limit makes the sizes be looked for");
        assert!(!plan.checks[0].pullers.is_empty());
        let result = facts_of(&["amd64"], vec![build("amd64", Ok(image("amd64", bytes)))]);
        let outcome = Attempts {
            attempts: vec![Attempt { source: None, result }],
            ..Attempts::default()
        };
        decide(&mut plan, &[outcome]).remove(0)
    };
    let limit = json!({"size": {"max": "1Gi"}});
    assert_eq!(judged(&limit, 1 << 30).verdict, Verdict::Allow);
    let over = judged(&limit, (1 << 30) + 1);
    assert_eq!((over.outlook, over.verdict), (Outlook::MayFail, Verdict::Warn));
    assert_eq!(causes(&over), [Cause::ImageTooLarge]);
    let finding = &over.findings[0];
    assert!(
        finding.message.contains("policy \"small\" allows at most 1.0 GiB"),
        "{}",
        finding.message
    );
    assert!(finding.fix.contains("size.max"));
    let denying = json!({"size": {"max": "1Gi"}, "actions": {"ImageTooLarge": "Deny"}});
    assert_eq!(judged(&denying, 2 << 30).verdict, Verdict::Deny);
}

#[test]
fn blobs_count_for_nothing_but_size() {
    let blob = BlobRef {
        part: "layer",
        digest: "sha256:1".to_owned(),
        media_type: String::new(),
        size: 1,
        elsewhere: Some("mcr.example".to_owned()),
    };
    let body = Body {
        size: Some(1),
        blobs: vec![blob],
        ..Body::default()
    };
    let content = Content::Image {
        platform: Some(platform("amd64")),
        body,
    };
    assert_eq!(
        outlook(&["amd64"], &found(content)),
        Outlook::Pulls,
        "at depth manifest nobody asks"
    );
}
