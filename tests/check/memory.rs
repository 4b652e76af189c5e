//! What a large input takes: documents are dropped once their images are known, and reports are written as they come.

use crate::program::pullgate;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

/// Files of Deployments, each with so many bytes that no judgement needs. No registry is asked: the address is a link-local one.
fn tree(objects: usize, ballast: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ballast = "x".repeat(ballast);
    // What is said of an image repeats its name.
    let folders = "team/".repeat(40);
    let all: Vec<usize> = (0..objects).collect();
    for (at, some) in all.chunks(5).enumerate() {
        let mut text = String::new();
        for at in some {
            let _ = write!(
                text,
                "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-{at}\n  annotations: {{ballast: \"{ballast}\"}}\n\
                 spec:\n  template:\n    spec:\n      containers:\n        - {{name: c, image: \"169.254.0.1/{folders}app-{at}:v1\", env: [{{name: A, value: \"{ballast}\"}}]}}\n"
            );
        }
        fs::write(folder.path().join(format!("f{at}.yaml")), text).unwrap();
    }
    folder
}

/// The most memory, in MiB, that a run of `check` in this folder has held until its report has begun. That is longer than a pipe holds, and
/// the reports for files are written before: what the kernel then says of the process, which waits, is all of it.
fn peak(folder: &Path, forms: &[&str]) -> u64 {
    let mut child = pullgate()
        .current_dir(folder)
        .env("HOME", folder)
        .args(["check", "-R", "."])
        .args(forms)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.len() > 1 << 18, "{} bytes are less than a pipe holds", rest.len());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn a_document_is_dropped_once_its_images_are_known() {
    let (small, large) = (tree(1500, 1), tree(1500, 12_000));
    let (small, large) = (peak(small.path(), &["-o", "json"]), peak(large.path(), &["-o", "json"]));
    assert!(
        large < small + 16,
        "36 MB of text that nobody needs are kept: {large} MiB instead of {small} MiB"
    );
}

#[test]
fn reports_are_written_as_they_come() {
    let tree = tree(5000, 1);
    let text = peak(tree.path(), &["-v", "-o", "text"]);
    let files = tempfile::tempdir().unwrap();
    let file = |form: &str| format!("{form}={}", files.path().join(form).display());
    for forms in [["sarif", "html"], ["junit", "gitlab"]] {
        let [one, other] = forms.map(file);
        let all = peak(tree.path(), &["-o", "json", "-o", &one, "-o", &other]);
        assert!(all < text + 10, "{forms:?} take {all} MiB, the text {text} MiB");
    }
}
