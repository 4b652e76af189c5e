//! How many reviews a policy has denied in the last hour, in its status: each replica writes its own count and the sum of all. Pure.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A count is written again after that long even if it is the same, so that the others see that its replica is alive.
const FRESH: SignedDuration = SignedDuration::from_mins(30);
/// A count that was not written for that long belongs to a replica that is gone.
const GONE: SignedDuration = SignedDuration::from_mins(70);

/// What this replica knows.
#[derive(Clone, Copy)]
pub(super) struct Denials<'a> {
    /// The replica's name.
    pub(super) replica: &'a str,
    /// The time.
    pub(super) now: Timestamp,
    /// How many reviews it has denied in the last hour, by policy.
    pub(super) counts: &'a dyn Fn(&str) -> u64,
}

/// A replica's count, as a status has it.
struct Count {
    replica: String,
    last_hour: u64,
    age: SignedDuration,
    written: Value,
}

impl Denials<'_> {
    /// Whether a policy's status has this replica's count, and none of a replica that is gone.
    pub(super) fn agrees(&self, status: &Value, policy: &str) -> bool {
        let all = self.counted(status);
        let own = all.iter().find(|count| count.replica == self.replica);
        let as_written = match (own, (self.counts)(policy)) {
            (None, 0) => true,
            (None, _) => false,
            (Some(own), now) => own.last_hour == now && now > 0 && own.age < FRESH,
        };
        as_written && all.iter().all(|count| count.age < GONE)
    }

    /// Puts the counts into the status to write.
    pub(super) fn write(&self, before: &Value, policy: &str, written: &mut Value) {
        let mut all = self.counted(before);
        all.retain(|count| count.replica != self.replica && count.age < GONE);
        let mut sum: u64 = all.iter().map(|count| count.last_hour).sum();
        let mut list: Vec<Value> = all.into_iter().map(|count| count.written).collect();
        let own = (self.counts)(policy);
        if own > 0 {
            sum = sum.saturating_add(own);
            let at = self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            list.push(json!({"replica": self.replica, "lastHour": own, "at": at}));
        }
        written["deniedLastHour"] = sum.into();
        // A merge patch removes what is null.
        written["denials"] = if list.is_empty() { Value::Null } else { list.into() };
    }

    fn counted(&self, status: &Value) -> Vec<Count> {
        let list = status.get("denials").and_then(Value::as_array);
        let read = |written: &Value| {
            let at: Option<Timestamp> = written.get("at").and_then(Value::as_str).and_then(|at| at.parse().ok());
            Count {
                replica: written.get("replica").and_then(Value::as_str).unwrap_or_default().to_owned(),
                last_hour: written.get("lastHour").and_then(Value::as_u64).unwrap_or_default(),
                age: at.map_or(GONE, |at| self.now.duration_since(at)),
                written: written.clone(),
            }
        };
        list.into_iter().flatten().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_add_up_and_those_that_are_gone_are_forgotten() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let of = |replica: &'static str, now: &str, count: u64, status: &Value| {
            let counts = move |_: &str| count;
            let denials = Denials {
                replica,
                now: at(now),
                counts: &counts,
            };
            let mut written = json!({});
            denials.write(status, "p", &mut written);
            (denials.agrees(status, "p"), written)
        };
        let (agreed, first) = of("a", "2026-12-01T10:00:00Z", 3, &Value::Null);
        assert!(!agreed);
        assert_eq!(first["deniedLastHour"], 3);
        let (agreed, both) = of("b", "2026-12-01T10:01:00Z", 2, &first);
        assert!(!agreed);
        assert_eq!(both["deniedLastHour"], 5);
        assert!(of("a", "2026-12-01T10:02:00Z", 3, &both).0);
        assert!(
            of("c", "2026-12-01T10:02:00Z", 0, &both).0,
            "who denied nothing writes nothing"
        );
        assert!(!of("a", "2026-12-01T10:40:00Z", 3, &both).0, "it shows that it is alive");
        let (agreed, later) = of("a", "2026-12-01T11:20:00Z", 1, &both);
        assert!(!agreed);
        assert_eq!(
            (&later["deniedLastHour"], later["denials"].as_array().unwrap().len()),
            (&json!(1), 1),
            "b is gone"
        );
        let (agreed, none) = of("a", "2026-12-01T11:21:00Z", 0, &later);
        assert!(!agreed);
        assert_eq!(none, json!({"deniedLastHour": 0, "denials": null}));
    }
}
