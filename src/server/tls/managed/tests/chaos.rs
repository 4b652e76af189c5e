//! Years of operation, with accidents. Their order is random, and the same in every run.

use super::fake::{DAY, Fake, elapse, settle};
use crate::server::tls::Validity;
use crate::server::tls::managed::contents::{AUTHORITY_KEY, CERTIFICATE, KEY, NEXT, NEXT_KEY, TRUST, UNTIL};
use crate::server::tls::managed::{Lifetimes, Managed, Round};
use std::time::Duration;

/// A small generator (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Four years, one replica's round at a time. After every single write, the API server accepts every replica that serves a certificate
/// which has not expired, even one that was cut off from it for two months.
#[tokio::test]
async fn in_years_of_renewals_and_rotations_no_served_certificate_is_ever_refused() {
    let fake = Fake::new().await;
    let mut replicas = vec![fake.replica(), fake.replica(), fake.replica()];
    for replica in &mut replicas {
        settle(replica).await;
    }
    let mut dice = Dice(7);
    let mut cut_off = [0_i64; 3];
    let (mut switches, mut restarts) = (0, 0);
    let end = fake.now() + 4 * 365 * DAY;
    while fake.now() < end {
        fake.pass(DAY);
        for at in [dice.roll(3), dice.roll(3)] {
            if cut_off[at] > fake.now() {
                continue;
            }
            if dice.roll(60) == 0 {
                cut_off[at] = fake.now() + 60 * DAY;
            }
            if dice.roll(80) == 0 {
                replicas[at] = fake.replica();
                restarts += 1;
            }
            let before = fake.trust();
            let fresh = replicas[at].certificate().leaf().is_none();
            while replicas[at].round().await != Round::Done {}
            if fake.trust().certificates()[0] != before.certificates()[0] {
                switches += 1;
            }
            assert!(!fresh || replicas[at].readiness()().is_ok());
            for (which, replica) in replicas.iter().enumerate() {
                // Cut off for so long that its certificate has expired.
                let served = Validity::of(&replica.certificate().leaf().unwrap()).unwrap();
                let over = served.not_after < fake.now() && cut_off[which] > 0;
                assert!(over || fake.takes(replica).is_ok(), "{which}: {:?}", fake.takes(replica));
            }
        }
    }
    assert!((2..4).contains(&switches), "after 487 days each: {switches}");
    assert!(restarts > 10, "{restarts}");
    // Two thirds of 90 days: some 24 renewals, each once, however many replicas there are.
    let writes = fake.count("PUT secret 201");
    assert!((20..45).contains(&writes), "{writes}");
    assert_eq!(fake.held().strange, [""; 0]);
}

/// The shortest lifetimes that the settings admit: three rotations of the CA every few minutes, late rounds, a replica that is cut off for
/// as long as its certificate is valid. After every round, every served certificate that has not expired is accepted.
#[tokio::test]
async fn with_lifetimes_of_a_minute_no_served_certificate_is_refused() {
    let lifetimes = Lifetimes {
        leaf: Duration::from_mins(1),
        authority: Duration::from_mins(2),
    };
    let fake = Fake::new().await;
    let new = || {
        let mut replica = fake.replica_for(&[], lifetimes);
        replica.settled = lifetimes.leaf / 10;
        replica
    };
    let mut replicas = vec![new(), new(), new()];
    for replica in &mut replicas {
        settle(replica).await;
    }
    let mut dice = Dice(11);
    let mut cut_off = [0_i64; 3];
    let mut rotations = 0;
    for _ in 0..3000 {
        let seconds = 1 + dice.roll(3);
        fake.pass(i64::try_from(seconds).unwrap());
        elapse(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
        let at = dice.roll(3);
        if cut_off[at] > fake.now() {
            continue;
        }
        if dice.roll(40) == 0 {
            cut_off[at] = fake.now() + i64::try_from(dice.roll(90)).unwrap();
        }
        if dice.roll(200) == 0 {
            replicas[at] = new();
        }
        let before = fake.trust();
        while replicas[at].round().await != Round::Done {}
        rotations += usize::from(fake.trust().certificates()[0] != before.certificates()[0]);
        for (which, replica) in replicas.iter().enumerate() {
            let Some(served) = replica.certificate().leaf() else {
                continue;
            };
            let over = Validity::of(&served).unwrap().not_after < fake.now();
            assert!(over || fake.takes(replica).is_ok(), "{which}: {:?}", fake.takes(replica));
        }
    }
    assert!(rotations > 30, "{rotations}");
}

async fn heal(replicas: &mut [Managed], dice: &mut Dice) {
    for _ in 0..3 {
        let first = dice.roll(replicas.len());
        for at in 0..replicas.len() {
            let at = (first + at) % replicas.len();
            settle(&mut replicas[at]).await;
        }
    }
}

#[tokio::test]
async fn whatever_is_broken_heals_within_three_looks_of_each_replica() {
    let fake = Fake::new().await;
    let stranger = Fake::new().await;
    settle(&mut stranger.replica()).await;
    let mut replicas = vec![fake.replica(), fake.replica()];
    let mut dice = Dice(42);
    heal(&mut replicas, &mut dice).await;
    let keys = [TRUST, AUTHORITY_KEY, CERTIFICATE, KEY, NEXT, NEXT_KEY, UNTIL];
    for accident in 0..100 {
        let mut what = Vec::new();
        for _ in 0..=dice.roll(3) {
            let key = keys[dice.roll(keys.len())];
            match dice.roll(11) {
                0 => {
                    fake.held().secret = None;
                    what.push("the Secret is deleted".to_owned());
                }
                1 => {
                    fake.spoil(key, None);
                    what.push(format!("{key} is gone"));
                }
                2 => {
                    fake.spoil(key, Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
                    what.push(format!("{key} is garbage"));
                }
                3 => {
                    fake.spoil(key, Some(&stranger.secret(key)));
                    what.push(format!("{key} is another's"));
                }
                4 => {
                    for key in keys {
                        fake.spoil(key, Some(&stranger.secret(key)));
                    }
                    what.push("everything is another's".to_owned());
                }
                5 => {
                    fake.spoil_bundle(stranger.trust().pem().as_bytes());
                    what.push("the bundle is another's".to_owned());
                }
                6 => {
                    fake.spoil_bundle(b"");
                    what.push("the bundle is empty".to_owned());
                }
                7 => {
                    fake.configure(&[("images.pullgate.dev", "pullgate")]);
                    what.push("the registration is recreated".to_owned());
                }
                8 => {
                    let days = i64::try_from(dice.roll(2000)).unwrap() - 1000;
                    fake.pass(days * DAY);
                    what.push(format!("the clock jumps by {days} days"));
                }
                9 => {
                    fake.pass(500 * DAY);
                    let one = dice.roll(2);
                    replicas[one].round().await;
                    what.push("amid a rotation".to_owned());
                }
                _ => {
                    let one = dice.roll(2);
                    replicas[one] = fake.replica();
                    what.push("a replica restarts".to_owned());
                }
            }
        }
        heal(&mut replicas, &mut dice).await;
        for replica in &replicas {
            assert_eq!(replica.readiness()(), Ok(()), "accident {accident}: {what:?}");
            assert_eq!(replica.certificate().check(), Ok(()), "accident {accident}: {what:?}");
            assert_eq!(fake.takes(replica), Ok(()), "accident {accident}: {what:?}");
        }
        // Then nothing is written any more.
        let writes = fake.all_writes();
        heal(&mut replicas, &mut dice).await;
        assert_eq!(fake.all_writes(), writes, "accident {accident}: {what:?}");
        assert!(fake.trust().certificates().len() <= 8, "accident {accident}: {what:?}");
    }
}
