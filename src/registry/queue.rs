//! Limits how many requests run at once and how many wait. Namespaces take turns, and within one of them repositories do, so that one
//! namespace's thousand requests do not hold up another's single one. Some places always stay free for others: a namespace takes three
//! quarters of them at most, and a repository a third, since one that hangs keeps its places for as long as a request may take.

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
    /// The places taken, by share.
    held: HashMap<Arc<str>, usize>,
    /// The places taken, by repository.
    held_by_part: HashMap<Arc<str>, usize>,
    /// The waiting tasks by share.
    lines: HashMap<Arc<str>, Line>,
    /// The shares that wait, the next one first.
    turns: VecDeque<Arc<str>>,
    /// The number in all lines, including those that have gone away.
    entries: usize,
}

/// The waiting tasks of one share.
#[derive(Default)]
struct Line {
    /// By repository, each in the order of arrival; the empty one has what is about none.
    parts: HashMap<Arc<str>, VecDeque<oneshot::Sender<Place>>>,
    /// The repositories that wait, the next one first.
    turns: VecDeque<Arc<str>>,
    entries: usize,
}

/// A place; the next one gets it when it is dropped.
pub(super) struct Place(Option<Taken>);

struct Taken {
    inner: Arc<Inner>,
    share: Arc<str>,
    part: Arc<str>,
}

impl Queue {
    /// `at_once` run, `most` wait, and at most half of those from one share.
    pub(super) fn new(at_once: usize, most: usize) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                free: at_once,
                held: HashMap::new(),
                held_by_part: HashMap::new(),
                lines: HashMap::new(),
                turns: VecDeque::new(),
                entries: 0,
            }),
            waiting: AtomicUsize::new(0),
            most,
        }))
    }

    /// Waits for a place, for something that is about no repository.
    pub(super) async fn enter(&self) -> Result<Place, Crowded> {
        self.enter_for("").await
    }

    /// Waits for a place, for a request about this repository.
    pub(super) async fn enter_for(&self, part: &str) -> Result<Place, Crowded> {
        let (share, part) = (share(), Arc::from(part));
        let (mut turn, _waiting) = {
            let mut state = self.0.state();
            // Whoever waits may not have a place now, and only a place that is given back changes that.
            if state.may(&share, &part) {
                return Ok(state.take(&self.0, share, part));
            }
            let waiting = Waiting(&self.0.waiting);
            if waiting.0.fetch_add(1, Ordering::Relaxed) >= self.0.most {
                return Err(Crowded);
            }
            (state.join(&share, &part, self.0.most / 2)?, waiting)
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
    /// Whether there is a place for this share and this repository. The more they have, the more must be left for others.
    fn may(&self, share: &Arc<str>, part: &Arc<str>) -> bool {
        self.free > 0 && self.may_share(share) && self.may_part(part)
    }

    /// A single one comes to three quarters of all places. What works for nobody in particular has no others to think of.
    fn may_share(&self, share: &Arc<str>) -> bool {
        share.is_empty() || self.held.get(share).copied().unwrap_or_default() < self.free.saturating_mul(3)
    }

    /// A single one comes to a third of all places, three to three quarters.
    fn may_part(&self, part: &Arc<str>) -> bool {
        let held = self.held_by_part.get(part).copied().unwrap_or_default();
        part.is_empty() || held == 0 || held.saturating_mul(2) < self.free
    }

    fn take(&mut self, inner: &Arc<Inner>, share: Arc<str>, part: Arc<str>) -> Place {
        self.free -= 1;
        for (held, key) in [(&mut self.held, &share), (&mut self.held_by_part, &part)] {
            if !key.is_empty() {
                *held.entry(Arc::clone(key)).or_default() += 1;
            }
        }
        let inner = Arc::clone(inner);
        Place(Some(Taken { inner, share, part }))
    }

    fn give_back(&mut self, share: &Arc<str>, part: &Arc<str>) {
        self.free += 1;
        for (held, key) in [(&mut self.held, share), (&mut self.held_by_part, part)] {
            if let Some(many) = held.get_mut(key) {
                *many -= 1;
                if *many == 0 {
                    held.remove(key);
                }
            }
        }
    }

    fn join(&mut self, share: &Arc<str>, part: &Arc<str>, most: usize) -> Result<oneshot::Receiver<Place>, Crowded> {
        let line = self.lines.entry(Arc::clone(share)).or_default();
        if line.entries >= most.max(1) {
            self.entries -= line.forget_gone();
            if line.entries >= most.max(1) {
                return Err(Crowded);
            }
        }
        if line.entries == 0 && !self.turns.contains(share) {
            self.turns.push_back(Arc::clone(share));
        }
        let (sender, turn) = oneshot::channel();
        line.push(part, sender);
        self.entries += 1;
        Ok(turn)
    }

    /// The next one that may have a place. Its share and its repository then are the last.
    fn next(&mut self) -> Option<(Arc<str>, Arc<str>, oneshot::Sender<Place>)> {
        while self.free > 0 {
            let may = |share: &Arc<str>| {
                let line = self.lines.get(share).filter(|_| self.may_share(share))?;
                line.turns.iter().find(|part| self.may_part(part)).cloned()
            };
            let (at, part) = (self.turns.iter().enumerate()).find_map(|(at, share)| Some((at, may(share)?)))?;
            let share = self.turns.remove(at)?;
            let line = self.lines.get_mut(&share)?;
            let next = line.pop(&part);
            if line.entries == 0 {
                self.lines.remove(&share);
            } else {
                self.turns.push_back(Arc::clone(&share));
            }
            if let Some(next) = next {
                self.entries -= 1;
                if !next.is_closed() {
                    return Some((share, part, next));
                }
            }
        }
        None
    }
}

impl Line {
    fn push(&mut self, part: &Arc<str>, sender: oneshot::Sender<Place>) {
        let waiting = self.parts.entry(Arc::clone(part)).or_default();
        if waiting.is_empty() {
            self.turns.push_back(Arc::clone(part));
        }
        waiting.push_back(sender);
        self.entries += 1;
    }

    fn pop(&mut self, part: &Arc<str>) -> Option<oneshot::Sender<Place>> {
        let waiting = self.parts.get_mut(part)?;
        let next = waiting.pop_front();
        let is_empty = waiting.is_empty();
        let at = self.turns.iter().position(|other| other == part)?;
        let part = self.turns.remove(at)?;
        if is_empty {
            self.parts.remove(&part);
        } else {
            self.turns.push_back(part);
        }
        self.entries -= usize::from(next.is_some());
        next
    }

    /// Without those that have gone away; how many those were.
    fn forget_gone(&mut self) -> usize {
        let before = self.entries;
        for waiting in self.parts.values_mut() {
            waiting.retain(|turn| !turn.is_closed());
        }
        self.parts.retain(|_, waiting| !waiting.is_empty());
        self.turns.retain(|part| self.parts.contains_key(part));
        self.entries = self.parts.values().map(VecDeque::len).sum();
        before - self.entries
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
        let Some(Taken { inner, share, part }) = self.0.take() else {
            return;
        };
        let mut state = inner.state();
        state.give_back(&share, &part);
        // One place given back may be what more than one waited for.
        while let Some((share, part, next)) = state.next() {
            let place = state.take(&inner, share, part);
            if let Err(mut unwanted) = next.send(place) {
                // It went away in this moment. This place is still ours to give.
                if let Some(taken) = unwanted.0.take() {
                    state.give_back(&taken.share, &taken.part);
                }
            }
        }
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
    use futures_util::FutureExt;
    use std::task::Poll;

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

    fn held(queue: &Queue, name: &str, part: &str) -> Vec<Place> {
        let enter = || on_behalf_of(Arc::from(name), queue.enter_for(part)).now_or_never();
        std::iter::from_fn(|| enter()?.ok()).collect()
    }

    #[tokio::test]
    async fn a_share_and_a_repository_leave_places_for_others() {
        let queue = Queue::new(16, 4096);
        let greedy: Vec<Place> = (0..100)
            .flat_map(|at| held(&queue, "greedy", &format!("/v2/{at}")).into_iter().take(1))
            .collect();
        assert_eq!(greedy.len(), 12, "three quarters");
        let second = held(&queue, "second", "");
        assert_eq!(second.len(), 3);
        assert_eq!(
            held(&queue, "modest", "/v2/x").len(),
            1,
            "there is one left for whoever comes third"
        );
        drop((greedy, second));
        let three: Vec<Vec<Place>> = ["a", "b", "c"]
            .iter()
            .map(|name| held(&queue, name, &format!("/v2/{name}")))
            .collect();
        assert_eq!(three.iter().map(Vec::len).collect::<Vec<_>>(), [6, 4, 2], "each hangs");
        assert_eq!(held(&queue, "d", "").len(), 3, "four are left, one of them for the next");
        drop(three);
        assert_eq!(held(&queue, "", "").len(), 16, "who has no others to think of takes all");
        let state = queue.0.state();
        assert!(state.held.is_empty() && state.held_by_part.is_empty() && state.free == 16);
    }

    #[tokio::test]
    async fn what_waits_for_a_repository_that_hangs_holds_up_no_other_one() {
        let queue = Queue::new(16, 4096);
        let hanging = held(&queue, "a", "/v2/hangs");
        let mut behind: Vec<_> = (0..100)
            .map(|_| Box::pin(on_behalf_of(Arc::from("a"), queue.enter_for("/v2/hangs"))))
            .collect();
        for waiting in &mut behind {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        let mut fine = Box::pin(on_behalf_of(Arc::from("a"), queue.enter_for("/v2/fine")));
        let Poll::Ready(fine) = futures_util::poll!(&mut fine) else {
            panic!("there is room for it");
        };
        // A place that comes back goes to no more of them than before.
        drop(fine);
        assert!(behind.iter_mut().all(|waiting| waiting.now_or_never().is_none()));
        drop(hanging);
        let places: Vec<_> = behind.iter_mut().filter_map(FutureExt::now_or_never).collect();
        assert_eq!(places.len(), 6);
        drop((places, behind));
        assert_eq!(held(&queue, "", "").len(), 16, "those that went away have no place");
    }
}
