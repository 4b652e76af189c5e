use super::*;
use crate::cluster::fake::Fake;

const EVENTS: &str = "events.events.k8s.io";

fn event(namespace: &str, name: &str, about: u64) -> ReviewEvent {
    ReviewEvent {
        reason: EventReason::Denied,
        regarding: Regarding {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: "u-1".to_owned(),
        },
        stem: name.to_owned(),
        about,
        note: "1 of 1 image would fail to pull".to_owned(),
    }
}

fn api() -> Fake {
    let fake = Fake::new();
    fake.serve(object::API_VERSION, "events", "Event", true);
    fake
}

/// More than a busy machine needs.
const LONG: Duration = Duration::from_mins(1);

/// Waits until the condition holds or a minute has passed; the caller asserts what should hold.
async fn eventually(condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !condition() && std::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Bench {
    fake: Fake,
    metrics: Metrics,
    events: EventRecorder,
}

impl Bench {
    fn new(fake: Fake) -> Self {
        let metrics = Metrics::new();
        let events = EventRecorder::start(fake.client(), &metrics);
        Self { fake, metrics, events }
    }

    fn count(&self, outcome: &str) -> usize {
        let line = format!("pullgate_events_total{{outcome=\"{outcome}\"}} ");
        let text = self.metrics.encode();
        let value = text.lines().find_map(|text| text.strip_prefix(&line));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until this many of an outcome were counted.
    async fn counted(&self, outcome: &str, wanted: usize) {
        eventually(|| self.count(outcome) >= wanted).await;
        assert_eq!(self.count(outcome), wanted, "{outcome}: {}", self.metrics.encode());
    }

    fn posts(&self) -> usize {
        self.fake.asked().iter().filter(|(method, _)| method == "POST").count()
    }
}

#[tokio::test]
async fn an_event_is_written_as_the_api_has_it() {
    let bench = Bench::new(api());
    bench.events.record(event("shop", "api", 1));
    bench.counted("written", 1).await;
    let all = bench.fake.all(EVENTS);
    assert_eq!(all.len(), 1);
    let event = &all[0];
    assert_eq!(event["apiVersion"], "events.k8s.io/v1");
    assert_eq!(
        (&event["type"], &event["reason"]),
        (&"Warning".into(), &"ImagesDenied".into())
    );
    assert_eq!(event["action"], "Deny");
    let time: Timestamp = event["eventTime"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(time).as_secs() < 60, "{event}");
    let object = serde_json::json!(
        {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "api", "uid": "u-1"});
    assert_eq!(event["regarding"], object);
    assert_eq!(event["note"], "1 of 1 image would fail to pull");
    assert_eq!(event["reportingController"], "pullgate.dev/pullgate");
    assert!(!event["reportingInstance"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn what_has_no_namespace_is_told_of_where_the_api_wants_it() {
    let bench = Bench::new(api());
    let mut told = event("", "templates", 1);
    told.regarding.uid.clear();
    bench.events.record(told);
    bench.counted("written", 1).await;
    let event = &bench.fake.all(EVENTS)[0];
    assert_eq!(event["metadata"]["namespace"], "default");
    let keys: Vec<_> = event["regarding"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["apiVersion", "kind", "name"]);
}

#[tokio::test]
async fn repetitions_are_counted_in_the_first_event() {
    let bench = Bench::new(api());
    bench.events.record(event("shop", "api", 1));
    bench.counted("written", 1).await;
    tokio::time::pause();
    for _ in 0..4 {
        bench.events.record(event("shop", "api", 1));
    }
    // The count is due half a minute later; the answer to it takes real time.
    while bench.count("repeated") < 4 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    bench.counted("updated", 1).await;
    let all = bench.fake.all(EVENTS);
    assert_eq!((all.len(), &all[0]["series"]["count"]), (1, &5.into()));
    assert!(
        all[0]["series"]["lastObservedTime"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .is_ok()
    );
}

#[tokio::test]
async fn a_missing_right_costs_one_request_a_namespace() {
    let bench = Bench::new(api());
    bench.fake.refuse(&format!("create {EVENTS} in shop"));
    for n in 0..30 {
        bench.events.record(event("shop", "api", n));
    }
    bench.counted("forbidden", 30).await;
    assert_eq!(bench.posts(), 1);
    bench.events.record(event("other", "api", 1));
    bench.counted("written", 1).await;
}

#[tokio::test]
async fn namespaces_that_are_gone_or_going_are_no_missing_right() {
    let bench = Bench::new(api());
    for (n, namespace) in ["gone", "gone", "ending", "ending"].into_iter().enumerate() {
        bench.events.record(event(namespace, "api", n as u64));
    }
    bench.counted("gone", 4).await;
    assert_eq!((bench.count("forbidden"), bench.posts()), (0, 4));
}

#[tokio::test]
async fn an_expired_event_is_written_again() {
    let bench = Bench::new(api());
    bench.events.record(event("shop", "api", 1));
    bench.counted("written", 1).await;
    let name = bench.fake.all(EVENTS)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    bench.fake.delete(EVENTS, "shop", &name);
    tokio::time::pause();
    bench.events.record(event("shop", "api", 1));
    while bench.count("repeated") < 1 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    let patched = || bench.fake.asked().iter().any(|(method, _)| method == "PATCH");
    eventually(patched).await;
    assert!(patched());
    // The answer to the patch comes before the next event is looked at.
    bench.events.record(event("shop", "api", 1));
    bench.counted("written", 2).await;
    assert_eq!(bench.count("updated"), 0);
}

#[tokio::test]
async fn while_the_api_server_fails_nothing_is_asked_in_a_hurry_and_nobody_waits() {
    let bench = Bench::new(api());
    bench.fake.instead(500, "");
    let begin = std::time::Instant::now();
    for n in 0..2_000 {
        bench.events.record(event("shop", "api", n));
    }
    assert!(begin.elapsed() < LONG / 2, "handing in does not wait");
    eventually(|| bench.count("failed") > 0).await;
    assert!(bench.count("dropped") >= 2_000 - QUEUE - 2, "{}", bench.metrics.encode());
    let waits = begin.elapsed().as_secs() / FIRST_WAIT.as_secs();
    assert!(bench.posts() as u64 <= 1 + waits, "the second request waits");
    bench.fake.no_more_instead();
    eventually(|| bench.count("written") > 0).await;
    assert!(bench.count("written") > 0);
}

#[tokio::test]
async fn only_what_is_wanted_is_asked_for() {
    let bench = Bench::new(api());
    for (wanted, denied, unknown) in [
        (EventFilter::All, true, true),
        (EventFilter::Denied, true, false),
        (EventFilter::None, false, false),
    ] {
        bench.events.set_filter(wanted);
        let wants = (
            bench.events.accepts(EventReason::Denied),
            bench.events.accepts(EventReason::Unknown),
        );
        assert_eq!(wants, (denied, unknown), "{wanted:?}");
    }
    let nobody = EventRecorder::default();
    nobody.set_filter(EventFilter::All);
    assert!(!nobody.accepts(EventReason::Denied));
    nobody.record(event("shop", "api", 1));
}
