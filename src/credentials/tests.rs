use super::*;

fn credential(username: &str, password: &str) -> Credential {
    Credential {
        username: Hidden::new(username),
        password: Hidden::new(password),
        identity_token: Hidden::default(),
    }
}

fn secret(kind: &str, data: &str) -> PullSecret {
    PullSecret {
        name: "regcred".to_owned(),
        kind: kind.to_owned(),
        data: Hidden::new(data),
        version: String::new(),
        opened: ReadOnce::default(),
    }
}

/// A keyring with one credential a key, whose user name is the key.
fn keyring(keys: &[&str]) -> Keyring {
    let mut ring = Keyring::default();
    let entries: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), credential(key, "pw"))).collect();
    ring.add(&CredentialSource::Secret("regcred".to_owned()), &entries);
    ring
}

fn found<'a>(ring: &'a Keyring, name: &str) -> Vec<&'a str> {
    ring.lookup(name)
        .into_iter()
        .map(|entry| std::str::from_utf8(entry.credential.username.bytes()).unwrap())
        .collect()
}

mod parsing;

mod matching;

mod near_misses;
