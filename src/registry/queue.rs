//! Limits how many requests run at once and how many wait. Namespaces take turns, so that one namespace's thousand requests do not hold up
//! another's single one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

tokio::task_local! {
    /// The namespace whose review a task works for.
    static SHARE: Arc<str>;
}

/// Runs `work` on behalf of a namespace: its requests wait behind its own.
pub fn on_behalf_of<F: Future>(namespace: Arc<str>, work: F) -> impl Future<Output = F::Output> {
    SHARE.scope(namespace, work)
}

/// The share on whose behalf this task works; the common share if none was set.
pub fn share() -> Arc<str> {
    SHARE.try_with(Arc::clone).unwrap_or_default()
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

/// The queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    waiting: AtomicUsize,
    most: usize,
}

struct State {
    free: usize,
    /// The waiting tasks by share, each in the order of arrival.
    lines: HashMap<Arc<str>, VecDeque<oneshot::Sender<Place>>>,
    /// The shares that wait, the next one first.
    turns: VecDeque<Arc<str>>,
    /// The number in all lines, including those that have gone away.
    entries: usize,
}

/// A place; the next one gets it when it is dropped.
pub(super) struct Place(Option<Arc<Inner>>);

impl Queue {
    /// `at_once` run, `most` wait, and at most half of those from one share.
    pub(super) fn new(at_once: usize, most: usize) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                free: at_once,
                lines: HashMap::new(),
                turns: VecDeque::new(),
                entries: 0,
            }),
            waiting: AtomicUsize::new(0),
            most,
        }))
    }

    pub(super) async fn enter(&self) -> Result<Place, Crowded> {
        let (mut turn, _waiting) = {
            let mut state = self.0.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Place(Some(Arc::clone(&self.0))));
            }
            let waiting = Waiting(&self.0.waiting);
            if waiting.0.fetch_add(1, Ordering::Relaxed) >= self.0.most {
                return Err(Crowded);
            }
            (state.join(&share(), self.0.most / 2)?, waiting)
        };
        // The sender is in its line until it has sent.
        (&mut turn).await.map_err(|_| Crowded)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl State {
    fn join(&mut self, share: &Arc<str>, most: usize) -> Result<oneshot::Receiver<Place>, Crowded> {
        let line = self.lines.entry(Arc::clone(share)).or_default();
        if line.len() >= most.max(1) {
            let before = line.len();
            line.retain(|turn| !turn.is_closed());
            self.entries -= before - line.len();
            if line.len() >= most.max(1) {
                return Err(Crowded);
            }
        }
        if line.is_empty() && !self.turns.contains(share) {
            self.turns.push_back(Arc::clone(share));
        }
        let (sender, turn) = oneshot::channel();
        line.push_back(sender);
        self.entries += 1;
        Ok(turn)
    }

    /// The next one, whose share then is the last.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        loop {
            let share = self.turns.pop_front()?;
            let Some(line) = self.lines.get_mut(&share) else { continue };
            let next = line.pop_front();
            if line.is_empty() {
                self.lines.remove(&share);
            } else {
                self.turns.push_back(share);
            }
            if let Some(next) = next {
                self.entries -= 1;
                if !next.is_closed() {
                    return Some(next);
                }
            }
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        let mut state = inner.state();
        while let Some(next) = state.next() {
            match next.send(Place(Some(Arc::clone(&inner)))) {
                Ok(()) => return,
                // It went away in this moment. This place is still ours to give.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
        state.free += 1;
    }
}

/// A waiting task. It is removed from the count however its wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn of<'a>(name: &str, queue: &'a Queue) -> std::pin::Pin<Box<impl Future<Output = Result<Place, Crowded>> + 'a>> {
        Box::pin(on_behalf_of(Arc::from(name), queue.enter()))
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_counted_out() {
        let queue = Queue::new(1, 4);
        let inside = queue.enter().await.unwrap();
        let (mut one, mut two) = (of("a", &queue), of("a", &queue));
        assert!(futures_util::poll!(&mut one).is_pending() && futures_util::poll!(&mut two).is_pending());
        assert_eq!(of("a", &queue).await.err(), Some(Crowded), "half of it is one share's");
        drop(two);
        let mut three = of("a", &queue);
        assert!(futures_util::poll!(&mut three).is_pending(), "there is room again");
        let (mut four, mut five) = (of("b", &queue), of("c", &queue));
        assert!(futures_util::poll!(&mut four).is_pending() && futures_util::poll!(&mut five).is_pending());
        assert_eq!(of("d", &queue).await.err(), Some(Crowded));
        assert_eq!(queue.waiting(), 4);
        drop(inside);
        for waiting in [one, four, five, three] {
            assert!(waiting.now_or_never().unwrap().is_ok());
        }
        assert_eq!(queue.waiting(), 0);
        assert_eq!(queue.0.state().entries, 0);
        assert!(queue.enter().now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn shares_take_turns() {
        let queue = Queue::new(1, 4096);
        let mut inside = queue.enter().await.unwrap();
        let mut greedy: Vec<_> = (0..1000).map(|_| of("greedy", &queue)).collect();
        for waiting in &mut greedy {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        let mut modest = of("modest", &queue);
        assert!(futures_util::poll!(&mut modest).is_pending());
        drop(inside);
        inside = greedy.remove(0).now_or_never().unwrap().unwrap();
        assert!(futures_util::poll!(&mut modest).is_pending(), "one at a time");
        drop(inside);
        assert!(
            modest.now_or_never().unwrap().is_ok(),
            "the second, not the thousand and first"
        );
    }

    #[tokio::test]
    async fn a_place_that_nobody_takes_any_longer_goes_on() {
        let queue = Queue::new(1, 10);
        let inside = queue.enter().await.unwrap();
        let (mut gone, mut given, mut last) = (of("a", &queue), of("a", &queue), of("a", &queue));
        for waiting in [&mut gone, &mut given, &mut last] {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        drop(gone);
        drop(inside);
        // It has its place, and goes away before it knows.
        drop(given);
        assert!(last.now_or_never().unwrap().is_ok());
    }
}
