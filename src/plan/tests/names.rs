//! Names that are not the last word: rewrites, parameters, custom kinds.

use super::*;
use crate::image::Pattern;
use crate::verdict::message::{denial, image_of, warnings};
use crate::verdict::review_result::{Handling, Judged};
use crate::workload::Configured;

fn rewriting(from: &str, to: &str) -> PlanSettings {
    PlanSettings {
        rewrites: vec![Rewrite::new(Pattern::parse(from).unwrap(), to).unwrap()],
        ..settings()
    }
}

fn not_found() -> Result<ImageFacts, Failure> {
    Err(failure(Evidence::TagUnknown { repository_exists: true }, 404))
}

/// What goes to `serve` and `check`.
fn answers(object: &Value, settings: &PlanSettings, answer: &Result<ImageFacts, Failure>) -> Vec<Judged> {
    let judgements = judge_with(object, &facts(), settings, answer);
    let workload = extract(object, None, "ns", &settings.kinds).unwrap();
    let facts = facts();
    plan(&workload, &facts, settings)
        .images
        .into_iter()
        .zip(judgements)
        .map(|(planned, judgement)| Judged {
            image: planned.image.clone(),
            reference: planned.reference,
            remark: planned.remark,
            judgement,
            handling: Handling::Judged,
        })
        .collect()
}

fn workflow(image: &str) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
           "spec": {"templates": [{"name": "build", "container": {"image": image}}]}})
}

#[test]
fn a_templates_image_is_looked_up_under_its_new_name_and_both_are_shown() {
    let settings = rewriting("docker.io/**", "harbor.corp/dockerhub/**");
    let object = deployment("nginx:1.25", &[]);
    let workload = extract(&object, None, "ns", &Kinds::default()).unwrap();
    let facts = facts();
    let plan = plan(&workload, &facts, &settings);
    assert_eq!(
        plan.checks[0].reference.to_string(),
        "harbor.corp/dockerhub/library/nginx:1.25"
    );
    assert_eq!(plan.images[0].image.image, "nginx:1.25");

    let judged = answers(&object, &settings, &not_found());
    assert_eq!(
        judged[0].reference.as_ref().map(ToString::to_string).as_deref(),
        Some("harbor.corp/dockerhub/library/nginx:1.25")
    );
    assert_eq!(
        image_of(&judged[0]),
        "nginx:1.25 (rewritten to harbor.corp/dockerhub/library/nginx:1.25)"
    );
    let text = denial(&workload.object, &judged);
    assert!(
        text.contains("\n  container c: nginx:1.25 (rewritten to harbor.corp/dockerhub/library/nginx:1.25)\n"),
        "{text}"
    );
    let never = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers":
        [{"name": "c", "image": "nginx", "imagePullPolicy": "Never"}]}}}});
    let judged = answers(&never, &settings, &not_found());
    let warning = warnings(&judged).remove(0);
    assert!(
        warning.starts_with("container c: nginx (rewritten to harbor.corp/dockerhub/library/nginx:latest): NeverPulled: "),
        "{warning}"
    );
    let kubelet = judged[0].judgement.findings[0].kubelet.as_ref().unwrap();
    assert!(
        kubelet.message.contains("\"harbor.corp/dockerhub/library/nginx:latest\""),
        "{kubelet:?}"
    );
}

#[test]
fn admission_has_rewritten_a_pod_before_serve_sees_it_and_not_before_check_does() {
    let serve = rewriting("docker.io/**", "harbor.corp/dockerhub/**");
    let check = PlanSettings {
        admission: Admission::StillToCome,
        ..serve.clone()
    };
    let looked_up = |object: &Value, settings: &PlanSettings| {
        let workload = extract(object, None, "ns", &Kinds::default()).unwrap();
        plan(&workload, &facts(), settings).checks[0].reference.to_string()
    };
    assert_eq!(looked_up(&pod("nginx:1", &[]), &serve), "docker.io/library/nginx:1");
    assert_eq!(
        looked_up(&pod("nginx:1", &[]), &check),
        "harbor.corp/dockerhub/library/nginx:1"
    );
    assert_eq!(
        looked_up(&workflow("nginx:1"), &serve),
        "harbor.corp/dockerhub/library/nginx:1"
    );
    assert_eq!(looked_up(&deployment("quay.io/a/b:1", &[]), &serve), "quay.io/a/b:1");
    let judged = answers(&deployment("quay.io/a/b:1", &[]), &serve, &not_found());
    assert_eq!(
        (judged[0].remark.as_ref(), image_of(&judged[0])),
        (None, "quay.io/a/b:1".to_owned())
    );
}

#[test]
fn a_parameter_in_a_custom_kind_is_somebody_elses_to_fill_in() {
    for image in ["{{inputs.parameters.image}}", "reg.example/app:$(params.tag)"] {
        let judged = answers(&workflow(image), &settings(), &not_found());
        assert_eq!(judged[0].judgement, Judgement::allowed());
        assert_eq!(judged[0].image.image, image);
        let note = judged[0].remark.as_ref().map(Remark::clause).unwrap();
        assert!(
            note.starts_with("not judged: ") && note.ends_with(" is filled in later, by Argo"),
            "{note}"
        );
        // In `check` that is no proof that it pulls.
        let check = answers(&workflow(image), &PlanSettings::bare(Admission::StillToCome), &not_found());
        assert_eq!(
            (check[0].judgement.outlook, check[0].judgement.verdict),
            (Outlook::Unknown, Verdict::Warn)
        );

        let plain = answers(&deployment(image, &[]), &settings(), &not_found());
        assert_eq!(causes(&plain[0].judgement), [Cause::InvalidImageName], "nothing fills it in");
        assert_eq!((plain[0].judgement.verdict, plain[0].remark.as_ref()), (Verdict::Deny, None));
    }
    let judged = answers(&workflow("Not A Name"), &settings(), &not_found());
    assert_eq!(causes(&judged[0].judgement), [Cause::InvalidImageName]);
    assert_eq!(judged[0].judgement.verdict, Verdict::Deny);
}

#[test]
fn what_an_operator_may_change_is_at_most_a_warning() {
    let cluster = |image: &str| json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg"}, "spec": {"imageName": image}});
    for (object, answer, outlook) in [
        (workflow("a.example/a:1"), not_found(), Outlook::WillFail),
        (cluster("a.example/a:1"), not_found(), Outlook::MayFail),
        (cluster("Not A Name"), not_found(), Outlook::MayFail),
        (cluster("a.example/a:1"), needs_login(), Outlook::Unknown),
        (cluster("a.example/a:1"), found(index(&["amd64"])), Outlook::Pulls),
        (cluster("a.example/a:1"), found(index(&["s390x"])), Outlook::MayFail),
    ] {
        let judged = answers(&object, &settings(), &answer);
        assert_eq!(judged[0].judgement.outlook, outlook, "{object}");
    }
}

#[test]
fn secrets_that_another_object_chooses_prove_nothing() {
    let task = |image: &str| json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {"steps": [{"image": image}]}});
    let judgement = judge(&task("a.example/a:1"), &facts(), &needs_login());
    assert_eq!((judgement.outlook, judgement.verdict), (Outlook::Unknown, Verdict::Warn));
    assert!(
        judgement.findings[0]
            .message
            .contains("the object that uses this one chooses the pull secrets"),
        "{}",
        judgement.findings[0].message
    );
    assert_eq!(
        judge(&task("a.example/a:1"), &facts(), &not_found()).outlook,
        Outlook::WillFail
    );

    let template = |secret: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate", "metadata": {"name": "t"},
               "spec": {"imagePullSecrets": [{"name": secret}], "templates": [{"container": {"image": "reg.example/a:1"}}]}})
    };
    let facts = with_secret(facts(), "bad", PULL, r#"{"auths": {"reg.example": {"auth": "%%%"}}}"#);
    let facts = with_secret(absent(facts, "absent"), "good", PULL, GOOD);
    for (secret, expected) in [("bad", 0), ("absent", 0), ("good", 1)] {
        let workload = extract(&template(secret), None, "ns", &Kinds::default()).unwrap();
        assert_eq!(
            plan(&workload, &facts, &settings()).checks[0].credentials.len(),
            expected,
            "{secret}"
        );
        let judgement = judge(&template(secret), &facts, &refused());
        assert_eq!(judgement.outlook, Outlook::Unknown, "{secret}");
    }
    // In no namespace, no secret of any name can be looked at.
    let mut everywhere = template("good");
    everywhere["kind"] = json!("ClusterWorkflowTemplate");
    assert_eq!(judge(&everywhere, &facts, &needs_login()).outlook, Outlook::Unknown);
}

#[test]
fn only_owners_that_surely_come_before_the_gate_excuse_what_they_own() {
    let mut owned = pod("a.example/a:1", &[]);
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "r", "controller": true}]);
    let judged = |settings: &PlanSettings| judge_with(&owned, &facts(), settings, &not_found()).remove(0);
    assert_eq!(
        judged(&settings()).outlook,
        Outlook::MayFail,
        "nobody may have registered Rollouts"
    );
    let rollout = Configured {
        group: "argoproj.io".to_owned(),
        kind: "Rollout".to_owned(),
        pod_specs: Vec::new(),
        images: Vec::new(),
        scope: None,
    };
    let named = PlanSettings {
        kinds: Arc::new(Kinds::with(&[rollout])),
        ..settings()
    };
    assert_eq!(judged(&named), Judgement::allowed());
}

#[test]
fn the_id_of_an_image_is_asked_of_no_registry() {
    let id = format!("sha256:{}", "0123456789abcdef".repeat(4));
    for (policy, outlook, cause) in [
        (json!(null), Outlook::MayFail, Cause::TagNotFound),
        (json!("Always"), Outlook::WillFail, Cause::TagNotFound),
        (json!("Never"), Outlook::Unknown, Cause::NeverPulled),
    ] {
        let mut object = pod(&id, &[]);
        object["spec"]["containers"][0]["imagePullPolicy"] = policy;
        let workload = extract(&object, None, "ns", &Kinds::default()).expect("an object with images");
        let facts = facts();
        let settings = settings();
        let mut plan = plan(&workload, &facts, &settings);
        assert!(plan.checks.is_empty());
        let judgement = decide::<Attempts>(&mut plan, &[]).remove(0);
        assert_eq!((judgement.outlook, causes(&judgement)), (outlook, vec![cause]));
    }
    let written_out = format!("docker.io/library/{id}");
    assert_eq!(
        judge(&pod(&written_out, &[]), &facts(), &not_found()).outlook,
        Outlook::WillFail,
        "that is a name"
    );
}

fn gateway(image: &str, labels: &Value) -> Value {
    let mut object = deployment(image, &[]);
    object["spec"]["template"]["metadata"] = json!({"labels": labels, "annotations": {"inject.istio.io/templates": "gateway"}});
    object["spec"]["template"]["spec"]["containers"][0]["name"] = json!("istio-proxy");
    object
}

// Field case 5.
#[test]
fn istios_injector_writes_the_image_of_a_gateway() {
    let wanted = json!({"sidecar.istio.io/inject": "true"});
    let refused = json!({"sidecar.istio.io/inject": "false"});
    let in_namespace = |labels: &[(&str, &str)]| {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Facts {
            namespace: Visible::Seen(Some(Namespace {
                labels,
                node_selector: None,
            })),
            ..facts()
        }
    };
    let unseen = Facts {
        namespace: Visible::Seen(None),
        complete: false,
        ..facts()
    };
    let check = PlanSettings::bare(Admission::StillToCome);
    for (labels, facts, injected) in [
        (&wanted, facts(), true),
        (&json!({"istio.io/rev": "canary"}), facts(), true),
        (&json!({}), facts(), false),
        (&json!({}), in_namespace(&[("istio-injection", "enabled")]), true),
        (&json!({}), in_namespace(&[("istio.io/rev", "stable")]), true),
        (&refused, in_namespace(&[("istio-injection", "enabled")]), false),
        (&wanted, in_namespace(&[("istio-injection", "disabled")]), false),
        (&json!({}), unseen.clone(), true),
        (&refused, unseen, false),
    ] {
        let outlook = |settings: &PlanSettings| {
            judge_with(&gateway("auto", labels), &facts, settings, &not_found())
                .remove(0)
                .outlook
        };
        let (in_check, in_serve) = if injected {
            (Outlook::Unknown, Outlook::Pulls)
        } else {
            (Outlook::WillFail, Outlook::WillFail)
        };
        assert_eq!(
            (outlook(&check), outlook(&settings())),
            (in_check, in_serve),
            "{labels} {:?}",
            facts.namespace
        );
    }
    assert_eq!(
        judge(&gateway("autos", &wanted), &facts(), &not_found()).outlook,
        Outlook::WillFail
    );
    let mut pod = pod("auto", &[]);
    pod["metadata"]["labels"] = wanted;
    assert_eq!(
        judge(&pod, &facts(), &not_found()).outlook,
        Outlook::WillFail,
        "a Pod in `serve` has been injected or will not be"
    );
}
