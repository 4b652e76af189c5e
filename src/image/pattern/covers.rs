//! Whether one pattern matches everything that another one matches.

use super::Component;

/// Patterns with more pairs of components than this are not compared.
const MOST: usize = 4096;

/// Sound, and complete except for odd pairs (`a/**/*` and `a/**` match the same, but only one is found to cover the other).
pub(super) fn covers(wide: &[Component], narrow: &[Component]) -> bool {
    if wide.len().saturating_mul(narrow.len()) > MOST {
        return false;
    }
    // By columns, from the end: whether the rest of the wide pattern covers the rest of the narrow one from `n` on.
    let mut after: Vec<bool> = (0..=narrow.len()).map(|n| n == narrow.len()).collect();
    for (w, component) in wide.iter().enumerate().rev() {
        let last = w + 1 == wide.len();
        let mut here = vec![false; narrow.len() + 1];
        for n in (0..=narrow.len()).rev() {
            here[n] = match (component, narrow.get(n)) {
                // At the end of a pattern, `**` is at least one component, and so is any rest of the narrow pattern.
                (Component::Many, None) => !last && after[n],
                (Component::Many, Some(_)) => (!last && after[n]) || here[n + 1] || (last && n + 1 == narrow.len()),
                (Component::One(_), None | Some(Component::Many)) => false,
                (Component::One(wide), Some(Component::One(narrow))) => after[n + 1] && text_covers(wide, narrow),
            };
        }
        after = here;
    }
    after.first().copied().unwrap_or(false)
}

/// The same within a component: the wide one is matched against the narrow one's text, in which only a `*` can match a `*`.
fn text_covers(wide: &[String], narrow: &[String]) -> bool {
    super::within(wide, &narrow.join("*")).is_some()
}
