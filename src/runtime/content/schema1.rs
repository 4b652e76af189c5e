//! Docker schema 1, as containers/image reads it (`manifest/docker_schema1.go`). containerd 2.1 and later no longer pull it.

use serde::Deserialize;
use std::collections::HashSet;

#[derive(Deserialize)]
struct Layer {
    #[serde(default, rename = "blobSum")]
    digest: String,
}

#[derive(Deserialize)]
struct History {
    #[serde(default, rename = "v1Compatibility")]
    image: String,
}

/// An image of Docker's first format: each layer is one, the uppermost first.
#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parent: String,
}

/// The digests of the layers, the lowest first, from `fsLayers` and `history` as written. The error is a clause.
pub(super) fn layers(layers: &str, history: &str) -> Result<Vec<String>, String> {
    let unreadable = |what: &str| format!("its {what} cannot be read");
    let layers: Option<Vec<Layer>> = serde_json::from_str(layers).map_err(|_| unreadable("fsLayers"))?;
    let history: Option<Vec<History>> = serde_json::from_str(history).map_err(|_| unreadable("history"))?;
    let (layers, history) = (layers.unwrap_or_default(), history.unwrap_or_default());
    if layers.len() != history.len() {
        return Err("length of history not equal to number of layers".to_owned());
    }
    let mut images = Vec::with_capacity(history.len());
    let mut seen = HashSet::new();
    for entry in &history {
        let image: Image = serde_json::from_str(&entry.image).map_err(|_| unreadable("history"))?;
        let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if image.id.len() != 64 || !image.id.bytes().all(hexadecimal) {
            return Err("an image ID in its history is invalid".to_owned());
        }
        let follows = images.last().is_some_and(|last: &Image| last.id == image.id);
        if !seen.insert(image.id.clone()) && !follows {
            return Err("an image ID appears multiple times in its history".to_owned());
        }
        images.push(image);
    }
    let Some(lowest) = images.last() else {
        return Err("no FSLayers in manifest".to_owned());
    };
    if !lowest.parent.is_empty() {
        return Err("invalid parent ID in the base layer of the image".to_owned());
    }
    let mut digests = Vec::with_capacity(layers.len());
    for (at, (layer, image)) in layers.into_iter().zip(&images).enumerate() {
        match images.get(at + 1) {
            // If one image comes twice in a row, the lower layer counts.
            Some(below) if below.id == image.id => {}
            Some(below) if below.id != image.parent => return Err("an image in its history does not follow its parent".to_owned()),
            Some(_) | None => digests.push(layer.digest),
        }
    }
    digests.reverse();
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        std::iter::repeat_n(digit, 64).collect()
    }

    fn image(own: char, parent: Option<char>) -> serde_json::Value {
        let text = match parent {
            Some(parent) => serde_json::json!({"id": id(own), "parent": id(parent)}),
            None => serde_json::json!({"id": id(own)}),
        };
        serde_json::json!({"v1Compatibility": text.to_string()})
    }

    #[track_caller]
    fn check(digests: &[&str], history: &[serde_json::Value], expected: Result<&[&str], &str>) {
        let all: Vec<_> = digests.iter().map(|digest| serde_json::json!({"blobSum": digest})).collect();
        let found = layers(&serde_json::json!(all).to_string(), &serde_json::json!(history).to_string());
        let expected = expected
            .map(|digests| digests.iter().map(|digest| (*digest).to_owned()).collect())
            .map_err(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn layers_from_the_lowest_up() {
        check(
            &["c", "b", "a"],
            &[image('3', Some('2')), image('2', Some('1')), image('1', None)],
            Ok(&["a", "b", "c"]),
        );
        // The same image twice in a row is one layer.
        check(
            &["c", "b", "a"],
            &[image('2', Some('1')), image('2', Some('1')), image('1', None)],
            Ok(&["a", "b"]),
        );
    }

    #[test]
    fn what_is_none() {
        check(&[], &[], Err("no FSLayers in manifest"));
        check(&["a"], &[], Err("length of history not equal to number of layers"));
        check(
            &["a"],
            &[image('1', Some('2'))],
            Err("invalid parent ID in the base layer of the image"),
        );
        check(
            &["b", "a"],
            &[image('2', Some('3')), image('1', None)],
            Err("an image in its history does not follow its parent"),
        );
        check(
            &["c", "b", "a"],
            &[image('1', Some('2')), image('2', Some('1')), image('1', None)],
            Err("an image ID appears multiple times in its history"),
        );
        check(
            &["a"],
            &[serde_json::json!({"v1Compatibility": "{}"})],
            Err("an image ID in its history is invalid"),
        );
        assert_eq!(layers("null", "null"), Err("no FSLayers in manifest".to_owned()));
        assert_eq!(layers("{}", "null"), Err("its fsLayers cannot be read".to_owned()));
    }
}
