//! Mixed load for half an hour against the real process, with troubles of registries that come and go by a seed: what it gets done, how long its
//! slowest reviews take, and whether memory, descriptors and threads stay what they are. Draws `docs/soak.svg`.
//!
//! ```text
//! cargo test --release --locked --test server -- --ignored --nocapture endurance
//! PULLGATE_MINUTES=10 PULLGATE_SEED=3 cargo test --locked --test server -- --ignored --nocapture endurance
//! ```

#![allow(clippy::cast_precision_loss, reason = "figures of a drawing")]

use crate::binary::Serving;
use crate::soak::{answer, facts, resident, review};
use crate::support::{connect, post};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const HOSTS: usize = 12;
const CALLERS: usize = 8;
/// Points of the drawing.
const SAMPLES: u32 = 120;
/// The `?timeout=` of a review.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with a registry; 0 is nothing.
const TROUBLES: [&str; 6] = ["", "is silent", "hangs up", "answers 503", "answers after 2 s", "answers 429"];

async fn attend(stream: TcpStream, trouble: &AtomicU8) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut authorized) = (String::new(), false);
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 || !line.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Ok(());
        }
        let is_head = line.starts_with("HEAD");
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            authorized |= header.to_lowercase().starts_with("authorization:");
            if header.trim().is_empty() {
                break;
            }
        }
        let (status, headers, body) = match trouble.load(Ordering::Relaxed) {
            1 => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                return Ok(());
            }
            2 => return Ok(()),
            3 => (503, String::new(), String::new()),
            5 => (429, "Retry-After: 2\r\n".to_owned(), String::new()),
            other => {
                if other == 4 {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                answer(&path, authorized)
            }
        };
        let mut whole = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        if !is_head {
            whole += &body;
        }
        stream.get_mut().write_all(whole.as_bytes()).await?;
    }
}

async fn registry(at: usize) -> (SocketAddr, Arc<AtomicU8>) {
    let listener = TcpListener::bind(format!("127.0.2.{}:0", at + 1)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let trouble = Arc::<AtomicU8>::default();
    let own = Arc::clone(&trouble);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let own = Arc::clone(&own);
            tokio::spawn(async move { attend(stream, &own).await });
        }
    });
    (address, trouble)
}

/// What is seen of the process at one moment.
#[derive(Debug, Clone, Default)]
struct Sample {
    values: BTreeMap<&'static str, f64>,
    troubled: usize,
}

/// The lines of the drawing: what, and its unit.
const LINES: [(&str, &str); 5] = [
    ("reviews", "a second"),
    ("p99", "ms"),
    ("resident memory", "MiB"),
    ("descriptors", ""),
    ("threads", ""),
];

fn threads(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

fn next(state: &mut u64) -> u64 {
    // SplitMix64.
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour, and draws docs/soak.svg"]
async fn endurance() {
    let number =
        |name: &str, usual: u64| std::env::var_os(name).map_or(usual, |text| text.to_str().unwrap().parse::<u64>().unwrap());
    let (minutes, seed) = (number("PULLGATE_MINUTES", 30), number("PULLGATE_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let (mut registries, mut troubles) = (Vec::new(), Vec::new());
    for at in 0..HOSTS {
        let (address, trouble) = registry(at).await;
        registries.push(address);
        troubles.push(trouble);
    }
    let folder = dir.path().join("facts");
    std::fs::create_dir(&folder).unwrap();
    facts(&folder, &registries);
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "network: {allow: [127.0.0.0/8]}\ncache: {maxBytes: 8MiB}\n").unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (folder, config, out) = (text(&folder), text(&config), text(dir.path()));
    let serving = Serving::start(&["--tls-dev", "--tls-dev-out", &out, "--facts", &folder, "--config", &config]);
    let ca = std::fs::read_to_string(dir.path().join("ca.crt")).unwrap();
    let registries: Arc<[SocketAddr]> = registries.into();
    let (sent, took) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::<Duration>::new())));
    for _ in 0..CALLERS {
        let (registries, sent, took, ca, webhook) = (
            Arc::clone(&registries),
            Arc::clone(&sent),
            Arc::clone(&took),
            ca.clone(),
            serving.webhook,
        );
        tokio::spawn(async move {
            let mut stream = connect(webhook, &ca).await.unwrap();
            loop {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let began = Instant::now();
                let target = format!("/validate?timeout={}s", TIMEOUT.as_secs());
                let answer = post(&mut stream, &target, &review(number, &registries)).await;
                assert_eq!(answer.status, 200);
                took.lock().unwrap().push(began.elapsed());
            }
        });
    }
    let (mut state, mut samples) = (seed, Vec::new());
    let (mut all, mut longest) = (0, Duration::ZERO);
    let pause = Duration::from_secs(minutes * 60) / SAMPLES;
    for _ in 0..SAMPLES {
        for trouble in &troubles {
            // A tenth fall ill each time, and half of those that are ill recover.
            let (is_ill, chance) = (trouble.load(Ordering::Relaxed) != 0, next(&mut state) % 100);
            if is_ill && chance < 50 {
                trouble.store(0, Ordering::Relaxed);
            } else if !is_ill && chance < 10 {
                let kind = 1 + next(&mut state) % (TROUBLES.len() as u64 - 1);
                trouble.store(u8::try_from(kind).unwrap(), Ordering::Relaxed);
            }
        }
        tokio::time::sleep(pause).await;
        let mut took = std::mem::take(&mut *took.lock().unwrap());
        took.sort_unstable();
        all += took.len();
        longest = longest.max(took.last().copied().unwrap_or_default());
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", serving.id())).unwrap().count();
        let values = BTreeMap::from([
            ("reviews", took.len() as f64 / pause.as_secs_f64()),
            ("p99", p99.as_secs_f64() * 1000.0),
            ("resident memory", resident(serving.id()) as f64 / 1024.0),
            ("descriptors", descriptors as f64),
            ("threads", threads(serving.id()) as f64),
        ]);
        let in_trouble = troubles.iter().filter(|trouble| trouble.load(Ordering::Relaxed) != 0).count();
        println!("{values:?}, {in_trouble} in trouble");
        samples.push(Sample {
            values,
            troubled: in_trouble,
        });
    }
    let build = if cfg!(debug_assertions) {
        "unoptimised build"
    } else {
        "release build"
    };
    let title = format!(
        "{minutes} min, seed {seed}, {build}: {all} reviews, all answered, the longest took {:.1} s",
        longest.as_secs_f64()
    );
    println!("{title}");
    std::fs::write(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/soak.svg"),
        drawing(&title, minutes, &samples),
    )
    .unwrap();
    assert!(all > 1_000, "{all} reviews");
    assert!(longest < TIMEOUT + Duration::from_secs(20), "a review took {longest:?}");
    for what in ["resident memory", "descriptors", "threads"] {
        let mean = |part: &[Sample]| part.iter().map(|sample| sample.values[what]).sum::<f64>() / part.len() as f64;
        let third = samples.len() / 3;
        let (middle, last) = (mean(&samples[third..2 * third]), mean(&samples[2 * third..]));
        println!("{what}: middle third {middle:.1}, last third {last:.1}");
        assert!(last <= middle * 1.15 + 2.0, "{what} grows: {middle} to {last}");
    }
}

/// A line for each value, over time; behind them, how many registries are in trouble.
fn drawing(title: &str, minutes: u64, samples: &[Sample]) -> String {
    let (width, height, left) = (760.0, 90.0, 150.0);
    let step = width / samples.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 940 {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"10\" y=\"20\">{title}</text>\n",
        60.0 + 110.0 * LINES.len() as f64
    );
    for (at, (what, unit)) in LINES.iter().enumerate() {
        let top = 40.0 + 110.0 * at as f64;
        let highest = samples.iter().map(|sample| sample.values[what]).fold(1.0, f64::max);
        for (place, sample) in samples.iter().enumerate() {
            let shade = sample.troubled as f64 / HOSTS as f64;
            let x = left + step * place as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{top}\" width=\"{step:.1}\" height=\"{height}\" fill=\"#c33\" opacity=\"{shade:.2}\"/>"
            );
        }
        let points: Vec<String> = samples
            .iter()
            .enumerate()
            .map(|(place, sample)| {
                let (x, y) = (
                    left + step * (place as f64 + 0.5),
                    top + height - height * sample.values[what] / highest,
                );
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(svg, "<text x=\"10\" y=\"{}\">{what}</text>", top + 14.0);
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\" fill=\"#555\">up to {highest:.0} {unit}</text>",
            top + 30.0
        );
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#136\" stroke-width=\"1.5\"/>",
            points.join(" ")
        );
    }
    let foot = 52.0 + 110.0 * LINES.len() as f64;
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"{foot}\" fill=\"#555\">0 to {minutes} minutes; the redder, the more of the {HOSTS} registries are in trouble</text>\n</svg>"
    );
    svg
}
