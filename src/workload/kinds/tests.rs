use super::*;

#[test]
fn every_path_of_the_table_is_a_route() {
    let mut seen = Vec::new();
    for row in table::ROWS {
        for (at, site) in row.sites.iter().enumerate() {
            assert!(site.compile(row.within).is_some(), "{:?} {at}", row.kinds);
        }
        for kind in row.kinds {
            seen.push((row.group, *kind));
        }
    }
    // Only RayJob has pods of two sorts.
    let mut twice: Vec<_> = seen
        .iter()
        .filter(|one| seen.iter().filter(|other| other == one).count() > 1)
        .collect();
    twice.dedup();
    assert_eq!(twice, [&("ray.io", "RayJob"), &("ray.io", "RayJob")][..1]);
    let kinds = Kinds::default();
    for (group, kind) in seen {
        assert!(kinds.standing(group, kind).is_some());
    }
    assert_eq!(kinds.standing("", "Pod"), Some(Standing::BuiltIn));
    assert_eq!(kinds.standing("argoproj.io", "Workflow"), Some(Standing::Listed));
    assert_eq!(kinds.standing("argoproj.io", "Application"), None);
}
