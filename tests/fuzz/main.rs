//! The fuzz targets (`fuzz/`) without a fuzzer: what the corpus has, and mutations of it from a seed, the same ones every time. It needs nothing
//! but what is here; with coverage they run in `fuzz/run`.
//!
//! ```text
//! cargo test --locked --test fuzz
//! PULLGATE_INPUTS=800000 PULLGATE_SEED=7 cargo test --release --locked --test fuzz -- --ignored --nocapture many_inputs
//! PULLGATE_SECONDS=60 PULLGATE_TARGETS='machine token' cargo test --locked --test fuzz -- --ignored --nocapture many_inputs
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, missing_docs, reason = "these modules are of tests only")]

#[path = "../simulation/random.rs"]
mod random;
#[path = "../../fuzz/targets.rs"]
mod targets;

use random::Random;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

/// Mutations of each target in the usual run.
const INPUTS: u64 = 400;
/// What formats here are made of.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    ":",
    ",",
    "\"",
    "'",
    "\\u0000",
    "\\",
    "\n",
    "\r\n",
    "\t",
    " ",
    "#",
    "&a ",
    "*a",
    "<<: ",
    "!!",
    "|-\n",
    "---\n",
    "@",
    "/",
    "sha256:",
    "null",
    "true",
    "-1",
    "9223372036854775808",
    "1e400",
    "\u{feff}",
    "é",
    "%",
    "=",
    "host",
    "server",
    "image: ",
    "realm=",
    "scope=",
    "Bearer ",
    "Basic ",
    "https://HOST/token",
    "http://evil.example/",
    "auths",
    "\0",
];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect()
}

/// A few changes to an input: bytes, words, pieces of another one.
fn mutated(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.between(1, 6) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[0],
            2 => drop(bytes.splice(at..at, random.of(WORDS).bytes())),
            3 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            5 if !other.is_empty() => {
                let from = random.below(other.len());
                let end = (from + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            6 => bytes.truncate(at),
            _ => bytes.insert(at, random.next().to_le_bytes()[0]),
        }
    }
    bytes.truncate(64 << 10);
    bytes
}

/// Runs an input; a panic names it.
fn hold(target: &str, run: fn(&[u8]), input: &[u8], whence: &str) {
    let held = std::panic::catch_unwind(AssertUnwindSafe(|| run(input)));
    if held.is_err() {
        let mut hex = String::new();
        for byte in input {
            let _ = write!(hex, "{byte:02x}");
        }
        panic!(
            "{target} falls to {whence}:\n{}\nin hex: {hex}",
            String::from_utf8_lossy(input)
        );
    }
}

fn fuzz(target: &str, run: fn(&[u8]), seed: u64, inputs: u64) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 2, "{target} has no corpus");
    for (file, input) in &corpus {
        hold(target, run, input, &file.display().to_string());
    }
    let mut random = Random::new(seed);
    for at in 0..inputs {
        let (_, input) = random.of(&corpus);
        let (_, other) = random.of(&corpus);
        let input = mutated(input, other, &mut random);
        hold(target, run, &input, &format!("input {at} of seed {seed}"));
    }
}

#[test]
fn nothing_falls_to_the_corpus_and_its_mutations() {
    for (target, run) in targets::ALL {
        fuzz(target, *run, 1, INPUTS);
    }
}

/// What is built for the fuzzer has a lock file of its own: `fuzz/run` builds nothing where that is behind `Cargo.lock`.
#[test]
fn the_fuzzer_is_built_of_what_we_are() {
    let packages = |file: &str| -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let blocks = text.split("\n\n").filter_map(|block| {
            let block = block.trim().strip_prefix("[[package]]\nname = \"")?;
            let (name, rest) = block.split_once('"')?;
            Some((format!("{name} {}", rest.lines().nth(1)?), rest.to_owned()))
        });
        blocks.collect()
    };
    let (ours, fuzzers) = (packages("Cargo.lock"), packages("fuzz/Cargo.lock"));
    let here = "make it again: cp Cargo.lock fuzz/Cargo.lock && cargo fetch --manifest-path fuzz/Cargo.toml";
    // What only a fuzzer needs.
    let own = ["arbitrary ", "libfuzzer-sys ", "pullgate-fuzz "];
    for name in fuzzers.keys().filter(|name| !own.iter().any(|own| name.starts_with(own))) {
        assert!(ours.contains_key(name), "{name} is not in Cargo.lock; {here}");
    }
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let dependencies = dependencies.split("\n\n[").next().unwrap().lines();
    let names: Vec<&str> = dependencies
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    let (_, of_us) = fuzzers.iter().find(|(name, _)| name.starts_with("pullgate ")).unwrap();
    let locked: Vec<&str> = of_us
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split([' ', '"']).next())
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        assert!(locked.contains(name), "{name} is not in fuzz/Cargo.lock; {here}");
    }
    let gone: Vec<_> = locked.iter().filter(|name| !names.contains(name)).collect();
    assert!(gone.is_empty(), "{gone:?} are in fuzz/Cargo.lock still; {here}");
}

#[test]
#[ignore = "takes minutes; its head says how"]
fn many_inputs() {
    let set = |name: &str| {
        std::env::var_os(name)
            .and_then(|text| text.into_string().ok())
            .filter(|text| !text.is_empty())
    };
    let number = |name: &str| set(name).map(|text| text.parse::<u64>().unwrap());
    let by_clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    let seed = number("PULLGATE_SEED").unwrap_or_else(by_clock);
    let (inputs, seconds) = (number("PULLGATE_INPUTS"), number("PULLGATE_SECONDS").unwrap_or(5));
    let wanted = set("PULLGATE_TARGETS");
    println!("seed {seed}");
    let mut all = 0;
    for (target, run) in targets::ALL {
        if wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.split(' ').any(|wanted| wanted == *target))
        {
            continue;
        }
        let began = std::time::Instant::now();
        let mut ran = 0;
        while inputs.map_or_else(|| began.elapsed().as_secs() < seconds, |inputs| ran < inputs) {
            fuzz(target, *run, seed + ran, 100);
            ran += 100;
        }
        all += ran;
        println!("{target:<18} {ran:>10} inputs in {:.1?}", began.elapsed());
    }
    println!("{all} inputs, none falls");
}
