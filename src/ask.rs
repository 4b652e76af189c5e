//! Functions that ask. What decides in pullgate is a pure function that asks questions of an [`Ask`] and gets the answers that are known; an
//! answer that is missing ends the run with [`Missing`], whoever drives the function fetches it, and the function runs again from the start.
//!
//! - A run decides only if nothing was missing: code that swallows a `Missing` cannot end the asking early.
//! - A branch that has missed an answer asks nothing more: what it would ask next might rest on a wrong guess.
//! - What was answered once stays answered ([`Log`]): runs are deterministic, and each question is asked at most once.

use std::collections::HashMap;
use std::hash::Hash;

/// Something that can be asked.
pub trait Question: Clone + Eq + Hash {
    /// What it is answered with.
    type Answer: Clone;

    /// The answer that stands for one that did not come in time.
    fn late(&self) -> Self::Answer;
}

/// An answer is not known yet. Only [`Ask::get`] makes one; pass it on with `?`.
#[must_use]
#[derive(Debug)]
pub struct Missing(());

/// Memory that answers at once, or not at all.
pub trait Recall<Q: Question> {
    /// The answer, if it is known.
    fn recall(&self, question: &Q) -> Option<Q::Answer>;
}

/// A memory that can also fetch what it does not know.
pub trait Source<Q: Question>: Recall<Q> {
    /// Gets an answer, however long it takes. Whoever waits may go away.
    fn fetch(&self, question: Q) -> impl Future<Output = (Q, Q::Answer)> + Send;
}

/// A memory that knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl<Q: Question> Recall<Q> for Nothing {
    fn recall(&self, _: &Q) -> Option<Q::Answer> {
        None
    }
}

/// The answers that the runs of a function have received so far.
#[derive(Debug, Clone)]
pub struct Log<Q: Question>(HashMap<Q, Q::Answer>);

impl<Q: Question> Default for Log<Q> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<Q: Question> Log<Q> {
    /// Adds an answer. A question that was answered before keeps its first answer.
    pub fn insert(&mut self, question: Q, answer: Q::Answer) {
        self.0.entry(question).or_insert(answer);
    }

    /// The answer to a question, if it was answered.
    pub fn get(&self, question: &Q) -> Option<&Q::Answer> {
        self.0.get(question)
    }

    /// How many questions were answered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was answered yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a run may ask.
pub struct Ask<'a, Q: Question> {
    log: &'a mut Log<Q>,
    memory: &'a dyn Recall<Q>,
    wanted: Vec<Q>,
    blocked: bool,
}

impl<Q: Question> Ask<'_, Q> {
    /// The answer to `question`: from the log, else from memory. Otherwise the question is noted, and this branch of the run ends.
    pub fn get(&mut self, question: Q) -> Result<Q::Answer, Missing> {
        if self.blocked {
            return Err(Missing(()));
        }
        if let Some(answer) = self.log.0.get(&question) {
            return Ok(answer.clone());
        }
        if let Some(answer) = self.memory.recall(&question) {
            self.log.0.insert(question, answer.clone());
            return Ok(answer);
        }
        if !self.wanted.contains(&question) {
            self.wanted.push(question);
        }
        self.blocked = true;
        Err(Missing(()))
    }

    /// Runs `run` for each item as a branch of its own, so that what they miss is asked for together. The results stand in the order of
    /// the items.
    pub fn each<T, U>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut run: impl FnMut(&mut Self, T) -> Result<U, Missing>,
    ) -> Result<Vec<U>, Missing> {
        if self.blocked {
            return Err(Missing(()));
        }
        let mut results = Vec::new();
        let mut missing = false;
        for item in items {
            self.blocked = false;
            match run(self, item) {
                Ok(result) => results.push(result),
                Err(Missing(())) => missing = true,
            }
            missing |= self.blocked;
        }
        self.blocked = missing;
        if missing { Err(Missing(())) } else { Ok(results) }
    }
}

/// How far a run came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<Q, T> {
    /// These answers are missing. In the order in which they were asked for, each once.
    Ask(Vec<Q>),
    /// The result, which rests on known answers only.
    Done(T),
}

/// Runs the function once over what is known.
pub fn step<Q: Question, T>(
    log: &mut Log<Q>,
    memory: &dyn Recall<Q>,
    run: impl FnOnce(&mut Ask<'_, Q>) -> Result<T, Missing>,
) -> Step<Q, T> {
    let mut ask = Ask {
        log,
        memory,
        wanted: Vec::new(),
        blocked: false,
    };
    match run(&mut ask) {
        Ok(done) if ask.wanted.is_empty() => Step::Done(done),
        Ok(_) | Err(Missing(())) => Step::Ask(ask.wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Number(u32);

    impl Question for Number {
        type Answer = u32;

        fn late(&self) -> u32 {
            0
        }
    }

    /// Asks for `from`, then for as many numbers as the answer says, all at once, and for each of them one more.
    fn sum(from: u32, ask: &mut Ask<'_, Number>) -> Result<u32, Missing> {
        let width = ask.get(Number(from))? % 5;
        let parts = ask.each(0..width, |ask, at| {
            let first = ask.get(Number(100 + at))?;
            let second = ask.get(Number(200 + first % 7))?;
            Ok(first.wrapping_add(second))
        })?;
        Ok(parts.into_iter().fold(width, u32::wrapping_add))
    }

    /// Drives `sum`; of each round's questions only one is answered, chosen by `choose`.
    fn drive(from: u32, answers: &dyn Fn(u32) -> u32, choose: &mut dyn FnMut(usize) -> usize) -> (u32, usize) {
        let mut log = Log::default();
        for rounds in 0.. {
            match step(&mut log, &Nothing, |ask| sum(from, ask)) {
                Step::Done(sum) => return (sum, rounds),
                Step::Ask(questions) => {
                    assert!(!questions.is_empty());
                    let question = questions[choose(questions.len())].clone();
                    let answer = answers(question.0);
                    log.insert(question, answer);
                }
            }
        }
        unreachable!()
    }

    proptest! {
        #[test]
        fn any_order_of_answers_ends_the_same(from in 0..50u32, seed in any::<u32>(), order in proptest::collection::vec(any::<usize>(), 1..20)) {
            let answers = |question: u32| question.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 3;
            let (in_order, _) = drive(from, &answers, &mut |_| 0);
            let mut at = 0;
            let (mixed, rounds) = drive(from, &answers, &mut |len| { at += 1; order[at % order.len()] % len });
            prop_assert_eq!(in_order, mixed);
            prop_assert!(rounds <= 9);
        }
    }

    #[test]
    fn what_is_independent_is_asked_together() {
        let mut log = Log::default();
        log.insert(Number(1), 3);
        let asked = step(&mut log, &Nothing, |ask| sum(1, ask));
        assert_eq!(asked, Step::Ask(vec![Number(100), Number(101), Number(102)]));
    }

    #[test]
    fn who_swallows_what_is_missing_neither_decides_nor_asks_on() {
        let asked = step(&mut Log::default(), &Nothing, |ask| {
            let _ = ask.get(Number(1));
            let _ = ask.get(Number(2));
            let _ = ask.each([3, 4], |ask, number| ask.get(Number(number)));
            Ok(5)
        });
        assert_eq!(asked, Step::Ask(vec![Number(1)]));
        let asked = step(&mut Log::default(), &Nothing, |ask| {
            ask.each([3, 4], |ask, number| {
                let _ = ask.get(Number(number));
                Ok(())
            })
            .map(|_| 5)
        });
        assert_eq!(asked, Step::Ask(vec![Number(3), Number(4)]));
    }

    #[test]
    fn what_memory_says_stays_said() {
        struct Once(std::cell::Cell<Option<u32>>);
        impl Recall<Number> for Once {
            fn recall(&self, _: &Number) -> Option<u32> {
                self.0.take()
            }
        }
        let memory = Once(std::cell::Cell::new(Some(7)));
        let mut log = Log::default();
        let run = |ask: &mut Ask<'_, Number>| ask.get(Number(1));
        assert_eq!(step(&mut log, &memory, run), Step::Done(7));
        assert_eq!(step(&mut log, &memory, run), Step::Done(7));
        log.insert(Number(1), 8);
        assert_eq!(log.get(&Number(1)), Some(&7));
        assert_eq!(log.len(), 1);
    }
}
