use super::*;
use crate::review;
use crate::verdict::message::NOTE_LIMIT;
use crate::verdict::review_result::{Handling, Judged, PolicyContext};
use crate::verdict::{Cause, Judgement, Told};
use crate::workload::{Kinds, extract};
use serde_json::json;

fn finding(cause: Cause, outlook: Outlook) -> Finding {
    Finding {
        cause,
        outlook,
        message: "tag \"v9\" does not exist (404 MANIFEST_UNKNOWN)".to_owned(),
        fix: "use a tag that exists".to_owned(),
        kubelet: None,
        evidence: crate::verdict::FindingEvidence::default(),
        suggestions: Vec::new(),
    }
}

fn missing() -> Finding {
    finding(Cause::TagNotFound, Outlook::WillFail)
}

fn unknown() -> Finding {
    finding(Cause::RegistryError, Outlook::Unknown)
}

/// A review of a Deployment with these images, answered with these findings for each.
struct Case {
    review: Review,
    workload: Workload,
    result: ReviewResult,
}

impl Case {
    fn new(request: &Value, metadata: &Value, images: &[&str], findings: &[Finding]) -> Self {
        let containers: Vec<Value> = images
            .iter()
            .enumerate()
            .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
            .collect();
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                            "spec": {"template": {"spec": {"containers": containers}}}});
        let mut whole = json!({"uid": "r-1", "operation": "CREATE", "namespace": "shop", "name": "", "object": object});
        for (key, value) in request.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole});
        let review = review::parse(body.to_string().as_bytes(), &Kinds::default()).unwrap();
        let workload = extract(&review.object, None, "shop", &Kinds::default()).unwrap();
        let uses = workload.templates.iter().flat_map(|template| &template.uses);
        let images = uses
            .map(|image| Judged {
                image: image.clone(),
                reference: None,
                remark: None,
                judgement: Judgement::from_findings(findings.to_vec()),
                handling: Handling::Judged,
            })
            .collect();
        Self {
            review,
            workload,
            result: ReviewResult {
                images,
                exempt: None,
                policies: PolicyContext::default(),
                checks: 1,
            },
        }
    }

    fn reason(&self) -> Option<EventReason> {
        reason(&self.review, &self.workload, &self.result)
    }

    fn event(&self) -> ReviewEvent {
        event(self.reason().unwrap(), &self.review, &self.workload, &self.result)
    }
}

fn named(request: &Value, findings: &[Finding]) -> Case {
    Case::new(
        request,
        &json!({"name": "api", "uid": "u-1"}),
        &["r.example/shop/api:v9"],
        findings,
    )
}

#[test]
fn what_was_denied_at_its_creation_is_told_of_by_name() {
    let event = named(&json!({}), &[missing()]).event();
    assert_eq!(event.reason, EventReason::Denied);
    let expected = Regarding {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "api".to_owned(),
        uid: String::new(),
    };
    assert_eq!(event.regarding, expected);
    assert_eq!(
        event.note,
        "1 of 1 image would fail to pull | container c0: r.example/shop/api:v9: TagNotFound: tag \"v9\" does not exist (404 \
         MANIFEST_UNKNOWN); use a tag that exists"
    );
}

#[test]
fn what_exists_is_told_of_by_its_uid() {
    let event = named(&json!({"operation": "UPDATE"}), &[missing()]).event();
    assert_eq!((event.reason, event.regarding.uid.as_str()), (EventReason::Denied, "u-1"));
    let event = named(&json!({}), &[unknown()]).event();
    assert_eq!((event.reason, event.regarding.uid.as_str()), (EventReason::Unknown, "u-1"));
    assert!(
        event
            .note
            .starts_with("1 of 1 image could not be looked up; allowed | container c0: "),
        "{}",
        event.note
    );
}

#[test]
fn what_gets_its_name_is_known_by_the_beginning_of_it() {
    let metadata = json!({"name": "api-x7k2p", "generateName": "api-", "uid": "u-1"});
    let event = Case::new(&json!({}), &metadata, &["a:v9"], &[missing()]).event();
    assert_eq!((event.regarding.name.as_str(), event.stem.as_str()), ("api-x7k2p", "api-"));
    let nameless = Case::new(&json!({}), &json!({"generateName": "api-"}), &["a:v9"], &[missing()]).event();
    assert_eq!((nameless.regarding.name.as_str(), nameless.stem.as_str()), ("api-", "api-"));
}

#[test]
fn whoever_made_it_tells_of_the_denial_itself() {
    let owned = json!({"name": "api", "ownerReferences": [{"apiVersion": "x.example/v1", "kind": "App", "name": "a", "uid": "o",
                       "controller": true}]});
    let case = |request: &Value, findings: &[Finding]| Case::new(request, &owned, &["a:v9"], findings).reason();
    assert_eq!(case(&json!({}), &[missing()]), None);
    assert_eq!(case(&json!({"operation": "UPDATE"}), &[missing()]), Some(EventReason::Denied));
    assert_eq!(case(&json!({}), &[unknown()]), Some(EventReason::Unknown));
}

#[test]
fn not_every_review_is_worth_an_event() {
    assert_eq!(named(&json!({"dryRun": true}), &[missing()]).reason(), None);
    assert_eq!(named(&json!({}), &[]).reason(), None);
    let may_fail = finding(Cause::PlatformMismatch, Outlook::MayFail);
    assert_eq!(
        named(&json!({}), &[may_fail]).reason(),
        None,
        "the user was warned, and it is known"
    );
    let mut audited = named(&json!({}), &[unknown()]);
    for decision in &mut audited.result.images[0].judgement.decisions {
        decision.told = Told::No;
    }
    assert_eq!(audited.reason(), None, "Audit is for the log and the metrics");
}

#[test]
fn the_same_trouble_is_known_again_and_another_is_not() {
    let about =
        |images: &[&str], findings: &[Finding]| Case::new(&json!({}), &json!({"name": "api"}), images, findings).event().about;
    let first = about(&["a:v9"], &[missing()]);
    let mut later = missing();
    later.message = "until 12:30:05".to_owned();
    assert_eq!(first, about(&["a:v9"], &[later]), "words may hold times");
    assert_ne!(first, about(&["a:v8"], &[missing()]));
    let gone = finding(Cause::RepositoryNotFound, Outlook::WillFail);
    assert_ne!(first, about(&["a:v9"], &[gone]));
}

#[test]
fn a_note_is_one_line_within_the_limit_and_shows_no_password() {
    for text in ["x", "\u{1b}[31m\n", "漢字", "🦀"] {
        let image = format!("user:hunter2@r.example/{}:v9", text.repeat(400));
        let mut wordy = missing();
        wordy.message = text.repeat(2000);
        for count in [1, 3, 200] {
            let images: Vec<&str> = std::iter::repeat_n(image.as_str(), count).collect();
            let note = Case::new(&json!({}), &json!({"name": "api"}), &images, &[wordy.clone()])
                .event()
                .note;
            assert!(note.len() <= NOTE_LIMIT, "{} bytes", note.len());
            assert!(note.contains("container c0: "), "{note}");
            assert!(!note.contains("hunter2") && !note.contains('\n'), "{note}");
            assert_eq!(
                note.contains(" more"),
                count > 3 || note.matches("container").count() < count,
                "{note}"
            );
        }
    }
}
