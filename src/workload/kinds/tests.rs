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
    // Kinds with two sorts of pods, or with pods below two prefixes.
    let mut twice: Vec<_> = seen
        .iter()
        .filter(|one| seen.iter().filter(|other| other == one).count() > 1)
        .collect();
    twice.dedup();
    let mut twice: Vec<&str> = twice.iter().map(|(_, kind)| *kind).collect();
    twice.sort_unstable();
    twice.dedup();
    assert_eq!(
        twice,
        [
            "InferenceService",
            "Pipeline",
            "PipelineRun",
            "RayCronJob",
            "RayJob",
            "ServingPipeline"
        ]
    );
    for row in table::ROWS {
        assert!(
            table::SOURCES.iter().any(|(group, _)| *group == row.group),
            "{} has no source",
            row.group
        );
    }
    let kinds = Kinds::default();
    for (group, kind) in seen {
        assert!(kinds.registration(group, kind).is_some());
    }
    assert_eq!(kinds.registration("", "Pod"), Some(Registration::BuiltIn));
    assert_eq!(kinds.registration("argoproj.io", "Workflow"), Some(Registration::Listed));
    assert_eq!(kinds.registration("argoproj.io", "Application"), None);
}
