//! A failure in few events, and in words.

use crate::run::{Options, run};
use crate::script::Script;
use std::fmt::Write as _;

/// Runs that are made to find a shorter script.
const TRIES: usize = 400;

fn fails(script: &Script, options: &Options, check: &str) -> bool {
    run(script, options).wrongs.iter().any(|(saw, _)| *saw == check)
}

/// The script with as few events as still make `check` fail.
fn shrunk(script: &Script, options: &Options, check: &str) -> Script {
    let mut best = script.clone();
    let mut share = best.events.len().div_ceil(2);
    let mut tries = 0;
    while share > 0 && tries < TRIES {
        let mut at = 0;
        while at < best.events.len() && tries < TRIES {
            let mut shorter = best.clone();
            shorter.events.drain(at..(at + share).min(best.events.len()));
            tries += 1;
            if fails(&shorter, options, check) {
                best = shorter;
            } else {
                at += share;
            }
        }
        share /= 2;
    }
    best
}

/// The story of a seed that fails.
pub fn told(script: &Script, options: &Options, check: &str) -> String {
    let short = shrunk(script, options, check);
    let report = run(
        &short,
        &Options {
            tells: true,
            ..options.clone()
        },
    );
    let mut text = String::new();
    let (seed, all) = (script.seed, script.events.len());
    let _ = writeln!(
        text,
        "seed {seed} of {all} events, with the {} that it takes:",
        short.events.len()
    );
    let _ = writeln!(text, "  nodes: {:?}; depth: {:?}", short.cluster.nodes, short.depth);
    for replica in &short.replicas {
        let _ = writeln!(text, "  a replica whose watches are {} ms behind", replica.lag);
    }
    for registry in &short.content.registries {
        let login = format!(
            "{:?}, {:?}, rights at use: {}",
            registry.login, registry.hides, registry.rights_at_use
        );
        let _ = writeln!(text, "  {}: {login}, tokens for {} s", registry.host, registry.token_life);
    }
    for line in &report.story {
        let _ = writeln!(text, "{line}");
    }
    text
}
