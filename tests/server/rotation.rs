//! A certificate that is replaced under a running server.

use crate::support::{Running, connect, limits, made, pass, post, replace, until};
use pullgate::server::Readiness;
use pullgate::server::tls::{Certificate, Generated};
use pullgate::telemetry::Metrics;
use std::path::Path;
use std::time::Duration;

/// The files are looked at every two seconds.
const TWO_LOOKS: Duration = Duration::from_secs(5);

struct Watched {
    server: Running,
    dir: tempfile::TempDir,
    first: Generated,
    _watching: tokio::task::JoinHandle<()>,
}

async fn watched(lay_out: impl Fn(&Path, &Generated)) -> Watched {
    let dir = tempfile::tempdir().unwrap();
    let first = made();
    lay_out(dir.path(), &first);
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let metrics = Metrics::new();
    let hot = Certificate::from_files(&certificate, &key, metrics.clone()).await.unwrap();
    let watching = tokio::spawn(hot.clone().watch(certificate, key));
    let server = Running::with(limits(), hot, metrics, first.ca.clone(), Readiness::default()).await;
    Watched {
        server,
        dir,
        first,
        _watching: watching,
    }
}

fn side_by_side(dir: &Path, made: &Generated) {
    replace(&dir.join("tls.crt"), &made.certificate);
    replace(&dir.join("tls.key"), &made.key);
}

impl Watched {
    async fn trusts(&self, ca: &str) -> bool {
        connect(self.server.webhook, ca).await.is_ok()
    }

    fn refused(&self) -> u64 {
        self.server.count("pullgate_reloads_total{reason=\"certificate_refused\"}")
    }

    fn replaced(&self) -> u64 {
        self.server.count("pullgate_reloads_total{reason=\"certificate_replaced\"}")
    }
}

#[tokio::test]
async fn half_a_pair_is_refused_once_and_the_whole_is_served() {
    let watched = watched(side_by_side).await;
    let mut kept = connect(watched.server.webhook, &watched.first.ca).await.unwrap();
    assert_eq!(post(&mut kept, "/validate", "x").await.status, 200);
    let next = made();

    replace(&watched.dir.path().join("tls.crt"), &next.certificate);
    until("the half is refused", async || watched.refused() == 1).await;
    assert!(watched.trusts(&watched.first.ca).await, "the old pair stays");
    assert!(!watched.trusts(&next.ca).await);
    pass(TWO_LOOKS).await;
    assert_eq!(watched.refused(), 1, "said once a change, not once a look");

    replace(&watched.dir.path().join("tls.key"), &next.key);
    until("the new pair is served", async || watched.trusts(&next.ca).await).await;
    assert!(!watched.trusts(&watched.first.ca).await);
    assert_eq!((watched.replaced(), watched.refused()), (1, 1));
    assert_eq!(post(&mut kept, "/validate", "x").await.status, 200, "open connections go on");
}

#[tokio::test]
async fn a_torn_file_and_a_missing_one_leave_the_old_pair() {
    let watched = watched(side_by_side).await;
    let next = made();
    let certificate = watched.dir.path().join("tls.crt");
    replace(&certificate, &next.certificate[..next.certificate.len() / 2]);
    until("the torn file is refused", async || watched.refused() == 1).await;
    std::fs::remove_file(&certificate).unwrap();
    until("the missing file is noticed", async || watched.refused() == 2).await;
    assert!(watched.trusts(&watched.first.ca).await);
    // Put back as it was: all is well, and nothing was replaced.
    replace(&certificate, &watched.first.certificate);
    pass(TWO_LOOKS).await;
    assert!(watched.trusts(&watched.first.ca).await);
    assert_eq!((watched.replaced(), watched.refused()), (0, 2));
}

/// A mounted Secret: `tls.crt` → `..data/tls.crt`, and `..data` → a folder that the kubelet swaps. Both halves change at once.
#[tokio::test]
async fn the_kubelets_swap_is_one_change() {
    let swap = |dir: &Path, version: &str, made: &Generated| {
        std::fs::create_dir(dir.join(version)).unwrap();
        side_by_side(&dir.join(version), made);
        std::os::unix::fs::symlink(version, dir.join("..new")).unwrap();
        std::fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
    };
    let watched = watched(|dir, made| {
        swap(dir, "..1", made);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), dir.join(name)).unwrap();
        }
    })
    .await;
    let next = made();
    swap(watched.dir.path(), "..2", &next);
    until("the new pair is served", async || watched.trusts(&next.ca).await).await;
    assert_eq!((watched.replaced(), watched.refused()), (1, 0));
}

#[tokio::test]
async fn a_server_does_not_start_on_a_pair_that_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    side_by_side(dir.path(), &made());
    std::fs::write(dir.path().join("tls.key"), made().key).unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let error = Certificate::from_files(&certificate, &key, Metrics::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "the key does not belong to the certificate");
    std::fs::remove_file(&key).unwrap();
    let error = Certificate::from_files(&certificate, &key, Metrics::new()).await.unwrap_err();
    assert!(error.to_string().starts_with(&key.display().to_string()), "{error}");
}
