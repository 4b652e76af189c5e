use super::*;
use crate::verdict::Judgement;
use crate::verdict::finding::FindingEvidence;
use crate::workload::{Kinds, extract};
use serde_json::{Value, json};

fn digest() -> Digest {
    Digest::sha256(b"index")
}

fn judged(image: &ImageUse, judgement: Judgement, handling: Handling) -> Judged {
    Judged {
        image: image.clone(),
        reference: Reference::parse(&image.image).ok(),
        remark: None,
        judgement,
        handling,
    }
}

fn found(digest: &Digest) -> Judgement {
    let mut judgement = Judgement::allowed();
    judgement.digest = Some(digest.clone());
    judgement
}

fn pod(images: &[&str]) -> Workload {
    let containers: Vec<Value> = images.iter().map(|image| json!({"name": "c", "image": image})).collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}});
    extract(&pod, None, "shop", &Kinds::default()).unwrap()
}

fn outcomes(images: &[&str], judgement: &Judgement, handling: Handling) -> Vec<Outcome> {
    let mut workload = pod(images);
    reduce(&mut workload)
        .iter()
        .map(|(image, stand)| {
            let judged = is_asked(stand).then(|| judged(image, judgement.clone(), handling));
            outcome(image, stand, judged.as_ref(), None)
        })
        .collect()
}

#[test]
fn the_digest_goes_behind_the_name_as_it_is_written() {
    let digest = digest();
    let tagged = Outcome::Pin(format!("@{digest}"));
    let untagged = Outcome::Pin(format!(":latest@{digest}"));
    let images = [
        "nginx:1.25",
        "docker.io/library/nginx:1.25",
        "localhost:5000/a/b:v1_2-3",
        "nginx",
        "localhost:5000/a",
        "a/b",
    ];
    let found = outcomes(&images, &found(&digest), Handling::Judged);
    assert_eq!(found[..3], [tagged.clone(), tagged.clone(), tagged]);
    assert_eq!(found[3..], [untagged.clone(), untagged.clone(), untagged]);
}

#[test]
fn what_has_a_digest_keeps_it_and_is_asked_by_its_tag() {
    let (old, new) = (Digest::sha256(b"old"), digest());
    let (with_tag, alone) = (format!("reg.test/a:1@{old}"), format!("reg.test/a@{old}"));
    let mut workload = pod(&[&with_tag, "", &alone, "reg.test/b:2"]);
    let all = reduce(&mut workload);
    let asked: Vec<&str> = workload.templates[0].uses.iter().map(|image| image.image.as_str()).collect();
    assert_eq!(asked, ["reg.test/a:1", "reg.test/b:2"]);
    assert_eq!(all[0].0.image, with_tag, "what is said of it names it as it is written");
    let images = [with_tag.as_str(), alone.as_str()];
    let moved = outcomes(&images, &found(&new), Handling::Judged);
    assert_eq!(moved, [Outcome::Pinned(Some(new)), Outcome::Pinned(None)]);
    let stayed = outcomes(&images, &found(&old), Handling::Judged);
    assert_eq!(stayed, [Outcome::Pinned(None), Outcome::Pinned(None)]);
    let unknown = outcomes(&images, &Judgement::allowed(), Handling::Judged);
    assert_eq!(unknown, [Outcome::Pinned(None), Outcome::Pinned(None)]);
    // With another algorithm the same content has another digest.
    let long = format!("reg.test/a:1@sha512:{}", "0".repeat(128));
    assert_eq!(
        outcomes(&[&long], &found(&digest()), Handling::Judged),
        [Outcome::Pinned(None)]
    );
}

#[test]
fn what_is_not_for_pinning_is_left_with_a_reason() {
    for image in [
        "{{ .Values.image }}",
        "reg.test/a:$(TAG)",
        "reg.test/a:${TAG}",
        "reg.test/a:${TAG:-1}",
    ] {
        let mut workload = pod(&[image]);
        for use_of in workload.templates.iter_mut().flat_map(|template| &mut template.uses) {
            use_of.later = Some(Box::new(Later::FilledIn {
                what: image.to_owned(),
                by: "a tool".to_owned(),
            }));
        }
        let (image, stand) = reduce(&mut workload).remove(0);
        assert!(!is_asked(&stand));
        let (outcome, image) = (outcome(&image, &stand, None, None), image.image);
        assert!(
            matches!(&outcome, Outcome::Left(why) if why.contains("filled in later")),
            "{image}: {outcome:?}"
        );
    }
    let id = format!("sha256:{}", "0".repeat(64));
    let of_id = outcomes(&[&id], &found(&digest()), Handling::Judged).remove(0);
    assert!(matches!(&of_id, Outcome::Left(why) if why.contains("ID")), "{of_id:?}");
    // As `check` has it: nothing fills these in.
    for image in [
        "reg.test/a:$(TAG)",
        " nginx",
        "Nginx",
        "nginx:",
        "a{b",
        "$x",
        "nginx@sha256:0123",
    ] {
        assert_eq!(
            outcomes(&[image], &Judgement::allowed(), Handling::Judged),
            [Outcome::Failed],
            "{image}"
        );
    }
    let never = Finding {
        cause: Cause::NeverPulled,
        outlook: Outlook::Unknown,
        message: String::new(),
        fix: String::new(),
        kubelet: None,
        evidence: FindingEvidence::default(),
        suggestions: Vec::new(),
    };
    let judgement = Judgement::from_findings(vec![never.clone()]);
    assert!(matches!(&outcomes(&["a:1"], &judgement, Handling::Judged)[..], [Outcome::Left(why)] if why.contains("Never")));
    assert!(matches!(
        &outcomes(&["a:1"], &Judgement::allowed(), Handling::Skipped)[..],
        [Outcome::Left(why)] if why.contains("controller")
    ));
    let image = &pod(&["a:1"]).templates[0].uses[0];
    let exempt = outcome(image, &Stand::Open, None, Some(&Exemption::Namespace));
    assert_eq!(exempt, Outcome::Left("its namespace is exempt".to_owned()));
    let unknown = Finding {
        cause: Cause::Timeout,
        ..never
    };
    let judgement = Judgement::from_findings(vec![unknown]);
    assert_eq!(outcomes(&["a:1"], &judgement, Handling::Judged), [Outcome::Failed]);
}
