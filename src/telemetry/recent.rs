//! Counts of the last hour, by name.

use std::collections::HashMap;
use std::time::Duration;

const MINUTES: usize = 60;

/// Counts of the last hour, minute by minute.
#[derive(Debug, Default)]
pub(super) struct LastHour(HashMap<String, Ring>);

#[derive(Debug)]
struct Ring {
    /// The minute that was counted last, since the start of the process.
    last: u64,
    minutes: [u64; MINUTES],
}

impl LastHour {
    /// Counts one more; `since` is the time since the start of the process.
    pub(super) fn count(&mut self, name: String, since: Duration) {
        let minute = minute(since);
        let ring = self.0.entry(name).or_insert(Ring {
            last: minute,
            minutes: [0; MINUTES],
        });
        ring.advance(minute);
        if let Some(count) = ring.minutes.get_mut(place(minute)) {
            *count += 1;
        }
    }

    /// How many there were in the last hour.
    pub(super) fn sum(&mut self, name: &str, since: Duration) -> u64 {
        self.0.get_mut(name).map_or(0, |ring| {
            ring.advance(minute(since));
            ring.minutes.iter().sum()
        })
    }
}

impl Ring {
    /// Forgets what is over an hour old.
    fn advance(&mut self, minute: u64) {
        let gone = minute.saturating_sub(self.last).min(MINUTES as u64);
        for step in 0..gone {
            if let Some(count) = self.minutes.get_mut(place(minute - step)) {
                *count = 0;
            }
        }
        self.last = self.last.max(minute);
    }
}

fn minute(since: Duration) -> u64 {
    since.as_secs() / 60
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_an_hour_old_is_forgotten() {
        let at = Duration::from_mins;
        let mut counts = LastHour::default();
        counts.count("a".to_owned(), at(5));
        counts.count("a".to_owned(), at(5));
        counts.count("a".to_owned(), at(50));
        counts.count("b".to_owned(), at(50));
        assert_eq!(
            (counts.sum("a", at(64)), counts.sum("b", at(64)), counts.sum("c", at(64))),
            (3, 1, 0)
        );
        assert_eq!(counts.sum("a", at(65)), 1);
        counts.count("a".to_owned(), at(109));
        assert_eq!(counts.sum("a", at(109)), 2);
        assert_eq!(counts.sum("a", at(1000)), 0);
    }
}
