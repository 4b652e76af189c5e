use super::*;
use crate::runtime::outcome::{ConnectionFault, Counted, Quota, Told};
use std::sync::atomic::AtomicUsize;

fn answers() -> Answers {
    Answers::new(1 << 20, Duration::from_hours(1), Duration::from_secs(20), Metrics::new())
}

fn key(target: &str) -> Key {
    let target = Digest::parse(target).map_or_else(|| Target::Tag(target.to_owned()), Target::Digest);
    Key {
        registry: "r.example".to_owned(),
        repository: "team/app".to_owned(),
        target,
        fingerprint: None,
        route: crate::registry::hosts::RouteId::default(),
    }
}

fn facts() -> ImageFacts {
    ImageFacts {
        digest: Digest::sha256(b"x"),
        media_type: "m".to_owned(),
        content: Content::Schema1,
        quota: None,
        authenticated: false,
        stale: false,
        builds: Vec::new(),
    }
}

fn failed(evidence: Evidence) -> Answer {
    Err(plain(evidence, "r.example".to_owned()))
}

const REFUSED: Evidence = Evidence::ConnectionFailed(ConnectionFault::Refused);

fn later() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Counts loads that answer the same.
struct Source {
    loads: Arc<AtomicUsize>,
    cache: Answers,
}

impl Source {
    fn new() -> Self {
        Self {
            loads: Arc::new(AtomicUsize::new(0)),
            cache: answers(),
        }
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn slow(&self, answer: Answer, takes: Duration) -> impl Future<Output = Answer> + Send + 'static {
        let loads = Arc::clone(&self.loads);
        async move {
            loads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(takes).await;
            answer
        }
    }

    async fn ask(&self, target: &str, answer: Answer) -> Answer {
        let load = self.slow(answer, Duration::ZERO);
        self.cache.look_up(key(target), "r.example", later(), load).await
    }

    /// Whether `answer` lives for `lifetime` and no longer.
    async fn check(target: &str, answer: Answer, lifetime: Duration) {
        let source = Self::new();
        source.ask(target, answer.clone()).await.ok();
        tokio::time::advance(lifetime.saturating_sub(Duration::from_millis(10))).await;
        source.ask(target, answer.clone()).await.ok();
        assert_eq!(source.loads(), 1, "{answer:?} is kept for {lifetime:?}");
        tokio::time::advance(Duration::from_millis(20)).await;
        source.ask(target, answer.clone()).await.ok();
        assert_eq!(source.loads(), 2, "{answer:?} is kept for no more than {lifetime:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lifetimes() {
    let digest = Digest::sha256(b"x").to_string();
    Source::check("v1", Ok(facts()), Duration::from_mins(1)).await;
    Source::check(&digest, Ok(facts()), Duration::from_mins(5)).await;
    Source::check("v1", failed(Evidence::RepositoryUnknown), Duration::from_secs(2)).await;
    Source::check("v1", failed(Evidence::DigestUnknown), Duration::from_secs(2)).await;
    Source::check(
        "v1",
        failed(Evidence::InsufficientScope {
            with_credential: true,
            told: Told::Nothing,
        }),
        Duration::from_secs(2),
    )
    .await;
    Source::check("v1", failed(REFUSED), Duration::from_secs(5)).await;
    Source::check(
        "v1",
        failed(Evidence::ServerError { token_server: false }),
        Duration::from_secs(5),
    )
    .await;
    let throttled = |seconds| {
        let mut failure = plain(Evidence::RateLimited, "r.example".to_owned());
        failure.retry_after = Some(Duration::from_secs(seconds));
        Err(failure)
    };
    Source::check("v1", throttled(30), Duration::from_secs(30)).await;
    Source::check("v1", throttled(0), Duration::from_secs(1)).await;
    Source::check("v1", throttled(100_000), Duration::from_mins(15)).await;
}

#[tokio::test(start_paused = true)]
async fn a_throttled_answer_says_what_is_left() {
    let source = Source::new();
    let mut failure = plain(Evidence::RateLimited, "r.example".to_owned());
    failure.retry_after = Some(Duration::from_secs(30));
    source.ask("v1", Err(failure.clone())).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(20)).await;
    let left = source.ask("v1", Err(failure)).await.unwrap_err().retry_after;
    assert_eq!(left, Some(Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn many_callers_one_load() {
    let source = Source::new();
    let callers = (0..50).map(|_| {
        let load = source.slow(Ok(facts()), Duration::from_millis(100));
        source.cache.look_up(key("v1"), "r.example", later(), load)
    });
    let answers = futures_util::future::join_all(callers).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_targets_and_credentials_are_apart() {
    use crate::credentials::{Credential, Hidden};
    let source = Source::new();
    source.ask("v1", Ok(facts())).await.unwrap();
    source.ask("v2", failed(Evidence::RepositoryUnknown)).await.unwrap_err();
    assert_eq!(source.loads(), 2);
    let alice = Credential {
        username: Hidden::new("alice"),
        ..Credential::default()
    };
    let key = Key {
        fingerprint: Some(alice.fingerprint()),
        ..key("v1")
    };
    let load = source.slow(failed(REFUSED), Duration::ZERO);
    assert!(source.cache.look_up(key, "r.example", later(), load).await.is_err());
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_stop_the_load() {
    let source = Source::new();
    let soon = Instant::now() + Duration::from_millis(10);
    let load = source.slow(Ok(facts()), Duration::from_secs(3));
    let late = source.cache.look_up(key("v1"), "r.example", soon, load).await.unwrap_err();
    assert_eq!(late.evidence, Evidence::TimedOut(TimeoutStage::Deadline));
    let load = source.slow(Ok(facts()), Duration::from_secs(3));
    let aborted = tokio::spawn({
        let cache = source.cache.clone();
        async move { cache.look_up(key("v1"), "r.example", later(), load).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    aborted.abort();
    tokio::time::sleep(Duration::from_secs(4)).await;
    source.ask("v1", failed(REFUSED)).await.unwrap();
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_is_bounded() {
    let source = Source::new();
    let load = source.slow(Ok(facts()), Duration::from_hours(1));
    let much_later = Instant::now() + Duration::from_hours(2);
    let failure = source
        .cache
        .look_up(key("v1"), "r.example", much_later, load)
        .await
        .unwrap_err();
    assert_eq!(failure.evidence, Evidence::TimedOut(TimeoutStage::Deadline));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_unknown() {
    let source = Source::new();
    let loads = Arc::clone(&source.loads);
    let load = async move {
        loads.fetch_add(1, Ordering::SeqCst);
        panic!("boom")
    };
    let failure = source.cache.look_up(key("v1"), "r.example", later(), load).await.unwrap_err();
    assert_eq!(failure.evidence, Evidence::Internal);
    source.ask("v2", Ok(facts())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_registry_is_down_a_good_answer_serves() {
    let source = Source::new();
    source.ask("v1", Ok(facts())).await.unwrap();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_mins(10)).await;
        assert!(source.ask("v1", failed(REFUSED)).await.unwrap().stale);
        assert!(source.ask("v1", failed(REFUSED)).await.unwrap().stale, "kept as well");
    }
    assert_eq!(source.loads(), 4);
    tokio::time::advance(Duration::from_mins(31)).await;
    assert_eq!(
        source.ask("v1", failed(REFUSED)).await.unwrap_err().evidence,
        REFUSED,
        "max_stale is over"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_good_answer() {
    let source = Source::new();
    source.ask("v1", Ok(facts())).await.unwrap();
    tokio::time::advance(Duration::from_mins(2)).await;
    source.ask("v1", failed(Evidence::RepositoryUnknown)).await.unwrap_err();
    tokio::time::advance(Duration::from_mins(2)).await;
    assert_eq!(source.ask("v1", failed(REFUSED)).await.unwrap_err().evidence, REFUSED);

    source.ask("v2", Ok(facts())).await.unwrap();
    tokio::time::advance(Duration::from_mins(2)).await;
    let throttled = source.ask("v2", failed(Evidence::RateLimited)).await.unwrap_err();
    assert_eq!(
        throttled.evidence,
        Evidence::RateLimited,
        "a registry that answers 429 is not down"
    );
    tokio::time::advance(Duration::from_mins(2)).await;
    assert!(source.ask("v2", failed(REFUSED)).await.unwrap().stale);
    tokio::time::advance(Duration::from_mins(2)).await;
    let again = source.ask("v2", Ok(facts())).await.unwrap();
    assert!(!again.stale, "it recovered");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_is_met_with_a_good_answer() {
    let source = Source::new();
    source.ask("v1", Ok(facts())).await.unwrap();
    tokio::time::advance(Duration::from_mins(2)).await;
    let soon = Instant::now() + Duration::from_millis(10);
    let load = source.slow(failed(REFUSED), Duration::from_secs(5));
    assert!(source.cache.look_up(key("v1"), "r.example", soon, load).await.unwrap().stale);
}

#[tokio::test]
async fn the_weight_is_bounded() {
    let cache = Answers::new(20_000, Duration::from_hours(1), Duration::from_secs(20), Metrics::new());
    for n in 0..2000 {
        let load = async { failed(Evidence::DigestUnknown) };
        cache.look_up(key(&n.to_string()), "r.example", later(), load).await.ok();
    }
    cache.cache.run_pending_tasks().await;
    assert!(cache.cache.weighted_size() <= 20_000, "{}", cache.cache.weighted_size());
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_told_while_it_is_news() {
    let source = Source::new();
    let low = Quota {
        remaining: 3,
        limit: Some(100),
        window: Some(Duration::from_hours(6)),
        counted: Counted::Address,
    };
    let facts = ImageFacts {
        quota: Some(low),
        ..facts()
    };
    let digest = Digest::sha256(b"x").to_string();
    let quota = async || source.ask(&digest, Ok(facts.clone())).await.unwrap().quota;
    assert_eq!(quota().await, Some(low));
    tokio::time::advance(Duration::from_secs(50)).await;
    assert_eq!(quota().await, Some(low));
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(quota().await, None, "the answer is believed longer than its quota");
    assert_eq!(source.loads(), 1);
    tokio::time::advance(Duration::from_mins(5)).await;
    assert_eq!(quota().await, Some(low), "asked again");
    assert_eq!(source.loads(), 2);
    tokio::time::advance(Duration::from_mins(6)).await;
    let stale = source.ask(&digest, failed(REFUSED)).await.unwrap();
    assert!(stale.stale && stale.quota.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_wait_for_is_not_begun() {
    let source = Source::new();
    let load = source.slow(Ok(facts()), Duration::ZERO);
    let late = source.cache.look_up(key("v1"), "r.example", Instant::now(), load).await;
    assert_eq!(late, failed(Evidence::TimedOut(TimeoutStage::Deadline)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(source.loads(), 0);
    // What is there already is given.
    source.ask("v1", Ok(facts())).await.unwrap();
    let load = source.slow(Ok(facts()), Duration::ZERO);
    assert!(
        source
            .cache
            .look_up(key("v1"), "r.example", Instant::now(), load)
            .await
            .is_ok()
    );
}
