use super::*;
use crate::verdict::decision::Pending;
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    dates::parse(text).unwrap()
}

fn matching_at(policies: &[Arc<Policy>], user: &str, now: &str) -> Matching {
    let requester = Requester {
        user: user.to_owned(),
        groups: Vec::new(),
    };
    let circumstances = Circumstances {
        modes: &Modes::default(),
        now: at(now),
    };
    Policies::new(policies.to_vec()).matching(&SHOP, &requester, circumstances)
}

/// What is done about nginx by its name.
fn decided(spec: &Value, user: &str, now: &str) -> Option<(Raised, Decision)> {
    let matching = matching_at(&[policy("p", spec)], user, now).narrowed(&reference("nginx"));
    let raised = matching.names(&reference("nginx"), "nginx").pop()?;
    let decision = matching.decide(&raised.finding, Some(&raised.policy));
    Some((raised, decision))
}

#[test]
fn until_its_day_a_policy_warns_and_says_the_day() {
    let spec = json!({"enforceFrom": "2027-01-15", "registries": {"deny": ["docker.io/**"]}, "actions": {"TagNotFound": "Deny"}});
    let decided = |now: &str| decided(&spec, "", now).unwrap().1;
    let before = decided("2027-01-14T23:59:59Z");
    let pending = Some(Pending {
        policy: Some("p".into()),
        from: Some("15 January".to_owned()),
    });
    assert_eq!(
        (before.verdict, before.enforced, before.pending),
        (Verdict::Warn, Verdict::Deny, pending)
    );
    let after = decided("2027-01-15");
    assert_eq!((after.verdict, after.pending), (Verdict::Deny, None));
    // The same for its actions.
    let matching = |now: &str| matching_at(&[policy("p", &spec)], "", now);
    let missing = finding(Cause::TagNotFound, Outlook::WillFail);
    assert_eq!(matching("2026-12-01").decide(&missing, None).verdict, Verdict::Warn);
    assert_eq!(matching("2027-12-01").decide(&missing, None).verdict, Verdict::Deny);
    let modes = |now: &str| matching(now).modes().map(|(_, mode)| mode).collect::<Vec<_>>();
    assert_eq!(
        (modes("2026-12-01"), modes("2027-12-01")),
        (vec![Mode::Warn], vec![Mode::Enforce])
    );
}

#[test]
fn an_exemption_warns_in_its_last_week_and_ends() {
    let spec = json!({"registries": {"deny": ["docker.io/**"]}, "exempt": {
        "users": ["jane"], "until": "2027-01-15", "reason": "until the\n  mirror is there",
        "entries": [{"users": ["jo*"]}, {"images": ["nginx"], "until": "2026-12-01"}]}});
    let exempt = |user: &str, now: &str| decided(&spec, user, now).map(|(raised, decision)| (raised.finding.message, decision));
    assert!(exempt("jane", "2027-01-07").is_none());
    let (message, decision) = exempt("jane", "2027-01-08").unwrap();
    assert_eq!((decision.verdict, decision.enforced), (Verdict::Warn, Verdict::Deny));
    assert_eq!(decision.pending.unwrap().from.as_deref(), Some("15 January"));
    assert!(
        message.ends_with("; it is exempt, and the exemption ends on 15 January (until the mirror is there)"),
        "{message}"
    );
    assert_eq!(exempt("jane", "2027-01-15").unwrap().1.verdict, Verdict::Deny);
    // Other entries have their own end, or none; if several apply, the last end counts.
    assert!(exempt("joe", "2099-01-01").is_none());
    assert!(exempt("nobody", "2026-11-01").is_none());
    assert_eq!(exempt("nobody", "2026-12-01").unwrap().1.verdict, Verdict::Deny);
    assert!(exempt("jane", "2026-11-28").is_none());
    // Exemptions are counted in their last week, too.
    let exempting = matching_at(&[policy("p", &spec)], "jane", "2027-01-10").exempting().len();
    assert_eq!(exempting, 1);
    // A policy in Audit mode says nothing.
    let mut audit = spec.clone();
    audit["mode"] = "Audit".into();
    assert_eq!(decided(&audit, "jane", "2027-01-10").unwrap().1.verdict, Verdict::Allow);
}

#[test]
fn what_is_enforced_sooner_is_what_users_are_told() {
    let deny = |name: &str, rest: Value| {
        let mut spec = json!({"registries": {"deny": ["docker.io/**"]}, "actions": {"NotAllowed": "Deny"}});
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        policy(name, &spec)
    };
    let policies = [
        deny("a", json!({"mode": "Warn"})),
        deny("b", json!({"enforceFrom": "2027-02-01"})),
        deny("c", json!({"enforceFrom": "2027-01-15"})),
        deny("d", json!({"mode": "Audit"})),
    ];
    let pending = |policies: &[Arc<Policy>]| {
        let matching = matching_at(policies, "", "2026-12-01");
        let raised = matching.names(&reference("nginx"), "nginx").remove(0);
        matching.decide(&raised.finding, Some(&raised.policy)).pending
    };
    assert_eq!(pending(&policies).unwrap().from.as_deref(), Some("15 January"));
    let warn = pending(&policies[..1]).unwrap();
    assert_eq!((warn.policy.as_deref(), warn.from), (Some("a"), None));
    assert_eq!(pending(&policies[3..]), None, "of what is tried out in Audit nobody is told");
    let gate = Modes::everywhere(Mode::Warn);
    let pending = matching_in(&[], &gate)
        .decide(&finding(Cause::TagNotFound, Outlook::WillFail), None)
        .pending;
    assert_eq!(
        pending,
        Some(Pending {
            policy: None,
            from: None
        })
    );
}

#[test]
fn days_are_counted() {
    let policy = policy(
        "p",
        &json!({"enforceFrom": "2027-01-15", "exempt": {"users": ["a"], "until": "2027-01-20", "entries": [{"users": ["b"], "until": "2027-03-01"}]}}),
    );
    let left = |now: &str| {
        let left = policy.days_left(at(now));
        (left.enforced, left.exemption)
    };
    assert_eq!(left("2027-01-10T12:00:00Z"), (Some(5), Some(10)));
    assert_eq!(left("2027-02-28"), (Some(0), Some(1)));
    assert_eq!(left("2027-03-01"), (Some(0), None));
}

#[test]
fn what_is_wrong_with_dates_and_words_is_said() {
    for (spec, said) in [
        (
            json!({"enforceFrom": "15.1.2027"}),
            "spec.enforceFrom: \"15.1.2027\" is not a date: write a day",
        ),
        (
            json!({"enforceFrom": "2027-01-15", "mode": "Warn"}),
            "spec.enforceFrom: it puts off mode: Enforce, and the mode is Warn",
        ),
        (
            json!({"enforceFrom": "2027-01-15", "exempt": {"users": ["a"], "until": "2027-01-14"}}),
            "spec.exempt.until: it ends before the policy is enforced (2027-01-15)",
        ),
        (
            json!({"exempt": {"entries": [{"users": ["a"]}, {"users": ["a"], "until": "soon"}]}}),
            "spec.exempt.entries[1].until: \"soon\" is not a date",
        ),
        (
            json!({"exempt": {"entries": [{"reason": "x"}]}}),
            "spec.exempt.entries[0]: it names no images, namespaces, users or groups",
        ),
        (
            json!({"exempt": {"until": "2027-01-15"}}),
            "spec.exempt: it names no images, namespaces, users or groups",
        ),
        (
            json!({"exempt": {"entries": [{"until": 5, "users": ["a"]}]}}),
            "spec.exempt.entries[0].until: expected text",
        ),
        (
            json!({"message": "x".repeat(1 << 20)}),
            "spec.message: 1048576 characters; the limit is 300",
        ),
        (
            json!({"link": "wiki"}),
            "spec.link: \"wiki\" is not a URL that people can open",
        ),
        (json!({"link": "javascript:alert(1)"}), "spec.link: "),
        (json!({"link": "https://a b"}), "spec.link: "),
        (
            json!({"link": "https://jane:secret@wiki.corp/"}),
            "spec.link: a link that everybody is shown",
        ),
    ] {
        let problems = problems(&spec);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(said), "{problems:?}");
    }
}

#[test]
fn words_are_on_one_line_and_harmless() {
    let spec = json!({"registries": {"deny": ["docker.io/**"]}, "message": "Ask\n  \u{1b}[31m#platform", "link": "https://wiki.corp/images"});
    let message = decided(&spec, "", "2026-12-01").unwrap().1.policy_message.unwrap();
    assert_eq!(message.to_string(), "Ask \\u{1b}[31m#platform (https://wiki.corp/images)");
}
