//! Whether one pattern matches whatever another one matches.

use super::Component;

/// Pairs of patterns with more pairs of components than this are not looked through.
const MOST: usize = 4096;

/// Sound, and complete but for odd pairs (`a/**/*` and `a/**` match the same, and only one of them is seen to cover the other).
pub(super) fn covers(wide: &[Component], narrow: &[Component]) -> bool {
    if wide.len().saturating_mul(narrow.len()) > MOST {
        return false;
    }
    // What is left of the narrow pattern from `n` on, and whether what is left of the wide one covers it: by columns, from the end.
    let mut after: Vec<bool> = (0..=narrow.len()).map(|n| n == narrow.len()).collect();
    for (w, component) in wide.iter().enumerate().rev() {
        let last = w + 1 == wide.len();
        let mut here = vec![false; narrow.len() + 1];
        for n in (0..=narrow.len()).rev() {
            here[n] = match (component, narrow.get(n)) {
                // At the end of a pattern `**` is at least one component; anything that is left of the narrow pattern is that too.
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

/// The same within a component: the wide one is held against the narrow one's text, whose `*` only a `*` can take.
fn text_covers(wide: &[String], narrow: &[String]) -> bool {
    super::within(wide, &narrow.join("*")).is_some()
}
