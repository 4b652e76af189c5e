//! Where `check` runs: the job of the GitLab component, the action's download, pre-commit's hooks, `kubectl pullgate`, the container image, and what shells know of it.

use super::{TWO_IMAGES, Value, pullgate};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn usual_path() -> String {
    std::env::vars().find(|(name, _)| name == "PATH").unwrap().1
}

/// A release in a folder, as `curl` would find it: an archive with a program, and its sum.
struct Release(tempfile::TempDir);

impl Release {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // What is in it runs what was just built.
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_pullgate"));
        fs::write(at("pullgate"), script).unwrap();
        fs::set_permissions(at("pullgate"), fs::Permissions::from_mode(0o755)).unwrap();
        for arch in ["amd64", "arm64"] {
            let archive = format!("pullgate-linux-{arch}.tar.gz");
            run(Command::new("tar")
                .current_dir(folder.path())
                .args(["-czf", &archive, "pullgate"]));
        }
        let sums = run(Command::new("sh")
            .current_dir(folder.path())
            .args(["-c", "sha256sum *.tar.gz"]));
        fs::write(at("SHA256SUMS"), sums.stdout).unwrap();
        // curl gets files from here, and notes what it was asked for.
        let curl = format!(
            "#!/bin/sh\nfor url in \"$@\"; do case $url in https://*) echo \"$url\" >> {0}/asked; cp \"{0}/${{url##*/}}\" . || exit 22 ;; esac; done\n",
            folder.path().display()
        );
        fs::create_dir(at("bin")).unwrap();
        fs::write(at("bin/curl"), curl).unwrap();
        fs::set_permissions(at("bin/curl"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self) -> String {
        format!("{}:{}", self.0.path().join("bin").display(), usual_path())
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.0.path().join("asked")).unwrap_or_default()
    }
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("k8s")).unwrap();
    fs::write(folder.path().join("k8s/pod.yaml"), TWO_IMAGES).unwrap();
    folder
}

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let documents = ::pullgate::yaml::documents(&text).documents;
    documents.into_iter().map(|document| document.value).collect()
}

#[test]
fn the_job_of_the_gitlab_component_gets_a_release_and_checks_the_repository() {
    let release = Release::new();
    let repository = repository();
    let [about, template] = &documents("deploy/ci/gitlab/template.yml")[..] else {
        panic!("two documents")
    };
    let script = template["pullgate"]["script"].as_array().unwrap();
    let lines: Vec<&str> = script.iter().map(|line| line.as_str().unwrap()).collect();
    let given = [("releases", "https://git.example/releases/download"), ("version", "v9.9.9")];
    let mut script = lines.join("\n");
    let release_url = template["pullgate"]["variables"]["PULLGATE_RELEASE"].as_str().unwrap();
    let mut release_url = release_url.to_owned();
    for (name, input) in about["spec"]["inputs"].as_object().unwrap() {
        let value = given.iter().find(|(of, _)| of == name).map(|(_, value)| *value);
        let value = value.or(input["default"].as_str()).unwrap();
        script = script.replace(&format!("$[[ inputs.{name} ]]"), value);
        release_url = release_url.replace(&format!("$[[ inputs.{name} ]]"), value);
    }
    assert!(!script.contains("$[["), "{script}");
    let place = tempfile::tempdir().unwrap();
    let output = Command::new("bash")
        .args(["-eo", "pipefail", "-c", &script])
        .current_dir(repository.path())
        .env_clear()
        .env("PATH", release.path())
        .env("TMPDIR", place.path())
        .env("PULLGATE_RELEASE", release_url)
        .output()
        .unwrap();
    let (out, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{out}{told}");
    assert!(out.ends_with("2 images: 1 denied, 1 could not be checked\n"), "{out}{told}");
    assert!(
        release
            .asked()
            .starts_with("https://git.example/releases/download/v9.9.9/pullgate-linux-"),
        "{}",
        release.asked()
    );
    for report in template["pullgate"]["artifacts"]["reports"].as_object().unwrap().values() {
        assert!(repository.path().join(report.as_str().unwrap()).is_file(), "{report}");
    }
    // An archive of another sum is not run.
    fs::write(
        release.0.path().join("SHA256SUMS"),
        format!(
            "{}  pullgate-linux-amd64.tar.gz\n{0}  pullgate-linux-arm64.tar.gz\n",
            "0".repeat(64)
        ),
    )
    .unwrap();
    let output = Command::new("bash")
        .args(["-eo", "pipefail", "-c", &script])
        .current_dir(repository.path())
        .env_clear()
        .env("PATH", release.path())
        .env("TMPDIR", place.path())
        .env("PULLGATE_RELEASE", "https://git.example/x")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && !out.contains("images"), "{output:?}");
}

#[test]
fn the_action_gets_the_release_that_was_asked_for() {
    let release = Release::new();
    let repository = repository();
    let place = tempfile::tempdir().unwrap();
    let action = &documents("deploy/ci/github/action.yml")[0];
    let mut command = Command::new(root().join("deploy/ci/github/run"));
    command.current_dir(repository.path()).env_clear();
    for (name, input) in action["inputs"].as_object().unwrap() {
        let variable = format!("INPUT_{}", name.replace('-', "_").to_uppercase());
        command.env(variable, input["default"].as_str().unwrap_or("v9.9.9"));
    }
    let output = command
        .env("PATH", release.path())
        .env("RUNNER_TEMP", place.path())
        .env("ACTION_REPOSITORY", "owner/pullgate")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(out.starts_with("::error file=k8s/pod.yaml,line=7,"), "{out}");
    assert!(
        release
            .asked()
            .starts_with("https://github.com/owner/pullgate/releases/download/v9.9.9/"),
        "{}",
        release.asked()
    );
}

/// What pre-commit does with a hook: the entry, split at blanks, with the names of the files that changed.
#[test]
fn the_entries_of_the_hooks_take_files() {
    let repository = repository();
    let hooks = documents(".pre-commit-hooks.yaml").remove(0);
    let program = Path::new(env!("CARGO_BIN_EXE_pullgate")).parent().unwrap();
    for (hook, code) in hooks.as_array().unwrap().iter().zip([1, 1]) {
        assert_eq!(hook["language"], "system");
        let entry: Vec<&str> = hook["entry"].as_str().unwrap().split(' ').collect();
        let output = Command::new(entry[0])
            .args(&entry[1..])
            .arg("k8s/pod.yaml")
            .current_dir(repository.path())
            .env("PATH", format!("{}:{}", program.display(), usual_path()))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{hook}: {output:?}");
    }
}

/// The hooks by pre-commit itself. `tests/ci/run` installs it.
#[test]
#[ignore = "needs pre-commit; tests/run has it"]
fn pre_commit_runs_the_hooks() {
    let repository = repository();
    let git = |arguments: &[&str], folder: &Path| {
        let identity = [
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ];
        run(Command::new("git").args(identity).args(arguments).current_dir(folder));
    };
    // The hooks come from a repository, as they would; only their file is needed.
    let hooks = tempfile::tempdir().unwrap();
    fs::copy(
        root().join(".pre-commit-hooks.yaml"),
        hooks.path().join(".pre-commit-hooks.yaml"),
    )
    .unwrap();
    for folder in [hooks.path(), repository.path()] {
        git(&["init", "-q"], folder);
        git(&["add", "-A"], folder);
        git(&["commit", "-qm", "x"], folder);
    }
    let program = Path::new(env!("CARGO_BIN_EXE_pullgate")).parent().unwrap();
    let home = tempfile::tempdir().unwrap();
    let hook = |id: &str| {
        let output = Command::new("pre-commit")
            .args(["try-repo", hooks.path().to_str().unwrap(), id, "--all-files", "--verbose"])
            .current_dir(repository.path())
            .env("PATH", format!("{}:{}", program.display(), usual_path()))
            .env("PRE_COMMIT_HOME", home.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, out) = hook("pullgate-check");
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("images would pull") && out.contains("InvalidImageName") && out.contains("at k8s/pod.yaml:7"),
        "{out}"
    );
    let (code, out) = hook("pullgate-pin");
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("2 could not be pinned"), "{out}");
    fs::write(
        repository.path().join("k8s/pod.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
    )
    .unwrap();
    git(&["add", "-A"], repository.path());
    let (code, out) = hook("pullgate-check");
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn kubectl_finds_it_as_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-pullgate");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pullgate"), &plugin).unwrap();
    let help = run(Command::new(&plugin).args(["check", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Usage: kubectl pullgate check "), "{help}");
    let path = usual_path();
    let has = |name: &str| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    };
    let Some(kubectl) = has("kubectl") else { return };
    let output = run(Command::new(kubectl)
        .args(["pullgate", "version"])
        .env("PATH", format!("{}:{path}", folder.path().display())));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("pullgate {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_image_takes_the_same_arguments() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let line = |of: &str| {
        dockerfile
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(of))
            .unwrap()
            .trim()
            .to_owned()
    };
    // No shell, and no command within the entry: what is given takes the place of CMD.
    assert_eq!(line("ENTRYPOINT"), r#"["/usr/local/bin/pullgate"]"#);
    assert_eq!(line("CMD"), r#"["serve"]"#);
}

/// cargo refuses a manifest that names files which are not there: benchmarks, too.
#[test]
fn the_image_is_built_of_what_its_first_layer_has() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root().join(file), folder.path().join(file)).unwrap();
    }
    let before = dockerfile.split("COPY src src").next().unwrap();
    let made = before.split_whitespace().filter(|word| word.strip_suffix(".rs").is_some());
    for file in made {
        let file = folder.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    let manifest = folder.path().join("Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(pullgate().args(["completions", shell]));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("expect-missing") && text.contains("explain"), "{shell}");
    }
    let script = run(pullgate().args(["completions", "bash"])).stdout;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::write(at("c"), script).unwrap();
    // bash itself completes with it.
    let asked = ". ./c; COMP_WORDS=(pullgate check --ren); COMP_CWORD=2; _pullgate pullgate --ren check; echo \"${COMPREPLY[*]}\"";
    let output = run(Command::new("bash").args(["-c", asked]).current_dir(folder.path()));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "--render");
    run(pullgate().args(["man", at("man").to_str().unwrap()]));
    for page in ["pullgate.1", "pullgate-check.1", "pullgate-pin.1", "pullgate-explain.1"] {
        let text = fs::read_to_string(at("man").join(page)).unwrap();
        assert!(text.contains(".TH "), "{page}");
    }
    assert!(
        String::from_utf8(run(pullgate().arg("man")).stdout)
            .unwrap()
            .contains(".TH pullgate")
    );
}

/// The Job of a gate, on files that are mounted as a kubelet mounts a `ConfigMap`: behind two links.
#[test]
fn the_jobs_for_argo_cd_and_flux_check_what_is_mounted() {
    use std::os::unix::fs::symlink;
    let mounted = tempfile::tempdir().unwrap();
    let version = mounted.path().join("..2026_11_30");
    fs::create_dir(&version).unwrap();
    symlink("..2026_11_30", mounted.path().join("..data")).unwrap();
    let kustomization = "resources: [pod.yaml]\nimages: [{name: upper/CASE, newName: upper/Other}]\n";
    for (name, text) in [("pod.yaml", TWO_IMAGES), ("kustomization.yaml", kustomization)] {
        fs::write(version.join(name), text).unwrap();
        symlink(format!("..data/{name}"), mounted.path().join(name)).unwrap();
    }
    for system in ["argocd", "flux"] {
        let folder = format!("deploy/ci/{system}");
        let component = &documents(&format!("{folder}/kustomization.yaml"))[0];
        let mut objects = Vec::new();
        for file in component["resources"].as_array().unwrap() {
            objects.extend(documents(&format!("{folder}/{}", file.as_str().unwrap())));
        }
        // Whatever else the Job needs is there before it.
        let hook = |object: &Value| object["metadata"]["annotations"]["argocd.argoproj.io/hook"].clone();
        let expected = if system == "argocd" {
            Value::from("PreSync")
        } else {
            Value::Null
        };
        assert!(objects.iter().all(|object| hook(object) == expected), "{system}");
        let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
        let pod = &job["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap();
        assert!(
            objects
                .iter()
                .any(|object| object["kind"] == "ServiceAccount" && object["metadata"]["name"] == account)
        );
        let container = &pod["containers"][0];
        assert_eq!(container["volumeMounts"][0]["mountPath"], "/manifests");
        let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
        // There is no cluster here, and nothing to wait for.
        let args = args.filter(|arg| *arg != "--cluster").map(|arg| match arg {
            "/manifests" => mounted.path().to_str().unwrap(),
            other => other,
        });
        let output = pullgate().args(args).env("PULLGATE_NAMESPACE", "shop").output().unwrap();
        let (out, told) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(1), "{out}{told}");
        assert!(out.contains("upper/Other") && out.contains("pod.yaml:7: "), "{out}{told}");
        // Neither they nor what an administrator applies is anything that check objects to.
        let itself = pullgate()
            .args(["check", "-R", &folder, "--deadline", "1ms"])
            .current_dir(root())
            .output()
            .unwrap();
        assert_eq!(itself.status.code(), Some(0), "{}", String::from_utf8_lossy(&itself.stdout));
    }
}
