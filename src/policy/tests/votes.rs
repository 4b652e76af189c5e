use super::*;
use crate::verdict::Told;
use Verdict::{Allow, Deny, Warn};

fn will_fail() -> Finding {
    finding(Cause::TagNotFound, Outlook::WillFail)
}

fn decide(policies: &[Arc<Policy>], finding: &Finding) -> Decision {
    matching(policies).decide(finding, None)
}

#[test]
fn without_a_policy_and_without_a_vote_the_default_holds() {
    for outlook in [
        Outlook::Pulls,
        Outlook::Unknown,
        Outlook::FailsToRun,
        Outlook::MayFail,
        Outlook::WillFail,
        Outlook::NotAllowed,
    ] {
        let finding = finding(Cause::TagNotFound, outlook);
        let default = Decision::by_default(&finding);
        assert_eq!(decide(&[], &finding), default);
        assert_eq!(decide(&[policy("p", &json!({"tags": {"deny": ["x"]}}))], &finding), default);
    }
}

#[test]
fn the_cause_counts_before_the_outlook() {
    let one = policy(
        "p",
        &json!({"actions": {"WillFail": "Deny", "TagNotFound": "Warn", "Unknown": "Allow"}}),
    );
    let verdict = |cause, outlook| decide(std::slice::from_ref(&one), &finding(cause, outlook)).verdict;
    assert_eq!(verdict(Cause::TagNotFound, Outlook::WillFail), Warn);
    assert_eq!(verdict(Cause::DigestNotFound, Outlook::WillFail), Deny);
    // Softened: the cause's action still applies, because the cause takes precedence.
    assert_eq!(verdict(Cause::TagNotFound, Outlook::MayFail), Warn);
    assert_eq!(verdict(Cause::DnsFailure, Outlook::Unknown), Allow);
}

#[test]
fn the_severest_vote_wins_through_the_modes() {
    let with = |name: &str, mode: &str, action: &str| policy(name, &json!({"mode": mode, "actions": {"WillFail": action}}));
    for (policies, verdict, of, enforced) in [
        (
            vec![with("a", "Enforce", "Warn"), with("b", "Enforce", "Deny")],
            Deny,
            "b",
            Deny,
        ),
        (
            vec![with("a", "Enforce", "Deny"), with("b", "Enforce", "Allow")],
            Deny,
            "a",
            Deny,
        ),
        (
            vec![with("a", "Warn", "Deny"), with("b", "Enforce", "Allow")],
            Warn,
            "a",
            Deny,
        ),
        (
            vec![with("a", "Audit", "Deny"), with("b", "Enforce", "Warn")],
            Warn,
            "b",
            Deny,
        ),
        (
            vec![with("a", "Audit", "Deny"), with("b", "Enforce", "Allow")],
            Allow,
            "a",
            Deny,
        ),
        (vec![with("a", "Audit", "Deny")], Allow, "a", Deny),
        (vec![with("a", "Warn", "Allow"), with("b", "Audit", "Warn")], Allow, "b", Warn),
        // A policy without an action for it does not vote, whatever its mode.
        (
            vec![with("a", "Enforce", "Deny"), policy("b", &json!({"mode": "Audit"}))],
            Deny,
            "a",
            Deny,
        ),
    ] {
        let decision = decide(&policies, &will_fail());
        assert_eq!(
            (decision.verdict, decision.policy.as_deref(), decision.enforced),
            (verdict, Some(of), enforced)
        );
        assert_eq!(decision.told, if verdict == Allow { Told::No } else { Told::Yes });
    }
}

#[test]
fn a_policys_mode_governs_what_it_says_and_nothing_else() {
    let warn = policy("warn", &json!({"mode": "Warn", "registries": {"allow": ["reg.corp/**"]}}));
    let audit = policy(
        "audit",
        &json!({"mode": "Audit", "tags": {"deny": ["latest"]}, "actions": {"Timeout": "Deny"}}),
    );
    let policies = [warn, audit];
    for outlook in Outlook::ALL {
        let finding = finding(Cause::TagNotFound, *outlook);
        assert_eq!(decide(&policies, &finding), Decision::by_default(&finding));
    }
    // Its vote is limited by its mode.
    let timeout = decide(&policies, &finding(Cause::Timeout, Outlook::Unknown));
    assert_eq!(
        (timeout.verdict, timeout.policy.as_deref(), timeout.enforced),
        (Allow, Some("audit"), Deny)
    );
}

#[test]
fn what_no_policy_votes_on_follows_the_settings_mode() {
    let strict = policy("strict", &json!({"actions": {"Timeout": "Deny"}}));
    for (mode, verdict, told) in [
        (Mode::Enforce, Deny, Told::Yes),
        (Mode::Warn, Warn, Told::Yes),
        (Mode::Audit, Allow, Told::No),
    ] {
        let modes = Modes::everywhere(mode);
        for policies in [vec![], vec![Arc::clone(&strict)]] {
            let decision = matching_in(&policies, &modes).decide(&will_fail(), None);
            assert_eq!(
                (decision.verdict, decision.policy, decision.told, decision.enforced),
                (verdict, None, told, Deny)
            );
        }
        // The settings' mode does not weaken a policy.
        let matching = matching_in(std::slice::from_ref(&strict), &modes);
        assert_eq!(
            matching.decide(&finding(Cause::Timeout, Outlook::Unknown), None).verdict,
            Deny
        );
        // A remark stays a remark, but in Audit nobody is told.
        let remark = finding(Cause::RateLimited, Outlook::Pulls);
        assert_eq!(matching.decide(&remark, None).told, told);
    }
}

#[test]
fn the_first_entry_that_selects_the_namespace_holds() {
    let selector = |key: &str, value: &str| model::LabelSelector {
        match_labels: Some([(key.to_owned(), value.to_owned())].into()),
        match_expressions: None,
    };
    let mut modes = Modes::default();
    modes.add(&selector("rollout", "done"), Mode::Enforce).unwrap();
    modes.add(&selector(NAME_LABEL, "kube-system"), Mode::Audit).unwrap();
    modes.add(&model::LabelSelector::default(), Mode::Warn).unwrap();
    let of = |namespace: &str, labels: Option<&[(&str, &str)]>| {
        let labels: Option<Vec<(String, String)>> = labels.map(|labels| {
            labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        });
        modes.of(&Subject {
            namespace,
            labels: labels.as_deref(),
            kinds: &["Pod"],
        })
    };
    assert_eq!(of("shop", Some(&[("rollout", "done")])), Mode::Enforce);
    assert_eq!(of("shop", Some(&[("rollout", "not yet")])), Mode::Warn);
    assert_eq!(of("kube-system", Some(&[(NAME_LABEL, "kube-system")])), Mode::Audit);
    // If labels are not known, the strictest possible mode is limited to a warning.
    assert_eq!(of("shop", None), Mode::Warn);
    assert_eq!(of("", None), Mode::Warn);
    assert_eq!(Modes::default().of(&SHOP), Mode::Enforce);
    let mut agreed = Modes::default();
    agreed.add(&selector("a", "b"), Mode::Audit).unwrap();
    agreed.add(&model::LabelSelector::default(), Mode::Audit).unwrap();
    assert_eq!(agreed.of(&Subject { labels: None, ..SHOP }), Mode::Audit);
}

fn raised(matching: &Matching, image: &str) -> Vec<(Raised, Decision)> {
    let raised = matching.names(&reference(image), image);
    raised
        .into_iter()
        .map(|raised| {
            let decision = matching.decide(&raised.finding, Some(&raised.policy));
            (raised, decision)
        })
        .collect()
}

#[test]
fn who_writes_a_name_rule_has_voted_on_what_breaks_it() {
    let list = |name: &str, mode: &str| policy(name, &json!({"mode": mode, "registries": {"allow": ["reg.corp/**"]}}));
    let audit = policy("audit", &json!({"mode": "Audit"}));
    let verdicts = |policies: &[Arc<Policy>]| -> Vec<(String, Verdict)> {
        let all = raised(&matching(policies), "nginx");
        all.iter()
            .map(|(raised, decision)| (raised.policy.to_string(), decision.verdict))
            .collect()
    };
    let said = |name: &str, verdict| vec![(name.to_owned(), verdict)];
    assert_eq!(verdicts(&[list("list", "Enforce")]), said("list", Deny));
    assert_eq!(verdicts(&[list("list", "Enforce"), audit.clone()]), said("list", Deny));
    assert_eq!(verdicts(&[list("list", "Warn"), audit.clone()]), said("list", Warn));
    assert_eq!(verdicts(&[list("list", "Audit")]), said("list", Allow));
    // A list in Audit mode denies nothing, even if another, enforced policy matches that says nothing about it.
    assert_eq!(
        verdicts(&[list("list", "Audit"), policy("other", &json!({"tags": {"deny": ["x"]}}))]),
        said("list", Allow)
    );
    // Its own action replaces the default Deny.
    let soft = policy(
        "soft",
        &json!({"registries": {"allow": ["reg.corp/**"]}, "actions": {"RegistryNotAllowed": "Warn"}}),
    );
    assert_eq!(verdicts(&[soft]), said("soft", Warn));
    let soft = policy(
        "soft",
        &json!({"registries": {"allow": ["reg.corp/**"]}, "actions": {"NotAllowed": "Allow"}}),
    );
    assert_eq!(verdicts(&[soft]), said("soft", Allow));
    // Two lists: each raises its own finding.
    assert_eq!(
        verdicts(&[list("b", "Warn"), list("a", "Enforce")]),
        [("a".to_owned(), Deny), ("b".to_owned(), Warn)]
    );
}

#[test]
fn a_policy_that_may_be_about_it_brings_a_warning_at_most_and_takes_nothing_back() {
    let prod = json!({"namespaceSelector": {"matchLabels": {"env": "prod"}}});
    let perhaps = |spec: Value| {
        let mut spec = spec;
        spec["match"] = prod.clone();
        policy("perhaps", &spec)
    };
    let unknown = finding(Cause::Timeout, Outlook::Unknown);
    let decide = |policies: &[Arc<Policy>], finding: &Finding| unsure(policies).decide(finding, None);
    // It would deny: a warning.
    let strict = perhaps(json!({"actions": {"Unknown": "Deny", "WillFail": "Deny", "Pulls": "Deny"}}));
    assert_eq!(decide(std::slice::from_ref(&strict), &unknown).verdict, Warn);
    assert_eq!(
        decide(std::slice::from_ref(&strict), &finding(Cause::RateLimited, Outlook::Pulls)).verdict,
        Warn
    );
    // What is denied without the policy stays denied, whatever it says.
    assert_eq!(decide(&[strict], &will_fail()), Decision::by_default(&will_fail()));
    for spec in [
        json!({"actions": {"WillFail": "Allow"}}),
        json!({"mode": "Audit"}),
        json!({"mode": "Warn"}),
    ] {
        assert_eq!(decide(&[perhaps(spec)], &will_fail()), Decision::by_default(&will_fail()));
    }
    // Its name rules warn, and say so; nobody else's vote makes a denial of it.
    let list = perhaps(json!({"registries": {"allow": ["reg.corp/**"]}}));
    let strict = policy("strict", &json!({"actions": {"NotAllowed": "Deny"}}));
    for policies in [vec![list.clone()], vec![list.clone(), strict]] {
        let all = raised(&unsure(&policies), "nginx");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].1.verdict, all[0].1.enforced), (Warn, Warn));
        assert!(
            all[0].0.finding.message.contains("is not known"),
            "{}",
            all[0].0.finding.message
        );
    }
    // In Audit mode it says nothing.
    let audit = perhaps(json!({"registries": {"allow": ["reg.corp/**"]}, "mode": "Audit"}));
    assert_eq!(raised(&unsure(&[audit]), "nginx")[0].1.verdict, Allow);
    // Its demands on platforms and sizes do not count.
    let wants = perhaps(json!({"platforms": ["linux/arm64"], "size": {"max": "1Mi"}}));
    let matching = unsure(&[wants]);
    assert_eq!((matching.platforms(), matching.size_max()), (None, None));
    assert_eq!(matching.modes().map(|(_, mode)| mode).collect::<Vec<_>>(), [Mode::Enforce]);
}

#[test]
fn platforms_add_up_and_the_smallest_size_counts() {
    let tried_out = policy(
        "d",
        &json!({"mode": "Warn", "platforms": ["linux/s390x"], "size": {"max": "1Mi"}}),
    );
    let matching = matching(&[
        tried_out,
        policy("a", &json!({"platforms": ["linux/amd64"], "size": {"max": "2Gi"}})),
        policy(
            "b",
            &json!({"platforms": ["linux/arm64", "linux/amd64"], "size": {"max": "500M"}}),
        ),
        policy("c", &json!({})),
    ]);
    let platforms: Vec<String> = matching
        .platforms()
        .into_iter()
        .flatten()
        .map(|platform| platform.to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(matching.size_max(), Some((500_000_000, Arc::from("b"))));
}
