//! Runs a function that asks until it decides.

use crate::ask::{Ask, Log, Missing, Question, Source, Step, step};
use crate::limits::QUESTIONS;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

/// Drives `run` over what `source` knows and fetches. Returns what it decided, and the answers that this rests on. Answers that are not
/// there at `until` are late, and so are those to what it asks beyond its thousand questions.
pub async fn drive<Q: Question, T>(
    source: &impl Source<Q>,
    until: Instant,
    run: impl Fn(&mut Ask<'_, Q>) -> Result<T, Missing>,
) -> (T, Log<Q>) {
    let mut log = Log::default();
    loop {
        let questions = match step(&mut log, source, &run) {
            // Warm: the first run, and nothing is awaited.
            Step::Done(done) => return (done, log),
            Step::Ask(questions) => questions,
        };
        // Nothing is started once nobody waits for it.
        let room = if Instant::now() < until {
            QUESTIONS.saturating_sub(log.len())
        } else {
            0
        };
        let begun = questions.iter().take(room);
        let mut open: FuturesUnordered<_> = begun.map(|question| source.fetch(question.clone())).collect();
        while let Ok(Some((question, answer))) = timeout_at(until, open.next()).await {
            log.insert(question, answer);
        }
        for question in questions {
            let late = question.late();
            log.insert(question, late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Recall;
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Number(u32);

    impl Question for Number {
        type Answer = Option<u32>;

        fn late(&self) -> Option<u32> {
            None
        }
    }

    /// Answers a number by the next one, after so many seconds; knows even numbers by heart.
    #[derive(Default)]
    struct Next {
        asked: Mutex<Vec<u32>>,
    }

    impl Recall<Number> for Next {
        fn recall(&self, question: &Number) -> Option<Option<u32>> {
            question.0.is_multiple_of(2).then_some(Some(question.0 + 1))
        }
    }

    impl Source<Number> for Next {
        async fn fetch(&self, question: Number) -> (Number, Option<u32>) {
            self.asked.lock().unwrap().push(question.0);
            tokio::time::sleep(Duration::from_secs(question.0.into())).await;
            let next = question.0 + 1;
            (question, Some(next))
        }
    }

    fn soon(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_not_awaited() {
        let source = Next::default();
        let begun = Instant::now();
        let (sum, log) = drive(&source, begun, |ask| Ok(ask.get(Number(2))?.zip(ask.get(Number(4))?))).await;
        assert_eq!(sum, Some((3, 5)));
        assert_eq!((log.len(), begun.elapsed()), (2, Duration::ZERO));
        assert!(source.asked.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_together_is_fetched_together_and_what_is_late_is_told_so() {
        let source = Next::default();
        let begun = Instant::now();
        let (numbers, _) = drive(&source, soon(10), |ask| {
            ask.each([3, 5, 99], |ask, number| {
                let first = ask.get(Number(number))?;
                let Some(first) = first else { return Ok(None) };
                ask.get(Number(first + 1))
            })
        })
        .await;
        // A round waits for its slowest: 7 would have been the next to be asked.
        assert_eq!(numbers, [Some(6), None, None]);
        assert_eq!(*source.asked.lock().unwrap(), [3, 5, 99]);
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        let (numbers, _) = drive(&source, soon(20), |ask| {
            ask.each([3, 5], |ask, number| {
                let first = ask.get(Number(number))?.unwrap_or_default();
                ask.get(Number(first + 1))
            })
        })
        .await;
        assert_eq!(numbers, [Some(6), Some(8)]);
        assert_eq!(begun.elapsed(), Duration::from_secs(10 + 5 + 7));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_deadline_nothing_is_begun() {
        let source = Next::default();
        let (answer, _) = drive(&source, Instant::now(), |ask| ask.get(Number(1))).await;
        assert_eq!(answer, None);
        assert!(source.asked.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_bounded() {
        let source = Next::default();
        let (last, log) = drive(&source, soon(100_000_000), |ask| {
            let mut at = 1;
            // Odd numbers only, so that each is fetched.
            while let Some(next) = ask.get(Number(at))? {
                at = next + 1;
            }
            Ok(at)
        })
        .await;
        assert_eq!(source.asked.lock().unwrap().len(), QUESTIONS);
        assert_eq!((log.len(), last), (QUESTIONS + 1, 2001));
    }
}
