use super::*;
use crate::cluster::Cluster;
use crate::config::{Frontend, Live, PolicyStore, Settings};
use crate::engine::Engine;
use crate::engine::LookUps;
use crate::plan::{self, Admission};
use crate::providers::Providers;
use serde_json::json;

#[test]
fn no_text_of_a_request_makes_a_line_long_or_breaks_it() {
    assert_eq!(brief("api"), "api");
    assert_eq!(brief(&"é".repeat(300)).chars().count(), 254);
    assert!(!brief("a\nb").contains('\n'));
}

#[test]
fn what_reviews_are_counted_in_is_there_from_the_start() {
    let metrics = Metrics::new();
    create_series(&metrics);
    let text = metrics.encode();
    for line in [
        r#"pullgate_reviews_total{verdict="Deny"} 0"#,
        r#"pullgate_images_total{outlook="Pulls"} 0"#,
        r#"pullgate_findings_total{cause="Timeout",outlook="Unknown"} 0"#,
        r#"pullgate_findings_total{cause="TagNotAllowed",outlook="NotAllowed"} 0"#,
        r#"pullgate_skipped_total{reason="Unchanged"} 0"#,
        r#"pullgate_skipped_total{reason="namespace_label"} 0"#,
        "pullgate_review_deadlines_hit_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(
        !text.contains(r#"cause="TagNotFound",outlook="NotAllowed""#),
        "only policies refuse names"
    );
}

#[test]
fn the_deadline_leaves_room_for_the_answer() {
    let limit = Duration::from_secs(8);
    let ms = Duration::from_millis;
    for (timeout, expected) in [
        (None, ms(8000)),
        (Some(ms(30_000)), ms(8000)),
        (Some(ms(5000)), ms(4500)),
        (Some(ms(1000)), ms(700)),
        (Some(ms(100)), ms(0)),
    ] {
        assert_eq!(deadline(timeout, limit), expected, "{timeout:?}");
    }
}

fn handler(images: usize) -> (Handler, PolicyStore) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (metrics, policies) = (Metrics::new(), PolicyStore::default());
    let engine = Engine {
        registry: LookUps::new(Settings::default().registry(Frontend::Serve), metrics.clone()).unwrap(),
        settings: plan::PlanSettings::bare(Admission::HasRun),
        providers: Providers::default(),
    };
    let handler = Handler {
        gate: Gate::new(Live::new(engine), policies.clone(), Cluster::Absent),
        metrics,
        events: EventRecorder::default(),
        seen: Seen::default(),
        large: Arc::new(Semaphore::new(1)),
        reading: Semaphore::new(1),
        images: Semaphore::new(images),
    };
    (handler, policies)
}

/// A review of the creation of a pod.
fn pod(uid: &str, containers: &[serde_json::Value]) -> Sent {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": uid, "operation": "CREATE", "namespace": "ns", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": uid}, "spec": {"containers": containers}}}});
    Sent::Whole(review.to_string().into())
}

fn soon() -> Time {
    Time {
        began: Instant::now(),
        budget: Duration::from_secs(5),
    }
}

fn response(reply: &Reply) -> serde_json::Value {
    let mut answer: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    answer["response"].take()
}

#[tokio::test(start_paused = true)]
async fn the_third_review_of_a_template_need_not_be_read() {
    let (handler, policies) = handler(1);
    for (uid, repeats) in [("u-1", false), ("u-2", false), ("u-3", true), ("u-4", true)] {
        let sent = pod(uid, &[]);
        let repeated = handler.repeat(&sent, soon()).await;
        assert_eq!(repeated.is_some(), repeats, "{uid}");
        let reply = match repeated {
            Some(reply) => reply,
            None => handler.review(sent, soon()).await,
        };
        assert_eq!(response(&reply)["uid"], uid);
        assert_eq!(response(&reply)["allowed"], true);
    }
    // A pod with an image is not a repetition, nor is any pod once the policies have changed.
    let other = pod("u-5", &[json!({"name": "c", "image": "Bad/Name"})]);
    assert!(handler.repeat(&other, soon()).await.is_none());
    assert_eq!(response(&handler.review(other, soon()).await)["allowed"], false);
    policies.set_files(Vec::new());
    assert!(handler.repeat(&pod("u-6", &[]), soon()).await.is_none());
    assert_eq!(response(&handler.review(pod("u-6", &[]), soon()).await)["uid"], "u-6");
    assert!(handler.repeat(&pod("u-7", &[]), soon()).await.is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(handler.repeat(&pod("u-8", &[]), soon()).await.is_none(), "a second is over");
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_among_the_crowds_is_answered_in_time() {
    let (handler, _) = handler(MANY_IMAGES as usize);
    let containers: Vec<_> = (0..=MANY_IMAGES)
        .map(|n| json!({"name": format!("c{n}"), "image": "Bad/Name"}))
        .collect();
    let reply = handler.review(pod("u-1", &containers), soon());
    let reply = tokio::time::timeout(Duration::from_secs(6), reply).await.unwrap();
    assert_eq!(response(&reply)["uid"], "u-1");
    assert_eq!(response(&reply)["allowed"], false);
}

/// What else a pod may list takes memory until the answer, too: it shares the places of crowds of images.
#[tokio::test(start_paused = true)]
async fn lists_of_pull_secrets_and_selectors_count_as_images() {
    let (handler, _) = handler(MANY_IMAGES as usize);
    let containers = [json!({"name": "c", "image": "Bad/Name"})];
    for (field, many) in [
        ("imagePullSecrets", json!(vec![json!({"name": "x"}); 1000])),
        (
            "nodeSelector",
            (0..1000)
                .map(|at| (format!("k{at}"), json!("")))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        ),
        (
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "a", "operator": "In", "values": vec!["x"; 1000]}]}]}}}),
        ),
        ("tolerations", json!(vec![json!({"operator": "Exists"}); 1000])),
    ] {
        let Sent::Whole(body) = pod("u-1", &containers) else {
            unreachable!()
        };
        let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
        review["request"]["object"]["spec"][field] = many;
        let (began, all) = (Instant::now(), handler.images.acquire_many(1).await.unwrap());
        let reply = handler.review(Sent::Whole(review.to_string().into()), soon()).await;
        assert_eq!(response(&reply)["allowed"], false);
        assert_eq!(
            began.elapsed(),
            soon().budget,
            "{field}: it waits for a place while another one has one"
        );
        drop(all);
        handler.review(pod("u-2", &containers), soon()).await;
        assert_eq!(began.elapsed(), soon().budget, "others do not");
    }
}

/// Large bodies are worked one at a time here, and the first waits for one that never comes: the second is answered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_review_that_waits_keeps_no_other_waiting() {
    let (handler, _) = handler(MANY_IMAGES as usize);
    let handler = Arc::new(handler);
    let all = handler.images.acquire_many(MANY_IMAGES).await.unwrap();
    let name = |image: &str| json!({"name": "c".repeat(limits::LARGE_BODY), "image": image});
    let crowd: Vec<_> = (0..=MANY_IMAGES)
        .map(|_| json!({"name": "c", "image": "Bad/Name"}))
        .chain([name("Bad/Name")])
        .collect();
    let mut first = Box::pin(review_large(Arc::clone(&handler), pod("u-1", &crowd), soon()));
    assert!(futures_util::poll!(&mut first).is_pending(), "it is at work");
    let second = review_large(Arc::clone(&handler), pod("u-2", &[name("Bad/Name")]), soon()).await;
    assert_eq!(response(&second)["uid"], "u-2");
    assert!(futures_util::poll!(&mut first).is_pending(), "it still waits");
    drop(all);
    assert_eq!(response(&first.await)["uid"], "u-1");
}
