//! Objects with more images than anybody has.

use super::*;
use crate::limits::LOOK_UPS_PER_OBJECT;

fn many(images: impl Iterator<Item = String>, policy: &str, secrets: &[&str]) -> Workload {
    let containers: Vec<Value> = images
        .enumerate()
        .map(|(at, image)| json!({"name": format!("c{at}"), "image": image, "imagePullPolicy": policy}))
        .collect();
    let mut object = pod("reg.example/a:1", secrets);
    object["spec"]["containers"] = containers.into();
    extract(&object, None, "ns", &Kinds::default()).unwrap()
}

fn answered(plan: &mut Plan<'_>, result: &Result<ImageFacts, Failure>) -> Vec<Judgement> {
    let outcome = Attempts {
        attempts: vec![Attempt {
            source: None,
            result: result.clone(),
        }],
        ..Attempts::default()
    };
    let outcomes = vec![outcome; plan.checks.len()];
    decide(plan, &outcomes)
}

#[test]
fn so_many_are_asked_for_and_the_rest_is_unknown() {
    let over = 20;
    let images = (0..LOOK_UPS_PER_OBJECT + over).map(|at| format!("reg.example/app{at}:1"));
    let facts = with_secret(facts(), "s", PULL, GOOD);
    let workload = many(images, "Always", &["s"]);
    let settings = settings();
    let mut plan = plan(&workload, &facts, &settings);
    assert_eq!(
        (plan.checks.len(), plan.wanted.len()),
        (LOOK_UPS_PER_OBJECT, LOOK_UPS_PER_OBJECT)
    );
    let judgements = answered(&mut plan, &refused());
    let denied = judgements
        .iter()
        .filter(|judgement| judgement.verdict == Verdict::Deny)
        .count();
    assert_eq!(denied, LOOK_UPS_PER_OBJECT);
    for judgement in judgements.iter().skip(LOOK_UPS_PER_OBJECT) {
        assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
        assert!(
            judgement.findings[0].message.contains("pullgate looks up 1000 images"),
            "{judgement:?}"
        );
    }
    assert_eq!(judgements.len(), LOOK_UPS_PER_OBJECT + over);
}

#[test]
fn many_tags_of_one_repository_and_one_image_many_times() {
    let facts = facts();
    let settings = settings();
    let tags = many(
        (0..LOOK_UPS_PER_OBJECT + 5).map(|at| format!("reg.example/app:{at}")),
        "Always",
        &[],
    );
    let tags = plan(&tags, &facts, &settings);
    assert_eq!((tags.checks.len(), tags.wanted.len()), (LOOK_UPS_PER_OBJECT, 1));
    let same = many(std::iter::repeat_n("reg.example/app:1".to_owned(), 5000), "Always", &[]);
    let same = plan(&same, &facts, &settings);
    assert_eq!((same.checks.len(), same.images.len()), (1, 5000));
    assert!(
        same.images
            .iter()
            .all(|image| matches!(image.next, Next::Ask { check: 0, .. }))
    );
}

/// What many images find out by way of an index is what a few find out by asking each node.
#[test]
fn what_nodes_hold_is_the_same_for_many_images() {
    let holder = |name: &str, images: &[&str]| {
        let mut node = node(name, "amd64");
        node.images = images.iter().collect();
        node
    };
    let mut facts = facts();
    facts.nodes = Arc::new(vec![
        // Twice in one list is on one node.
        holder("n1", &["reg.example/all:1", "reg.example/some:1", "reg.example/some:1"]),
        holder("n2", &["reg.example/all:1"]),
    ]);
    let settings = settings();
    let missing = Err(failure(Evidence::TagUnknown { repository_exists: true }, 404));
    let named = ["reg.example/all:1", "reg.example/some:1", "reg.example/none:1"];
    let of = |more: usize, policy: &str| {
        let others = (0..more).map(|at| format!("reg.example/other{at}:1"));
        let workload = many(named.map(str::to_owned).into_iter().chain(others), policy, &[]);
        let mut plan = plan(&workload, &facts, &settings);
        answered(&mut plan, &missing)
            .iter()
            .take(named.len())
            .map(|judgement| judgement.outlook)
            .collect::<Vec<_>>()
    };
    let expected = [Outlook::Pulls, Outlook::MayFail, Outlook::WillFail];
    assert_eq!(
        (of(0, "IfNotPresent"), of(100, "IfNotPresent")),
        (expected.to_vec(), expected.to_vec())
    );
    let never = [Outlook::Pulls, Outlook::MayFail, Outlook::MayFail];
    assert_eq!((of(0, "Never"), of(100, "Never")), (never.to_vec(), never.to_vec()));
}
