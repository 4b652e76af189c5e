//! A failure in few events.

use crate::run::{Options, run};
use crate::script::{Event, Script};

/// Runs that are made to find a shorter script.
const TRIES: usize = 400;

/// Looks for a smaller script that still fails.
struct Smaller<'a> {
    best: Script,
    options: &'a Options,
    check: &'a str,
    tries: usize,
}

/// The script with as few events, pods, images, nodes and replicas as still make `check` fail.
pub fn shrunk(script: &Script, options: &Options, check: &str) -> Script {
    let mut smaller = Smaller {
        best: script.clone(),
        options,
        check,
        tries: TRIES,
    };
    let mut share = script.events.len().div_ceil(2);
    while share > 0 {
        let mut at = 0;
        while at < smaller.best.events.len() {
            let end = (at + share).min(smaller.best.events.len());
            if !smaller.without(|script| drop(script.events.drain(at..end))) {
                at += share;
            }
        }
        share /= 2;
    }
    for at in 0..smaller.best.events.len() {
        smaller.review(at);
    }
    for at in (0..smaller.best.cluster.nodes.len()).rev() {
        smaller.without(|script| {
            script.cluster.nodes.remove(at);
        });
    }
    smaller.best
}

impl Smaller<'_> {
    /// Whether it fails still when this is done to it; then it stays done.
    fn without(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        let mut shorter = self.best.clone();
        change(&mut shorter);
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let fails = run(&shorter, self.options).wrongs.iter().any(|(saw, _)| *saw == self.check);
        if fails {
            self.best = shorter;
        }
        fails
    }

    /// One pod and one image do, if it is not about their number.
    fn review(&mut self, at: usize) {
        let Some((_, Event::Review(review))) = self.best.events.get(at) else {
            return;
        };
        let (images, pods) = (review.images.len(), review.pods);
        let mut changed = |change: &dyn Fn(&mut crate::script::Review)| {
            self.without(|script| {
                if let Some((_, Event::Review(review))) = script.events.get_mut(at) {
                    change(review);
                }
            })
        };
        for image in (0..images).rev().filter(|_| images > 1) {
            changed(&|review| {
                if review.images.len() > 1 {
                    review.images.remove(image);
                }
            });
        }
        let mut fewer = pods / 2;
        while fewer > 0 && changed(&|review| review.pods = fewer) {
            fewer /= 2;
        }
    }
}
