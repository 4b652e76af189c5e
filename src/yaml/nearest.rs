//! Suggestions for unknown words.

/// The nearest of the known words, if one is near.
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(given, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The message about an unknown key or word, with the nearest known one.
pub fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    match nearest(given, known) {
        Some(candidate) => format!("unknown {what} {given:?}; did you mean {candidate:?}?"),
        None if known.is_empty() => format!("unknown {what} {given:?}"),
        None => format!("unknown {what} {given:?}; known here: {}", known.join(", ")),
    }
}

/// Edit distance, ignoring case and `-` or `_` between words (`max_bytes` is `maxBytes`).
fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| {
        text.chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    strsim::damerau_levenshtein(&fold(left), &fold(right))
}
