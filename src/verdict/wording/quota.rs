//! A pull quota in words.

use super::hint::{Situation, by_host, hint};
use crate::image::{Reference, escape};
use crate::runtime::outcome::{Counted, Level, Quota};
use std::time::Duration;

/// What to say about a quota that is low or used up, and what to do; `None` if plenty is left.
pub(in crate::verdict) fn quota(quota: Quota, reference: &Reference) -> Option<(String, String)> {
    let registry = escape(reference.registry());
    let whose = match quota.counted {
        Counted::Address | Counted::NotSaid => "nodes that pull from pullgate's address share it",
        Counted::Account => "nodes that pull with this credential share it",
    };
    let window = quota
        .window
        .map_or_else(|| "window".to_owned(), |window| format!("window of {}", span(window)));
    let message = match quota.level() {
        Level::Plenty => return None,
        Level::Low => {
            let limit = quota.limit.unwrap_or_default();
            format!(
                "the image is there; {registry} says: {} of {limit} pulls left in the {window} ({whose})",
                quota.remaining
            )
        }
        Level::Exhausted => {
            let of = quota
                .limit
                .map_or_else(String::new, |limit| format!(", 0 of {limit} pulls left in the {window}"));
            format!(
                "the image is there, but {registry} says that pullgate's pull quota is used up{of} ({whose}): it refuses pulls until the quota renews"
            )
        }
    };
    let own = hint(by_host(reference.registry()), Situation::Throttled).map_or_else(String::new, |hint| format!("{hint}; "));
    Some((message, format!("{own}pull with a credential, or through a mirror")))
}

/// `6 h`, `90 min`, `45 s`: in the largest unit that is whole.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds.is_multiple_of(3600) {
        format!("{} h", seconds / 3600)
    } else if seconds.is_multiple_of(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}
