//! `pullgate explain`, `--facts`, and the registry's logins where other tools keep them.

use super::Value;
use crate::faulty::{Faulty, Reply};
use crate::program::pullgate;

/// A registry that asks for a token, which its token server gives to alice only.
fn registry() -> (tokio::runtime::Runtime, Faulty) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let zeros = "0".repeat(64);
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["sha256:{zeros}"]}}}}"#);
    let digest = ::pullgate::image::Digest::sha256(config.as_bytes()).to_string();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{zeros}","size":5000}}]}}"#,
        config.len()
    );
    let server = runtime.block_on(Faulty::start(move |seen| {
        let header = |name: &str| seen.header(name).unwrap_or_default().to_owned();
        let host = header("host");
        if seen.path.starts_with("/token") {
            // alice:s3cret-word
            return if header("authorization") == "Basic YWxpY2U6czNjcmV0LXdvcmQ=" {
                Reply::new(200).json(r#"{"token": "t0ken-word"}"#)
            } else {
                Reply::new(401).json(r#"{"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}"#)
            };
        }
        if header("authorization") != "Bearer t0ken-word" {
            let challenge = format!(
                "Bearer realm=\"http://{host}/token?signature=q-secret\",service=\"reg\",scope=\"repository:team/app:pull\""
            );
            return Reply::new(401)
                .header("WWW-Authenticate", &challenge)
                .json(r#"{"errors": [{"code": "UNAUTHORIZED"}]}"#);
        }
        if seen.path.ends_with(&digest) {
            return Reply::new(200).body(config.clone());
        }
        Reply::new(200)
            .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            .header(
                "Docker-Content-Digest",
                ::pullgate::image::Digest::sha256(manifest.as_bytes()).as_str(),
            )
            .body(manifest.clone())
    }));
    (runtime, server)
}

fn config(host: &str) -> String {
    format!(r#"{{"auths": {{"{host}": {{"username": "alice", "password": "s3cret-word"}}}}}}"#)
}

fn explain(folder: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = pullgate()
        .current_dir(folder)
        .env("HOME", folder)
        .env_remove("DOCKER_CONFIG")
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn everything_that_is_asked_is_shown_and_no_secret() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let image = format!("{}/team/app:v1", server.host());
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: regcred, namespace: shop}}\ntype: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '{}'\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: deployer, namespace: shop}}\nimagePullSecrets: [{{name: regcred}}]\n",
        config(&server.host())
    );
    std::fs::write(folder.path().join("facts.yaml"), secret).unwrap();
    let usual = [
        "explain",
        "--image",
        &image,
        "--facts",
        "facts.yaml",
        "-n",
        "shop",
        "--service-account",
        "deployer",
        "--runtime",
        "containerd,crio@1.33.2",
    ];
    let (code, out, told) = explain(folder.path(), &usual, &[]);
    assert_eq!(code, Some(0), "{out}{told}");
    assert!(out.contains("1. Secret regcred (user, password)"), "{out}");
    assert!(out.contains("  containerd") && out.contains("  CRI-O 1.33.2"), "{out}");
    assert_eq!(
        out.matches("  containerd on ").count(),
        1,
        "those that ask the same are told once: {out}"
    );
    assert!(
        out.contains(&format!("HEAD http://{}/v2/team/app/manifests/v1", server.host())),
        "{out}"
    );
    assert!(out.contains("a token for Secret regcred"), "{out}");
    assert!(out.contains("with Secret regcred: pulls sha256:"), "{out}");
    assert!(out.ends_with("1 image: 1 pulls\n"), "{out}");

    let (code, json, told) = explain(folder.path(), &[&usual[..], &["-o", "json"]].concat(), &[]);
    assert_eq!(code, Some(0), "{json}{told}");
    for word in ["s3cret-word", "t0ken-word", "q-secret", "YWxpY2U6"] {
        assert!(
            !out.contains(word) && !json.contains(word) && !told.contains(word),
            "{word}: {out}{json}{told}"
        );
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["version"], "pullgate.dev/explain/v1");
    assert_eq!(json["report"]["images"][0]["outlook"], "Pulls");
    let runtimes = json["pulls"][0]["runtimes"].as_array().unwrap();
    assert_eq!(runtimes.len(), 2);
    for runtime in runtimes {
        let requests = runtime["requests"].as_array().unwrap();
        let statuses: Vec<u64> = requests
            .iter()
            .filter_map(|request| request["answer"]["status"].as_u64())
            .collect();
        assert_eq!((statuses.first(), statuses.last()), (Some(&401), Some(&200)), "{requests:?}");
    }

    // Without the credential, the refusal is shown.
    let (code, out, _) = explain(folder.path(), &["explain", "--image", &image], &[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("nobody's") && out.contains("401"), "{out}");
    assert_eq!(explain(folder.path(), &["explain", "--image", "Upper/CASE"], &[]).0, Some(1));
}

#[test]
fn logins_are_found_where_other_tools_keep_them() {
    let (_runtime, server) = registry();
    let folder = tempfile::tempdir().unwrap();
    let image = format!("{}/team/app:v1", server.host());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("docker")).unwrap();
    std::fs::write(at("docker/config.json"), config(&server.host())).unwrap();
    std::fs::write(at("auth.json"), config(&server.host())).unwrap();
    let held = config(&server.host());
    let (docker, auth) = (at("docker"), at("auth.json"));
    for (name, value) in [
        ("DOCKER_AUTH_CONFIG", &held),
        ("REGISTRY_AUTH_FILE", &auth),
        ("DOCKER_CONFIG", &docker),
    ] {
        let (code, out, told) = explain(
            folder.path(),
            &["check", "--image", &image, "--platform", "amd64"],
            &[(name, value)],
        );
        assert_eq!((code, out.as_str()), (Some(0), "1 image: 1 pulls\n"), "{name}: {told}");
    }
    let (_, out, _) = explain(folder.path(), &["check", "--image", &image], &[]);
    assert!(
        out.ends_with("1 image: 1 could not be checked\n") || out.contains("denied"),
        "{out}"
    );
    assert_eq!(
        explain(folder.path(), &["check", "--image", &image, "--platform", "bogus"], &[]).0,
        Some(2)
    );
    let (code, out, _) = explain(folder.path(), &["version"], &[]);
    assert_eq!((code, out), (Some(0), format!("pullgate {}\n", env!("CARGO_PKG_VERSION"))));
}
