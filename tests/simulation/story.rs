//! A failure in words.

use crate::cluster::{Form, NAMESPACES};
use crate::images::images;
use crate::registries::{Hides, Login, Registry};
use crate::run::{Options, run};
use crate::script::{Script, user};
use crate::shrink::shrunk;
use std::fmt::Write as _;

/// What a check holds, in a sentence.
fn holds(check: &str) -> &'static str {
    match check {
        "denied" => "nothing is denied that a node could pull",
        "pulls" => "nothing is said to pull that a node could not",
        "deadline" => "every review is answered by its deadline and a quarter of a second",
        "steps" => "the requests of a world are bounded",
        "credentials" => "a password goes to its own registry, or to the token server that this one names",
        "namespaces" => "no password of a namespace is used that has asked for nothing",
        "memory" => "what is remembered stays within its budget",
        _ => "no look-up dies",
    }
}

/// The story of a seed that fails: what the world is like, as far as it matters, and then everything that happens in it.
pub fn told(script: &Script, options: &Options, check: &str) -> String {
    let short = shrunk(script, options, check);
    let tells = Options {
        tells: true,
        ..options.clone()
    };
    let story = run(&short, &tells).story.join("\n");
    let (seed, all, left) = (script.seed, script.events.len(), short.events.len());
    let are = if left == 1 { "is" } else { "are" };
    let mut text = format!(
        "seed {seed} breaks the check \"{check}\": {}.\nOf {all} events {left} {are} enough. (PULLGATE_SEED={seed} PULLGATE_EVENTS={all} \
         runs all of them again.)\n\nThe world at the beginning:\n",
        holds(check)
    );
    for kind in &short.cluster.nodes {
        let _ = writeln!(text, "  a node with {} on {}", kind.runtime, kind.architecture);
    }
    for (at, replica) in short.replicas.iter().enumerate() {
        let _ = writeln!(
            text,
            "  replica {at} of ours, whose watches are {} ms behind; it looks at {:?}",
            replica.lag, short.depth
        );
    }
    for registry in short
        .content
        .registries
        .iter()
        .filter(|registry| story.contains(registry.host))
    {
        text += &of_registry(registry, &story);
    }
    for (namespace, name) in short.cluster.namespaces.iter().zip(NAMESPACES) {
        for (secret, holds) in namespace.secrets.iter().filter(|_| story.contains(name)) {
            let keys: Vec<&str> = holds.entries.iter().map(|(key, _, _)| key.as_str()).collect();
            let form = if holds.form == Form::Usable { "" } else { " (not usable)" };
            let _ = writeln!(
                text,
                "  secret {secret} of {name}{form}, with its passwords for {}",
                keys.join(", ")
            );
        }
        if !namespace.account.is_empty() && story.contains(name) {
            let _ = writeln!(text, "  the service account of {name} lists {:?}", namespace.account);
        }
    }
    let _ = writeln!(text, "\nWhat happens (requests are indented):\n{story}");
    text
}

fn of_registry(registry: &Registry, story: &str) -> String {
    let host = registry.host;
    let login = match &registry.login {
        Login::Nobody => "lets everybody in".to_owned(),
        Login::Basic => "asks for a password".to_owned(),
        Login::Token { realm, posts } => {
            let posts = if *posts { "takes POSTs" } else { "takes no POST" };
            let life = registry.token_life;
            format!("asks for a token from {realm}, which {posts} and grants for {life} s")
        }
    };
    let hides = match registry.hides {
        Hides::Unauthorized => "401",
        Hides::Forbidden => "403",
        Hides::NotFound => "404",
    };
    let mut text = format!("  {host} {login}; who may not read is told {hides}\n");
    for (name, held) in &registry.repositories {
        if !story.contains(&format!("{host}/{name}")) && !story.contains(&format!("{host}/v2/{name}/")) {
            continue;
        }
        let who = if held.public {
            "everybody".to_owned()
        } else {
            let readers = (0..NAMESPACES.len()).filter(|namespace| held.readers.contains(&user(*namespace)));
            let names: Vec<&str> = readers.map(|namespace| NAMESPACES[namespace]).collect();
            if names.is_empty() {
                "nobody".to_owned()
            } else {
                names.join(", ")
            }
        };
        let called = |root: &String| {
            images()
                .iter()
                .find(|image| image.root == *root)
                .map_or("something", |image| image.called)
        };
        let tags: Vec<String> = held
            .tags
            .iter()
            .map(|(tag, root)| format!("{tag} (an image {})", called(root)))
            .collect();
        let tags = if tags.is_empty() {
            "no tag".to_owned()
        } else {
            tags.join(", ")
        };
        let _ = writeln!(text, "    {name}: {who} may read it; {tags}");
    }
    text
}
