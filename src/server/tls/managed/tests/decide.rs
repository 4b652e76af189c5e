//! What to do, case by case, without an API server.

use crate::cluster::SecretData;
use crate::server::tls::Validity;
use crate::server::tls::generate::{authority, leaf as leaf_of};
use crate::server::tls::managed::contents::{
    AUTHORITY_KEY, CERTIFICATE, Contents, KEY, NEXT, NEXT_KEY, Pair, Stored, TRUST, UNTIL,
};
use crate::server::tls::managed::decide::{Entry, Lifetimes, Observed, Serve, Step, Why, bundles, serve, step};
use crate::server::tls::managed::issue::{Issuer, after};
use crate::server::tls::managed::trust::{Bundle, verify};
use std::time::Duration;

const DAY: i64 = 86_400;
const NOW: i64 = 1_800_000_000;
const LIVES: Lifetimes = Lifetimes {
    leaf: Duration::from_hours(24 * 90),
    authority: Duration::from_hours(24 * 730),
};
const NAME: &str = "pullgate.pullgate.svc";

fn names() -> Vec<String> {
    vec![NAME.to_owned(), "pullgate.pullgate.svc.cluster.local".to_owned()]
}

/// The Secret's data after this step at this time.
fn make(step: &Step, data: Option<&SecretData>, now: i64) -> SecretData {
    make_for(step, data, now, &names())
}

fn make_for(step: &Step, data: Option<&SecretData>, now: i64, names: &[String]) -> SecretData {
    let before = data.map(Contents::read);
    let known: Vec<_> = before
        .iter()
        .flat_map(|contents| contents.trust.certificates().to_vec())
        .collect();
    let issuer = Issuer {
        now,
        names,
        lifetimes: LIVES,
        known: &known,
    };
    let after = after(step, before.as_ref(), &issuer).unwrap().unwrap();
    after.write(data.unwrap_or(&SecretData::default()))
}

fn fresh() -> SecretData {
    make(&Step::Create(Why::Absent), None, NOW)
}

fn decided(data: &SecretData, settled: &Bundle, now: i64) -> Step {
    let stored = Stored::Ours(Box::new(Contents::read(data)));
    let names = names();
    step(&Observed {
        stored: &stored,
        settled,
        now,
        names: &names,
        lifetimes: LIVES,
    })
}

fn nothing() -> Bundle {
    Bundle::of([])
}

fn with(data: &SecretData, changes: &[(&str, &[u8])]) -> SecretData {
    let mut data = data.clone();
    for (key, value) in changes {
        data.0.insert((*key).to_owned(), value.to_vec());
    }
    data
}

fn unusable(step: &Step) -> &'static str {
    match step {
        Step::Create(Why::Unusable(_)) => "create",
        Step::Leaf(Why::Unusable(_)) => "leaf",
        Step::AddNextCa(Why::Unusable(_)) => "follow",
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fresh_secret_is_kept_until_its_time() {
    let data = fresh();
    for (days, expected) in [
        (0, Step::Keep),
        (59, Step::Keep),
        (61, Step::Leaf(Why::Due)),
        (89, Step::Leaf(Why::Due)),
        (91, Step::Leaf(Why::Ended)),
        (-1, Step::Create(Why::NotYet)),
        (-3000, Step::Create(Why::NotYet)),
        // The CA is due as well, but an expired certificate comes first.
        (600, Step::Leaf(Why::Ended)),
        (800, Step::Create(Why::Ended)),
        (30_000, Step::Create(Why::Ended)),
    ] {
        assert_eq!(decided(&data, &nothing(), NOW + days * DAY), expected, "after {days} days");
    }
    let renewed = make(&Step::Leaf(Why::Due), Some(&data), NOW + 480 * DAY);
    assert_eq!(decided(&renewed, &nothing(), NOW + 480 * DAY), Step::Keep);
    assert_eq!(decided(&renewed, &nothing(), NOW + 490 * DAY), Step::AddNextCa(Why::Due));
}

#[test]
fn only_the_spoilt_part_is_made_again() {
    let (data, other) = (fresh(), fresh());
    let garbage: &[u8] = b"\xff\x00 not PEM";
    let of = |key: &str| other.get(key);
    for (what, changes, expected) in [
        ("certificate gone", &[(CERTIFICATE, &b""[..])][..], "leaf"),
        ("certificate garbage", &[(CERTIFICATE, garbage)], "leaf"),
        ("key garbage", &[(KEY, garbage)], "leaf"),
        ("key of another", &[(KEY, of(KEY))], "leaf"),
        ("certificate is a key", &[(CERTIFICATE, data.get(KEY))], "leaf"),
        ("ca.key gone", &[(AUTHORITY_KEY, b"")], "follow"),
        ("ca.key garbage", &[(AUTHORITY_KEY, garbage)], "follow"),
        ("ca.key of another", &[(AUTHORITY_KEY, of(AUTHORITY_KEY))], "follow"),
        (
            "all gone",
            &[(CERTIFICATE, b""), (KEY, b""), (TRUST, b""), (AUTHORITY_KEY, b"")],
            "create",
        ),
        (
            "all garbage",
            &[
                (CERTIFICATE, garbage),
                (KEY, garbage),
                (TRUST, garbage),
                (AUTHORITY_KEY, garbage),
            ],
            "create",
        ),
        (
            "certificate and ca.key gone",
            &[(CERTIFICATE, b""), (AUTHORITY_KEY, b"")],
            "create",
        ),
    ] {
        assert_eq!(unusable(&decided(&with(&data, changes), &nothing(), NOW)), expected, "{what}");
    }
    for (what, changes, expected) in [
        // Without its CA, a certificate is useless.
        ("ca.crt gone", &[(TRUST, &b""[..])][..], Step::Create(Why::Unchained)),
        ("ca.crt garbage", &[(TRUST, garbage)], Step::Create(Why::Unchained)),
        (
            "another's pair",
            &[(CERTIFICATE, of(CERTIFICATE)), (KEY, of(KEY))],
            Step::Leaf(Why::Unchained),
        ),
        (
            "another's CA",
            &[(TRUST, of(TRUST)), (AUTHORITY_KEY, of(AUTHORITY_KEY))],
            Step::Leaf(Why::Unchained),
        ),
        (
            "something behind ca.crt",
            &[(TRUST, &[data.get(TRUST), b"-----BEGIN CERTIFICATE-----\nAAAA"].concat())],
            Step::Repair,
        ),
        ("half a next CA", &[(NEXT, of(TRUST))], Step::Repair),
        (
            "a next CA that is not trusted",
            &[(NEXT, of(TRUST)), (NEXT_KEY, of(AUTHORITY_KEY))],
            Step::Repair,
        ),
        (
            "an old CA without a date",
            &[(TRUST, &[data.get(TRUST), of(TRUST)].concat())],
            Step::Repair,
        ),
        (
            "an old CA with an odd date",
            &[(TRUST, &[data.get(TRUST), of(TRUST)].concat()), (UNTIL, b"soon")],
            Step::Repair,
        ),
        (
            "an old CA and its day",
            &[
                (TRUST, &[data.get(TRUST), of(TRUST)].concat()),
                (UNTIL, b"2020-01-01T00:00:00Z"),
            ],
            Step::Retire,
        ),
        (
            "the CA's key is lost, so it counts as old, but what it signed is served",
            &[
                (AUTHORITY_KEY, b""),
                (NEXT, of(TRUST)),
                (NEXT_KEY, of(AUTHORITY_KEY)),
                (UNTIL, b"2020-01-01T00:00:00Z"),
                (TRUST, &[data.get(TRUST), of(TRUST)].concat()),
            ],
            Step::Keep,
        ),
    ] {
        let spoilt = with(&data, changes);
        let step = decided(&spoilt, &nothing(), NOW);
        assert_eq!(step, expected, "{what}");
        if step == Step::Repair {
            let repaired = make(&step, Some(&spoilt), NOW);
            assert_eq!(decided(&repaired, &nothing(), NOW), Step::Keep, "{what}, repaired");
        }
    }
}

#[test]
fn a_ca_rotates_in_steps_that_never_leave_a_certificate_untrusted() {
    let first = make(&Step::Leaf(Why::Due), Some(&fresh()), NOW + 480 * DAY);
    let old = Contents::read(&first).trust;
    let day = NOW + 490 * DAY;
    let two = make(&Step::AddNextCa(Why::Due), Some(&first), day);
    let contents = Contents::read(&two);
    assert_eq!(contents.trust.certificates().len(), 2);
    assert_eq!(two.get(CERTIFICATE), first.get(CERTIFICATE), "nothing that is served changes");
    assert_eq!(two.get(AUTHORITY_KEY), first.get(AUTHORITY_KEY));
    // As long as a bundle lacks the new CA, nothing happens, and the old CA signs renewals.
    assert_eq!(decided(&two, &nothing(), day), Step::Keep);
    assert_eq!(decided(&two, &old, day), Step::Keep);
    assert_eq!(decided(&two, &old, day + 55 * DAY), Step::Leaf(Why::Due));
    assert_eq!(decided(&two, &contents.trust, day), Step::PromoteNextCa);

    let switched = make(&Step::PromoteNextCa, Some(&two), day);
    let contents = Contents::read(&switched);
    assert_eq!(contents.trust.certificates().len(), 2);
    assert_ne!(contents.trust.certificates()[0], old.certificates()[0]);
    assert_eq!(contents.trust.certificates()[1], old.certificates()[0]);
    assert_ne!(switched.get(AUTHORITY_KEY), two.get(AUTHORITY_KEY), "the old key is gone");
    assert!(switched.0.keys().all(|key| key != NEXT && key != NEXT_KEY));
    let last = Contents::read(&two).leaf.unwrap().validity.not_after;
    assert_eq!(contents.until, Some(last), "the last certificate of the old CA");
    let leaf = contents.leaf.unwrap();
    let new = Bundle::of([contents.trust.certificates()[0].clone()]);
    assert_eq!(verify(&leaf.certificate, &new, NAME, day), Ok(()));
    assert!(verify(&leaf.certificate, &old, NAME, day).is_err());

    assert_eq!(decided(&switched, &nothing(), day), Step::Keep);
    let renewed = make(&Step::Leaf(Why::Due), Some(&switched), last - DAY);
    assert_eq!(decided(&renewed, &nothing(), last - DAY), Step::Keep);
    assert_eq!(decided(&renewed, &nothing(), last), Step::Keep, "its last second");
    let last = last + 1;
    assert_eq!(decided(&renewed, &nothing(), last), Step::Retire);
    let retired = make(&Step::Retire, Some(&renewed), last);
    assert!(Contents::read(&retired).trust.same_as(&new));
    assert!(!retired.0.contains_key(UNTIL));
    assert_eq!(decided(&retired, &nothing(), last), Step::Keep);
}

#[test]
fn a_held_up_rotation_ends_in_a_switch_and_not_in_a_flood_of_renewals() {
    let first = make(&Step::Leaf(Why::Due), Some(&fresh()), NOW + 480 * DAY);
    let mut data = make(&Step::AddNextCa(Why::Due), Some(&first), NOW + 490 * DAY);
    let mut writes = 0;
    let mut now = NOW + 490 * DAY;
    let end = NOW + 730 * DAY;
    while now <= end {
        match decided(&data, &nothing(), now) {
            Step::Keep => {}
            step @ Step::Leaf(_) => {
                data = make(&step, Some(&data), now);
                writes += 1;
            }
            other => panic!("{other:?}"),
        }
        now += DAY / 4;
    }
    assert!((3..10).contains(&writes), "{writes}");
    assert_eq!(decided(&data, &nothing(), end + 1), Step::PromoteNextCa);
}

#[test]
fn other_names_are_added_and_the_next_renewal_drops_them() {
    let mine = vec!["a.example".to_owned(), "10.0.0.1".to_owned(), "::1".to_owned()];
    let data = make_for(&Step::Create(Why::Absent), None, NOW, &mine);
    let step = decided(&data, &nothing(), NOW);
    assert_eq!(step, Step::Leaf(Why::OtherName(NAME.to_owned())));
    let both = make(&step, Some(&data), NOW);
    assert_eq!(both.get(TRUST), data.get(TRUST));
    assert_eq!(decided(&both, &nothing(), NOW), Step::Keep);
    let holds = |data: &SecretData, name: &str| {
        let contents = Contents::read(data);
        verify(&contents.leaf.unwrap().certificate, &contents.trust, name, NOW).is_ok()
    };
    assert!(holds(&both, "a.example") && holds(&both, NAME));
    assert!(holds(&data, "10.0.0.1") && holds(&data, "::1"));
    let later = make(&Step::Leaf(Why::Due), Some(&both), NOW);
    assert!(!holds(&later, "a.example") && holds(&later, NAME));
}

/// pullgate cannot sign for a CA with another name (brought in by somebody), so it makes a new CA.
#[test]
fn a_certificate_never_outlives_its_ca_and_a_strange_ca_is_replaced() {
    let data = fresh();
    let late = make(&Step::Leaf(Why::Due), Some(&data), NOW + 700 * DAY);
    let contents = Contents::read(&late);
    assert_eq!(
        contents.leaf.as_ref().unwrap().validity.not_after,
        contents.authority.as_ref().unwrap().validity.not_after
    );
    let mut strange = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    strange.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (strange.not_before, strange.not_after) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2100, 1, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = strange.self_signed(&key).unwrap().pem();
    let brought = with(
        &data,
        &[(TRUST, ca.as_bytes()), (AUTHORITY_KEY, key.serialize_pem().as_bytes())],
    );
    let step = decided(&brought, &nothing(), NOW);
    assert_eq!(step, Step::Leaf(Why::Unchained));
    let mended = make(&step, Some(&brought), NOW);
    assert_eq!(decided(&mended, &nothing(), NOW), Step::Keep);
    let trust = Contents::read(&mended).trust;
    assert!(
        !trust.holds(&Bundle::parse(ca.as_bytes()).certificates()[0]),
        "a stranger's CA is not trusted on"
    );
}

#[test]
fn a_new_ca_trusts_what_was_trusted_for_an_hour() {
    let data = fresh();
    let new = make(&Step::Create(Why::Unchained), Some(&data), NOW);
    let contents = Contents::read(&new);
    assert_eq!(contents.trust.certificates().len(), 2);
    assert!(contents.trust.holds(&Contents::read(&data).trust.certificates()[0]));
    assert_eq!(contents.until, Some(NOW + 3600));
    assert_eq!(decided(&new, &nothing(), NOW + 3600), Step::Keep);
    assert_eq!(decided(&new, &nothing(), NOW + 3601), Step::Retire);
    // Expired CAs are not carried along, and never more than a few others.
    let ended = make(&Step::Create(Why::Ended), Some(&data), NOW + 800 * DAY);
    assert_eq!(Contents::read(&ended).trust.certificates().len(), 1);
    let mut many = data;
    for _ in 0..10 {
        many = make(&Step::Create(Why::Unchained), Some(&many), NOW);
    }
    assert_eq!(Contents::read(&many).trust.certificates().len(), 5);
}

#[test]
fn what_is_registered_is_what_the_secret_says_and_only_while_it_is_sound() {
    let data = fresh();
    let trust = data.get(TRUST).to_vec();
    let two = [trust.as_slice(), fresh().get(TRUST)].concat();
    let entry = |index: usize, bundle: &[u8]| Entry {
        index,
        webhook: "w".to_owned(),
        server: NAME.to_owned(),
        bundle: Bundle::parse(bundle),
    };
    let entries = [
        entry(0, &trust),
        entry(3, b""),
        entry(4, b"garbage"),
        entry(5, &two),
        // The same CAs in another form.
        entry(6, &[b"a word before\n\n", trust.as_slice(), trust.as_slice()].concat()),
        entry(7, fresh().get(TRUST)),
        entry(
            8,
            &[
                trust.as_slice(),
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            ]
            .concat(),
        ),
    ];
    let patched = |data: &SecretData| {
        let stored = Stored::Ours(Box::new(Contents::read(data)));
        let (settled, names) = (nothing(), names());
        let observed = Observed {
            stored: &stored,
            settled: &settled,
            now: NOW,
            names: &names,
            lifetimes: LIVES,
        };
        bundles(&observed, &entries)
    };
    let written = patched(&data);
    assert_eq!(written.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [3, 4, 5, 7, 8]);
    assert!(written.iter().all(|(_, pem)| pem.as_bytes() == trust));
    for key in [CERTIFICATE, KEY, TRUST] {
        assert_eq!(patched(&with(&data, &[(key, b"garbage")])), [], "{key}");
    }
}

#[test]
fn a_new_certificate_is_served_once_every_bundle_takes_it_unless_nothing_else_is_left() {
    let old = fresh();
    let new = make(&Step::Create(Why::Unchained), Some(&old), NOW);
    let certificate = |data: &SecretData| Contents::read(data).leaf.unwrap().certificate;
    let (ours, theirs) = (Bundle::parse(new.get(TRUST)), Bundle::parse(old.get(TRUST)));
    let stranger = Bundle::parse(fresh().get(TRUST));
    let stored = Stored::Ours(Box::new(Contents::read(&new)));
    let chosen = |bundles: &[&Bundle], settled: &Bundle, present: Option<&SecretData>, now: i64| {
        let names = names();
        let observed = Observed {
            stored: &stored,
            settled,
            now,
            names: &names,
            lifetimes: LIVES,
        };
        let entries: Vec<_> = bundles
            .iter()
            .enumerate()
            .map(|(index, bundle)| Entry {
                index,
                webhook: "w".to_owned(),
                server: NAME.to_owned(),
                bundle: (*bundle).clone(),
            })
            .collect();
        serve(&observed, &entries, present.map(certificate).as_ref())
    };
    let none = nothing();
    for (what, bundles, settled, present, now, expected) in [
        ("the first", &[&theirs][..], &none, None, NOW, Serve::Stored),
        ("nothing registered", &[], &none, Some(&old), NOW, Serve::Stored),
        ("the same", &[&ours], &ours, Some(&new), NOW, Serve::Present),
        ("not registered yet", &[&theirs], &theirs, Some(&old), NOW, Serve::Present),
        ("registered a moment ago", &[&ours], &theirs, Some(&old), NOW, Serve::Present),
        (
            "registered everywhere for long",
            &[&ours, &ours],
            &ours,
            Some(&old),
            NOW,
            Serve::Stored,
        ),
        (
            "one bundle is behind",
            &[&ours, &theirs],
            &theirs,
            Some(&old),
            NOW,
            Serve::Present,
        ),
        ("neither is taken", &[&stranger], &none, Some(&old), NOW, Serve::Stored),
        (
            "one bundle takes neither",
            &[&ours, &stranger],
            &none,
            Some(&old),
            NOW,
            Serve::Stored,
        ),
        (
            "the present one has ended",
            &[&ours],
            &none,
            Some(&old),
            NOW + 91 * DAY,
            Serve::Present,
        ),
    ] {
        assert_eq!(chosen(bundles, settled, present, now), expected, "{what}");
    }
}

#[test]
fn bundles_and_certificates_are_held_against_each_other_as_the_api_server_does() {
    let data = fresh();
    let contents = Contents::read(&data);
    let leaf = contents.leaf.unwrap().certificate;
    for (name, now, expected) in [
        (NAME, NOW, Ok(())),
        ("other.pullgate.svc", NOW, Err("does not cover other.pullgate.svc")),
        (NAME, NOW + 91 * DAY, Err("has expired")),
        (NAME, NOW - DAY, Err("is not valid yet")),
    ] {
        let said = verify(&leaf, &contents.trust, name, now);
        assert_eq!(said, expected.map_err(str::to_owned), "{name} {now}");
    }
    assert!(verify(&leaf, &nothing(), NAME, NOW).is_err());
    // The library would accept an expired anchor; Go does not.
    let period = |days: i64| Validity {
        not_before: NOW,
        not_after: NOW + days * DAY,
    };
    let ca = authority(period(10)).unwrap();
    let longer = Pair::made(&leaf_of(&names(), period(20), &ca.key).unwrap())
        .unwrap()
        .certificate;
    let bundle = Bundle::parse(ca.certificate.as_bytes());
    assert_eq!(verify(&longer, &bundle, NAME, NOW + 9 * DAY), Ok(()));
    assert_eq!(
        verify(&longer, &bundle, NAME, NOW + 11 * DAY),
        Err("was not signed by a currently valid CA in it".to_owned())
    );
    assert!(
        verify(&contents.trust.certificates()[0], &contents.trust, NAME, NOW).is_err(),
        "a CA is no server"
    );
}

#[test]
fn no_key_shows_in_what_is_printed() {
    let data = make(&Step::AddNextCa(Why::Due), Some(&fresh()), NOW);
    let contents = Contents::read(&data);
    let stored = Stored::Ours(Box::new(contents.clone()));
    let said = format!("{data:?} {contents:?} {stored:?}");
    for key in [KEY, AUTHORITY_KEY, NEXT_KEY] {
        let text = String::from_utf8(data.get(key).to_vec()).unwrap();
        let body = text.lines().nth(1).unwrap();
        assert!(body.len() > 20);
        assert!(!said.contains(body), "{key}");
    }
    assert!(!said.contains("PRIVATE"), "{said}");
}
