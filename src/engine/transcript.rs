//! Records every request of a pull and its answer, for `pullgate explain`.

use crate::ask::{Log, Recall, Step, step};
use crate::runtime::Setup;
use crate::runtime::answer::Answer;
use crate::runtime::kubelet::{self, Attempts, PodPull};
use crate::runtime::request::Request;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The requests and answers of each pull. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Transcripts(Arc<Mutex<Vec<Transcript>>>);

/// A pull, and the answers that it rested on.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// The image, the credentials and the nodes of a pull.
    pub pod: PodPull,
    answers: Log<Request>,
}

/// What nodes of one kind ask, and the result.
#[derive(Debug)]
pub struct Conversation {
    /// The runtime and the pool.
    pub setup: Setup,
    /// The requests in the order of the runtime, each with its answer.
    pub exchanged: Vec<(Request, Answer)>,
    /// What comes of it.
    pub attempts: Attempts,
}

impl Transcripts {
    pub(super) fn add(&self, pod: &PodPull, answers: Log<Request>) {
        let transcript = Transcript {
            pod: pod.clone(),
            answers,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(transcript);
    }

    /// All so far, in that order.
    pub fn all(&self) -> Vec<Transcript> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers what was answered, and notes the order.
struct Replay<'a> {
    answers: &'a Log<Request>,
    exchanged: Mutex<Vec<(Request, Answer)>>,
}

impl Recall<Request> for Replay<'_> {
    fn recall(&self, request: &Request) -> Option<Answer> {
        let answer = self.answers.get(request)?.clone();
        let mut exchanged = self.exchanged.lock().unwrap_or_else(PoisonError::into_inner);
        exchanged.push((request.clone(), answer.clone()));
        Some(answer)
    }
}

impl Transcript {
    /// The pull once more for each kind of node, over the same answers.
    pub fn conversations(&self) -> Vec<Conversation> {
        let mut setups: BTreeSet<Option<Setup>> = self.pod.pullers.iter().map(|puller| Some(puller.setup())).collect();
        if setups.is_empty() {
            setups.insert(None);
        }
        let all = setups.into_iter().filter_map(|setup| {
            let pullers = self.pod.pullers.iter().filter(|puller| Some(puller.setup()) == setup);
            let pod = PodPull {
                pullers: pullers.cloned().collect(),
                ..self.pod.clone()
            };
            let replay = Replay {
                answers: &self.answers,
                exchanged: Mutex::default(),
            };
            let Step::Done(attempts) = step(&mut Log::default(), &replay, |ask| kubelet::pull(&pod, ask)) else {
                // All of it was answered before, in one run with the others.
                return None;
            };
            Some(Conversation {
                setup: setup.unwrap_or_else(kubelet::usual_setup),
                exchanged: replay.exchanged.into_inner().unwrap_or_else(PoisonError::into_inner),
                attempts,
            })
        });
        all.collect()
    }
}
