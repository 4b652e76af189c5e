use super::{FORBIDDEN_WAIT, pause};
use crate::cluster::fake::Fake;
use crate::cluster::{Cluster, SecretReading, Watched};
use crate::policy::Policy;
use crate::telemetry::Metrics;
use crate::telemetry::PolicyStatus;
use crate::workload::Kinds;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const POLICIES: &str = "imagepolicies.pullgate.dev";

/// An API server with the kind installed.
fn server() -> Fake {
    let fake = Fake::new();
    fake.serve("pullgate.dev/v1alpha1", "imagepolicies", "ImagePolicy", false);
    fake
}

fn policy(name: &str, allow: &str) -> Value {
    json!({
        "apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy",
        "metadata": {"name": name}, "spec": {"registries": {"allow": [allow]}},
    })
}

/// A replica of pullgate: what it follows, and what it was handed.
struct Replica {
    cluster: Cluster,
    metrics: Metrics,
    handed: Arc<Mutex<Vec<Vec<Arc<Policy>>>>>,
}

impl Replica {
    fn start(fake: &Fake) -> Self {
        let cluster = Cluster::Watched(Watched::start(&fake.client(), SecretReading::None));
        let (metrics, handed) = (Metrics::new(), Arc::<Mutex<Vec<_>>>::default());
        let taken = Arc::clone(&handed);
        cluster.follow_policies(&metrics, Arc::default, move |policies| taken.lock().unwrap().push(policies));
        Self {
            cluster,
            metrics,
            handed,
        }
    }

    async fn synced(fake: &Fake) -> Self {
        let replica = Self::start(fake);
        assert!(replica.cluster.wait_synced(soon()).await, "{:?}", replica.cluster.ready());
        replica
    }

    /// Names and places of what holds: `a: r.io/a`.
    fn holds(&self) -> Vec<String> {
        let handed = self.handed.lock().unwrap();
        let last = handed.last().into_iter().flatten();
        last.map(|policy| format!("{}: {}", policy.name, policy.places().collect::<Vec<_>>().join(",")))
            .collect()
    }

    fn times_handed(&self) -> usize {
        self.handed.lock().unwrap().len()
    }

    fn note(&self) -> Option<String> {
        let ready = self.cluster.ready();
        let watch = ready.into_iter().find(|watch| watch.what == "imagepolicies").unwrap();
        watch.note
    }

    /// Waits until no status is left to write.
    async fn settles(&self) {
        let Cluster::Watched(watched) = &self.cluster else {
            panic!("not watched")
        };
        let policies = watched.policy_watch().unwrap();
        eventually("no status is left to write", || policies.is_settled()).await;
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|counted| counted == line)
    }
}

/// More than a busy machine needs.
fn soon() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

/// Waits until the condition holds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = soon();
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn condition(fake: &Fake, name: &str) -> Option<Value> {
    let object = fake.get(POLICIES, "", name)?;
    let conditions = object.pointer("/status/conditions")?.as_array()?.clone();
    conditions.into_iter().find(|condition| condition["type"] == "Accepted")
}

fn says(fake: &Fake, name: &str, status: &str, message: &str) -> bool {
    condition(fake, name)
        .is_some_and(|condition| condition["status"] == status && condition["message"].as_str().unwrap().contains(message))
}

#[tokio::test]
async fn what_is_there_holds_and_each_change_is_one_step() {
    let fake = server();
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    fake.put(POLICIES, policy("b", "r.io/b/**"));
    let replica = Replica::synced(&fake).await;
    assert_eq!(replica.holds(), ["a: r.io/a", "b: r.io/b"]);
    assert_eq!(replica.times_handed(), 1, "a list is one step");
    assert_eq!(replica.note(), None);
    fake.put(POLICIES, policy("a", "r.io/new/**"));
    eventually("the edit", || replica.holds() == ["a: r.io/new", "b: r.io/b"]).await;
    fake.delete(POLICIES, "", "b");
    eventually("the deletion", || replica.holds() == ["a: r.io/new"]).await;
    assert_eq!(replica.times_handed(), 3);
    assert!(replica.counts("pullgate_policies{source=\"cluster\"} 1"));
}

#[tokio::test]
async fn a_broken_edit_keeps_the_last_good_version_and_a_broken_newcomer_never_holds() {
    let fake = server();
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    fake.put(POLICIES, policy("born-broken", "r.io/[x"));
    let replica = Replica::synced(&fake).await;
    assert_eq!(replica.holds(), ["a: r.io/a"]);
    fake.put(POLICIES, policy("a", "https://r.io/a"));
    eventually("the refusal", || says(&fake, "a", "False", "; generation 1 still holds")).await;
    let told = condition(&fake, "a").unwrap();
    assert_eq!(
        (&told["reason"], &told["observedGeneration"]),
        (&json!("Invalid"), &json!(2)),
        "{told}"
    );
    assert!(
        told["message"].as_str().unwrap().starts_with("spec.registries.allow[0]: "),
        "{told}"
    );
    eventually("its status", || says(&fake, "born-broken", "False", "; it does not hold")).await;
    assert_eq!(replica.holds(), ["a: r.io/a"]);
    assert_eq!(replica.note().as_deref(), Some("2 are not accepted: see their status"));
    assert!(replica.counts("pullgate_policies_refused{source=\"cluster\"} 2"));
    assert!(replica.counts("pullgate_reloads_total{reason=\"policies_refused\"} 2"));
    // Others change meanwhile.
    fake.put(POLICIES, policy("c", "r.io/c/**"));
    eventually("another one", || replica.holds() == ["a: r.io/a", "c: r.io/c"]).await;
    // Repaired.
    fake.put(POLICIES, policy("a", "r.io/again/**"));
    eventually("the repair", || replica.holds() == ["a: r.io/again", "c: r.io/c"]).await;
    eventually("its status", || says(&fake, "a", "True", "")).await;
    // Deleted and recreated, broken: it is another object, and nothing of the old one holds.
    fake.delete(POLICIES, "", "a");
    fake.put(POLICIES, policy("a", "r.io/[x"));
    eventually("its end", || replica.holds() == ["c: r.io/c"]).await;
}

#[tokio::test]
async fn two_replicas_write_each_status_once() {
    let fake = server();
    let replicas = [Replica::synced(&fake).await, Replica::synced(&fake).await];
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    eventually("the status", || says(&fake, "a", "True", "")).await;
    fake.put(POLICIES, policy("a", "r.io/[x"));
    eventually("the refusal", || says(&fake, "a", "False", "; generation 1 still holds")).await;
    for replica in &replicas {
        replica.settles().await;
    }
    assert_eq!(fake.written("a"), 2, "{:?}", fake.asked());
    // A replica that starts later knows no version that holds. It says so once, and the others leave that status alone.
    let late = Replica::synced(&fake).await;
    eventually("its word", || {
        says(&fake, "a", "False", "nothing of it holds where pullgate started after")
    })
    .await;
    for replica in replicas.iter().chain([&late]) {
        replica.settles().await;
    }
    assert_eq!(fake.written("a"), 3, "{:?}", fake.asked());
    assert!(replicas.iter().all(|replica| replica.holds() == ["a: r.io/a"]));
    assert_eq!(late.times_handed(), 1);
    assert!(late.holds().is_empty());
    // The transition is as old as the change from True to False.
    let since = condition(&fake, "a").unwrap()["lastTransitionTime"].clone();
    fake.put(POLICIES, policy("a", "r.io/[y"));
    eventually("the next refusal", || {
        condition(&fake, "a").unwrap()["observedGeneration"] == 3
    })
    .await;
    assert_eq!(condition(&fake, "a").unwrap()["lastTransitionTime"], since);
}

#[tokio::test]
async fn a_status_that_says_so_already_is_not_written_and_others_conditions_stay() {
    let fake = server();
    let mut known = policy("known", "r.io/a/**");
    known["status"] = json!({"observedGeneration": 1, "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Valid", "message": "in other words", "observedGeneration": 1,
         "lastTransitionTime": "2024-01-01T00:00:00Z"},
    ]});
    fake.put(POLICIES, known);
    let mut shared = policy("shared", "r.io/[x");
    shared["status"] = json!({"conditions": [{"type": "Reviewed", "status": "True"}, {"type": "Accepted", "status": "False",
        "lastTransitionTime": "2024-01-01T00:00:00Z"}]});
    fake.put(POLICIES, shared);
    let _replica = Replica::synced(&fake).await;
    eventually("the other status", || fake.written("shared") == 1).await;
    let object = fake.get(POLICIES, "", "shared").unwrap();
    assert_eq!(object["status"]["conditions"][1]["type"], "Reviewed");
    assert_eq!(object["status"]["observedGeneration"], 1);
    assert_eq!(
        object["status"]["conditions"][0]["lastTransitionTime"], "2024-01-01T00:00:00Z",
        "it was False before"
    );
    assert_eq!(fake.written("known"), 0);
}

#[tokio::test]
async fn where_the_status_may_not_be_written_policies_hold_all_the_same() {
    let fake = server();
    fake.refuse(&format!("patch {POLICIES}"));
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    fake.put(POLICIES, policy("b", "r.io/b/**"));
    let replica = Replica::synced(&fake).await;
    eventually("the refusal", || {
        replica.counts("pullgate_policy_status_writes_total{reason=\"forbidden\"} 1")
    })
    .await;
    assert_eq!(replica.holds().len(), 2);
    assert_eq!(
        pause(PolicyStatus::Forbidden),
        FORBIDDEN_WAIT,
        "one refusal is enough for a while"
    );
}

#[tokio::test]
async fn a_cluster_without_the_kind_has_no_policies_until_it_comes() {
    let fake = Fake::new();
    let replica = Replica::synced(&fake).await;
    assert_eq!(
        replica.note().as_deref(),
        Some("the kind is not installed in this cluster, so it has no policies")
    );
    assert!(replica.holds().is_empty());
    assert!(replica.cluster.policies(&Kinds::default()).await.unwrap().policies.is_empty());
    fake.serve("pullgate.dev/v1alpha1", "imagepolicies", "ImagePolicy", false);
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    eventually("the policy", || replica.holds() == ["a: r.io/a"]).await;
    assert_eq!(replica.note(), None);
}

#[tokio::test]
async fn a_refused_list_is_said_and_blocks_nothing() {
    let fake = server();
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    fake.refuse(&format!("list {POLICIES}"));
    let replica = Replica::synced(&fake).await;
    assert_eq!(replica.note().as_deref(), Some("pullgate may not read ImagePolicies"));
    assert!(replica.holds().is_empty());
    assert!(replica.counts("pullgate_reloads_total{reason=\"policies_forbidden\"} 1"));
    let why = replica.cluster.policies(&Kinds::default()).await.unwrap_err();
    assert_eq!(
        why,
        "the cluster's ImagePolicies could not be read (the API server forbids it)"
    );
}

#[tokio::test]
async fn after_a_relist_the_set_is_what_is_there() {
    let fake = server();
    for name in ["a", "b", "c"] {
        fake.put(POLICIES, policy(name, &format!("r.io/{name}/**")));
    }
    let replica = Replica::synced(&fake).await;
    fake.put(POLICIES, policy("c", "r.io/[x"));
    eventually("the refusal", || replica.note().is_some()).await;
    fake.delete_unseen(POLICIES, "", "a");
    fake.put_unseen(POLICIES, policy("b", "r.io/new/**"));
    fake.put_unseen(POLICIES, policy("d", "r.io/d/**"));
    let before = replica.times_handed();
    fake.compact(POLICIES);
    eventually("the new set", || replica.holds() == ["b: r.io/new", "c: r.io/c", "d: r.io/d"]).await;
    assert_eq!(replica.times_handed(), before + 1, "in one step");
}

#[tokio::test]
async fn while_the_api_server_is_away_the_last_set_holds() {
    let mut fake = server();
    fake.put(POLICIES, policy("a", "r.io/a/**"));
    let replica = Replica::synced(&fake).await;
    let late = {
        fake.stop();
        let late = Replica::start(&fake);
        assert!(!late.cluster.wait_synced(Instant::now() + Duration::from_millis(300)).await);
        late
    };
    assert_eq!(replica.holds(), ["a: r.io/a"]);
    eventually("it says why", || {
        late.note().as_deref() == Some("the API server could not be reached when asked for ImagePolicies")
    })
    .await;
    fake.delete_unseen(POLICIES, "", "a");
    fake.put_unseen(POLICIES, policy("b", "r.io/b/**"));
    fake.start();
    assert!(late.cluster.wait_synced(soon()).await);
    assert_eq!(late.holds(), ["b: r.io/b"]);
}

#[tokio::test]
async fn policies_are_listed_once_in_pages_for_those_who_do_not_follow() {
    let fake = server();
    for number in 0..120 {
        fake.put(POLICIES, policy(&format!("p{number:03}"), "r.io/a/**"));
    }
    fake.put(POLICIES, policy("broken", "r.io/[x"));
    fake.expire_next();
    let cluster = Cluster::Watched(Watched::start(&fake.client(), SecretReading::None));
    let listed = cluster.policies(&Kinds::default()).await.unwrap();
    assert_eq!(listed.policies.len(), 120);
    assert_eq!(listed.problems.len(), 1, "{:?}", listed.problems);
    assert!(
        listed.problems[0].starts_with("ImagePolicy broken is ignored: spec.registries.allow[0]: "),
        "{:?}",
        listed.problems
    );
    assert!(cluster.ready().iter().all(|watch| watch.what != "imagepolicies"));
    assert!(
        fake.asked().iter().all(|(method, _)| method == "GET"),
        "reading writes nothing"
    );
}

#[test]
fn what_is_said_of_many_problems_is_bounded() {
    use crate::policy::Problem;
    let problem = |at: usize| Problem::at(format!("spec.registries.allow[{at}]"), "\u{1b}[31m".repeat(100));
    let problems: Vec<Problem> = (0..1000).map(problem).collect();
    let told = super::status::tell(&problems);
    assert!(told.chars().count() < 2_100, "{}", told.len());
    assert!(told.contains("; and 99"), "{told}");
    assert!(!told.contains('\u{1b}'));
}

#[test]
fn of_what_still_holds_the_worse_word_stays() {
    use super::status::{Facts, InForce, agrees, write};
    use crate::policy::Problem;
    let problems = [Problem::at("spec.mode", "no")];
    // From the best to the worst.
    let all = [
        InForce::Earlier,
        InForce::Generation(3),
        InForce::Generation(2),
        InForce::NothingSinceStart,
        InForce::Nothing,
    ];
    for (at, said) in all.into_iter().enumerate() {
        let status = write(&Value::Null, Some(4), &problems, said, &Facts::default());
        // As older versions wrote it and their CRD keeps it; and with a message that cannot be read.
        let (mut of_old, mut other_words) = (status.clone(), status.clone());
        let fields = of_old.as_object_mut().unwrap();
        assert!(fields.remove("inForce").is_some());
        fields.remove("generationInForce");
        let message = &mut other_words["conditions"][0]["message"];
        *message = format!("{}; in other words", message.as_str().unwrap()).into();
        for (own, in_force) in all.into_iter().enumerate() {
            for status in [&status, &of_old, &other_words] {
                assert_eq!(
                    agrees(status, Some(4), &problems, in_force, &Facts::default()),
                    at >= own,
                    "{said:?} and {in_force:?}"
                );
            }
        }
        let mended = write(&status, Some(5), &[], InForce::Nothing, &Facts::default());
        assert_eq!(mended["inForce"], Value::Null);
        assert!(mended.as_object().unwrap().contains_key("inForce"), "a patch removes it");
        assert!(
            !agrees(&status, Some(5), &problems, said, &Facts::default()),
            "another generation"
        );
        assert!(!agrees(&status, Some(4), &[], said, &Facts::default()), "it is accepted");
    }
}

#[test]
fn the_status_says_what_happens_when_and_how_many_are_exempt() {
    use super::status::{Facts, InForce, agrees, write};
    let object = serde_json::json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "p"}, "spec": {
        "enforceFrom": "2027-01-15", "tags": {"deny": ["latest"]},
        "exempt": {"users": ["jane", "joe"], "entries": [{"images": ["nginx"], "until": "2027-02-01", "reason": "moving"}]}}});
    let policy = crate::policy::Policy::compile(&object, crate::policy::PolicyLocation::Cluster).unwrap();
    let facts = Facts::of(Some(&policy));
    let status = write(&Value::Null, Some(1), &[], InForce::Nothing, &facts);
    assert_eq!(status["exemptions"], 3);
    assert_eq!(
        status["conditions"][0]["message"],
        "the policy is valid and in force; it warns until 2027-01-15 and is enforced from then; exempt.entries[0] ends at 2027-02-01 (moving)"
    );
    assert!(agrees(&status, Some(1), &[], InForce::Nothing, &facts));
    assert!(
        !agrees(&status, Some(1), &[], InForce::Nothing, &Facts::default()),
        "fewer are exempt"
    );
}
