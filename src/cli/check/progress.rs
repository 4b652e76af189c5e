//! One line on a terminal while a run takes longer than a moment: how many images are judged, and which registry it is waiting for.

use crate::engine::Gate;
use crate::image::escape;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;
use tokio::time::Instant;

/// When the line first appears: a shorter run needs none.
const AFTER: Duration = Duration::from_secs(1);
/// How often it is written again.
const EVERY: Duration = Duration::from_millis(200);

/// The line; cleared when it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    on_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            shown: false,
            on_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Waits for `work`, and writes the line meanwhile; `done` of `all` are judged so far.
    pub(super) async fn during<T>(
        &mut self,
        gate: &Gate,
        begun: Instant,
        (done, all): (usize, usize),
        work: impl Future<Output = T>,
    ) -> T {
        if !self.on_terminal {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        loop {
            let next = (begun + AFTER).max(Instant::now() + EVERY);
            match tokio::time::timeout_at(next, &mut work).await {
                Ok(result) => return result,
                Err(_) => self.write(&sentence(done, all, gate.slowest())),
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.shown = true;
        // Standard error is closed: there is nobody to tell.
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            self.write("");
        }
    }
}

/// `12 of 340 objects; waiting for registry.example for 4 s`
fn sentence(done: usize, all: usize, slowest: Option<(String, Duration)>) -> String {
    let waiting = slowest.map_or_else(String::new, |(host, time)| {
        let host: String = escape(&host).chars().take(60).collect();
        format!("; waiting for {host} for {} s", time.as_secs())
    });
    format!("{done} of {all} objects{waiting}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_counts_and_the_slowest_host() {
        let slow = Some(("a.test\u{1b}[2J:5000".to_owned(), Duration::from_millis(4200)));
        assert_eq!(
            sentence(12, 340, slow),
            "12 of 340 objects; waiting for a.test\\u{1b}[2J:5000 for 4 s"
        );
        assert_eq!(sentence(0, 1, None), "0 of 1 objects");
    }
}
