//! Debian's `docker-registry`, and the images in it.

use super::daemon::Daemon;
use crate::ports;
use std::fmt::Write as _;
use std::net::TcpStream;
use std::process::Command;

/// A registry on the loopback interface, over plain HTTP (containerd speaks that to loopback addresses).
pub(crate) struct Registry {
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    user: Option<String>,
    _daemon: Daemon,
}

impl Registry {
    /// A registry that anyone reads and writes.
    pub(crate) fn open(name: &str) -> Self {
        Self::start(name, None)
    }

    /// A registry that asks for Basic credentials.
    pub(crate) fn with_password(name: &str, user: &str, password: &str) -> Self {
        Self::start(name, Some((user, password)))
    }

    fn start(name: &str, login: Option<(&str, &str)>) -> Self {
        let folder = super::folder(&format!("registry-{name}"));
        let address = ports::free();
        let mut settings = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: \"{address}\"}}\n\
             storage: {{filesystem: {{rootdirectory: \"{}\"}}, delete: {{enabled: true}}}}\n",
            folder.join("data").display()
        );
        if let Some((user, password)) = login {
            let entry = Command::new("htpasswd")
                .args(["-nbB", user, password])
                .output()
                .expect("htpasswd (apache2-utils)");
            assert!(entry.status.success(), "{entry:?}");
            std::fs::write(folder.join("htpasswd"), entry.stdout).unwrap();
            writeln!(
                settings,
                "auth: {{htpasswd: {{realm: e2e, path: \"{}\"}}}}",
                folder.join("htpasswd").display()
            )
            .unwrap();
        }
        let file = folder.join("settings.yml");
        std::fs::write(&file, settings).unwrap();

        let daemon = Daemon::start(
            &format!("registry-{name}"),
            "",
            &["docker-registry", "serve", file.to_str().unwrap()],
        );
        daemon.wait_until("listening", || TcpStream::connect(address).is_ok());
        Self {
            host: address.to_string(),
            user: login.map(|(user, password)| format!("{user}:{password}")),
            _daemon: daemon,
        }
    }

    /// The full name of an image here.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// Pushes an image under some names, by `tests/cluster/push-image` with these options. Returns its digest.
    pub(crate) fn push(&self, options: &[&str], names: &[&str]) -> String {
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/push-image"))
            .args(options)
            .args(self.user.iter().flat_map(|user| ["--user", user]))
            .args(names.iter().map(|name| self.image(name)))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "push-image: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let stdout = String::from_utf8(output.stdout).unwrap();
        stdout.trim().rsplit_once('@').unwrap().1.to_owned()
    }
}
