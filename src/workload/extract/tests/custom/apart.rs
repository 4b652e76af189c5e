//! How custom kinds differ.

use super::*;
use crate::workload::{Configured, PodNeeds, Route, Scope, Template};

fn uses_of(workload: &Workload) -> Vec<String> {
    let uses = workload.templates.iter().flat_map(|template| &template.uses);
    uses.map(|found| format!("{} {} {}", found.path, found.name, found.image))
        .collect()
}

fn templates_of(object: &Value) -> Vec<Template> {
    extract(object, None, "ns").expect("judged").templates
}

#[test]
fn a_workflow_shares_what_its_templates_leave_unsaid() {
    let workflow = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "w-"}, "spec": {
        "imagePullSecrets": [{"name": "s"}], "serviceAccountName": "runner", "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "templates": [
            {"name": "one", "container": {"image": "a:1"}, "sidecars": [{"name": "side", "image": "b:1", "imagePullPolicy": "Always"}]},
            {"name": "own", "serviceAccountName": "other", "nodeSelector": {"x": "y"}, "script": {"image": "c:1"}},
            {"name": "dag", "dag": {"tasks": [{"name": "t", "inline": {"container": {"image": "d:1"}}}]}},
            {"name": "two", "container": {"image": "e:1", "name": "main"}}]}});
    let workload = extract(&workflow, None, "ns").expect("judged");
    assert_eq!(
        uses_of(&workload),
        [
            "spec.templates[0].container.image one a:1",
            "spec.templates[0].sidecars[0].image side b:1",
            "spec.templates[3].container.image main e:1",
            "spec.templates[1].script.image own c:1",
            "spec.templates[2].dag.tasks[0].inline.container.image  d:1",
        ]
    );
    let [shared, own, inline] = workload.templates.as_slice() else {
        panic!("{workload:?}")
    };
    let needs = |template: &Template| {
        let PodNeeds {
            pull_secrets,
            service_account,
            scheduling,
        } = &template.needs;
        (
            pull_secrets.join(","),
            service_account.clone(),
            scheduling.node_selector.clone(),
        )
    };
    let arm = vec![("kubernetes.io/arch".to_owned(), "arm64".to_owned())];
    assert_eq!(needs(shared), ("s".to_owned(), "runner".to_owned(), arm.clone()));
    assert_eq!(
        needs(own),
        ("s".to_owned(), "other".to_owned(), vec![("x".to_owned(), "y".to_owned())])
    );
    assert_eq!(needs(inline), ("s".to_owned(), "runner".to_owned(), arm));
    assert_eq!(shared.uses[1].pull_policy, PullPolicy::Always);
    assert_eq!(shared.uses[0].pull_policy, PullPolicy::IfNotPresent);

    // An update judges what it changes.
    let mut new = workflow.clone();
    let templates = new["spec"]["templates"].as_array_mut().expect("templates");
    templates.insert(0, json!({"name": "zero", "container": {"image": "z:1"}}));
    templates[2]["script"]["image"] = json!("c:2");
    let changed: Vec<String> = extract(&new, Some(&workflow), "ns")
        .expect("judged")
        .templates
        .iter()
        .flat_map(|template| &template.uses)
        .filter(|found| !found.unchanged)
        .map(|found| found.image.clone())
        .collect();
    assert_eq!(changed, ["z:1", "c:2"]);

    let mut patched = workflow.clone();
    patched["spec"]["podSpecPatch"] = json!("containers: [{name: main, image: x}]");
    assert!(
        templates_of(&patched)
            .iter()
            .all(|template| sure(&template.nature) == Sure::Neither)
    );
    patched["spec"]["podSpecPatch"] = Value::Null;
    patched["spec"]["templates"][0]["podSpecPatch"] = json!("x");
    let doubted: Vec<Sure> = templates_of(&patched).iter().map(|template| sure(&template.nature)).collect();
    assert_eq!(
        doubted,
        [Sure::Neither, Sure::Credentials, Sure::Credentials, Sure::Credentials]
    );
}

#[test]
fn updates_compare_pod_templates_by_name() {
    let cluster = |groups: &[(&str, &str)]| {
        let groups: Vec<Value> = groups
            .iter()
            .map(|(name, image)| json!({"groupName": name, "template": {"spec": {"containers": [{"name": "w", "image": image}]}}}))
            .collect();
        object("ray.io/v1", "RayCluster", &[("spec.workerGroupSpecs", json!(groups))])
    };
    let old = cluster(&[("a", "a:1"), ("b", "b:1")]);
    let new = cluster(&[("c", "c:1"), ("b", "b:1"), ("a", "a:2")]);
    let workload = extract(&new, Some(&old), "ns").expect("judged");
    let shown: Vec<(&str, bool)> = workload
        .templates
        .iter()
        .flat_map(|template| &template.uses)
        .map(|found| (found.image.as_str(), found.unchanged))
        .collect();
    assert_eq!(shown, [("c:1", false), ("b:1", true), ("a:2", false)]);
}

#[test]
fn a_virtual_machine_has_the_secrets_of_all_its_disks() {
    let machine = object(
        "kubevirt.io/v1",
        "VirtualMachine",
        &[(
            "spec.template.spec",
            json!({"nodeSelector": {"a": "b"}, "domain": {"firmware": {"kernelBoot": {"container":
                    {"image": "kernel:1", "imagePullSecret": "boot", "imagePullPolicy": "Always"}}}},
                "volumes": [{"name": "root", "containerDisk": {"image": "disk:1", "imagePullSecret": "disks"}},
                    {"name": "data", "containerDisk": {"image": "disk:2", "imagePullSecret": "disks", "imagePullPolicy": "Never"}},
                    {"name": "acc", "serviceAccount": {"serviceAccountName": "vm"}}, {"name": "none", "emptyDisk": {}}]}),
        )],
    );
    let workload = extract(&machine, None, "ns").expect("judged");
    assert_eq!(
        uses_of(&workload),
        [
            "spec.template.spec.volumes[0].containerDisk.image root disk:1",
            "spec.template.spec.volumes[1].containerDisk.image data disk:2",
            "spec.template.spec.domain.firmware.kernelBoot.container.image  kernel:1",
        ]
    );
    let [template] = workload.templates.as_slice() else {
        panic!("{workload:?}")
    };
    assert_eq!(template.needs.pull_secrets, ["disks", "boot"]);
    assert_eq!(template.needs.service_account, "vm");
    assert_eq!(template.needs.scheduling.node_selector, [("a".to_owned(), "b".to_owned())]);
    let policies: Vec<PullPolicy> = template.uses.iter().map(|found| found.pull_policy).collect();
    assert_eq!(policies, [PullPolicy::IfNotPresent, PullPolicy::Never, PullPolicy::Always]);
    // Its own account comes before that of a volume.
    let mut own = machine;
    own["spec"]["template"]["spec"]["serviceAccountName"] = json!("own");
    assert_eq!(templates_of(&own)[0].needs.service_account, "own");
}

#[test]
fn the_parts_of_a_kafka_cluster_have_pull_secrets_of_their_own() {
    let cluster = object(
        "kafka.strimzi.io/v1",
        "Kafka",
        &[(
            "spec",
            json!({"kafka": {"image": "kafka:1", "template": {"pod": {"imagePullSecrets": [{"name": "brokers"}]}}},
                "kafkaExporter": {"image": "exporter:1", "template": {"pod": {"imagePullSecrets": [{"name": "exporter"}]}}}}),
        )],
    );
    let secrets: Vec<_> = templates_of(&cluster)
        .into_iter()
        .map(|template| template.needs.pull_secrets)
        .collect();
    assert_eq!(secrets, [vec!["brokers"], vec!["exporter"]]);
}

#[test]
fn the_autoscaler_of_a_ray_cluster_is_in_the_head_pod() {
    let mut cluster = object(
        "ray.io/v1",
        "RayCluster",
        &[
            ("spec.autoscalerOptions.image", json!("scaler:1")),
            (
                "spec.headGroupSpec.template.spec",
                json!({"imagePullSecrets": [{"name": "head"}], "containers": []}),
            ),
        ],
    );
    let scaler = |cluster: &Value| {
        let templates = templates_of(cluster).into_iter();
        let mut with_uses = templates.filter(|template| !template.uses.is_empty());
        let template = with_uses.next().expect("the autoscaler");
        (sure(&template.nature), template.needs.pull_secrets)
    };
    // Without autoscaling, nothing runs the autoscaler's image.
    assert_eq!(scaler(&cluster), (Sure::Image, vec!["head".to_owned()]));
    cluster["spec"]["enableInTreeAutoscaling"] = json!(true);
    assert_eq!(scaler(&cluster), (Sure::Yes, vec!["head".to_owned()]));
}

#[test]
fn runs_take_secrets_and_accounts_from_their_pod_templates() {
    let steps = json!([{"name": "s", "image": "a:1"}]);
    let task_run = object(
        "tekton.dev/v1",
        "TaskRun",
        &[
            ("spec.taskSpec.steps", steps.clone()),
            ("spec.serviceAccountName", json!("builder")),
            (
                "spec.podTemplate",
                json!({"imagePullSecrets": [{"name": "s"}], "nodeSelector": {"a": "b"}}),
            ),
        ],
    );
    let mut pipeline_run = object(
        "tekton.dev/v1",
        "PipelineRun",
        &[
            ("spec.pipelineSpec.tasks[0].taskSpec.steps", steps),
            (
                "spec.taskRunTemplate",
                json!({"serviceAccountName": "builder", "podTemplate": {"imagePullSecrets": [{"name": "s"}], "nodeSelector": {"a": "b"}}}),
            ),
        ],
    );
    for run in [&task_run, &pipeline_run] {
        let templates = templates_of(run);
        let needs = &templates[0].needs;
        assert_eq!(needs.pull_secrets, ["s"]);
        assert_eq!(needs.service_account, "builder");
        assert_eq!(needs.scheduling.node_selector.len(), 1);
        assert_eq!(sure(&templates[0].nature), Sure::Yes);
    }
    pipeline_run["spec"]["taskRunSpecs"] = json!([{"pipelineTaskName": "t"}]);
    assert_eq!(sure(&templates_of(&pipeline_run)[0].nature), Sure::Credentials);

    let spark = object(
        "sparkoperator.k8s.io/v1beta2",
        "SparkApplication",
        &[(
            "spec",
            json!({"imagePullPolicy": "Always", "imagePullSecrets": ["s", "t"], "driver": {"image": "d:1", "serviceAccount": "spark"}}),
        )],
    );
    let templates = templates_of(&spark);
    assert_eq!(templates[0].needs.pull_secrets, ["s", "t"]);
    assert_eq!(templates[0].needs.service_account, "spark");
    assert_eq!(templates[0].uses[0].pull_policy, PullPolicy::Always);
}

#[test]
fn what_is_elsewhere_or_empty_is_not_judged() {
    let mut rollout = object(
        "argoproj.io/v1alpha1",
        "Rollout",
        &[(
            "spec.template.spec.containers",
            json!([{"name": "c", "image": "a:1"}, {"name": "d", "image": ""}, {"image": " "}]),
        )],
    );
    assert_eq!(templates_of(&rollout)[0].uses.len(), 1);
    rollout["spec"]["workloadRef"] = json!({"kind": "Deployment", "name": "d"});
    assert_eq!(templates_of(&rollout), []);
    rollout["spec"]["workloadRef"] = Value::Null;
    assert_eq!(templates_of(&rollout).len(), 1);
    assert_eq!(
        templates_of(&object(
            "argoproj.io/v1alpha1",
            "Workflow",
            &[("spec.workflowTemplateRef.name", json!("x"))]
        )),
        []
    );
}

#[test]
fn parameters_name_no_secret_and_choose_no_node() {
    let with = |field: &str, value: Value| {
        let workflow = object(
            "argoproj.io/v1alpha1",
            "Workflow",
            &[(
                "spec.templates[0]",
                json!({"container": {"image": "{{image}}"}, field: value}),
            )],
        );
        templates_of(&workflow).remove(0)
    };
    let account = with("serviceAccountName", json!("{{workflow.parameters.account}}"));
    assert_eq!(
        (account.needs.service_account.as_str(), sure(&account.nature)),
        ("default", Sure::Credentials)
    );
    let secrets = with("imagePullSecrets", json!([{"name": "$(x)"}, {"name": "s"}]));
    assert_eq!(
        (secrets.needs.pull_secrets, sure(&secrets.nature)),
        (vec!["s".to_owned()], Sure::Credentials)
    );
    let selected = with("nodeSelector", json!({"kubernetes.io/arch": "{{arch}}", "a": "b"}));
    assert_eq!(selected.needs.scheduling.node_selector, [("a".to_owned(), "b".to_owned())]);
    assert!(selected.needs.scheduling.named_platforms().is_empty());
    assert_eq!(with("nodeName", json!("{{node}}")).needs.scheduling.node_name, None);
    let affinity = |value: &str| {
        with(
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": [value]}]}]}}}),
        )
    };
    assert!(affinity("{{arch}}").needs.scheduling.required_affinity.is_none());
    assert!(affinity("arm64").needs.scheduling.required_affinity.is_some());

    let plain = deployment(&json!({"containers": [{"image": "{{image}}"}], "serviceAccountName": "{{x}}"}));
    let template = extract(&plain, None, "ns").expect("judged").templates.remove(0);
    assert_eq!(
        (template.nature, template.needs.service_account.as_str()),
        (Nature::default(), "{{x}}")
    );
}

fn configured(group: &str, kind: &str, pod_specs: &[&str], images: &[&str]) -> Configured {
    let routes = |texts: &[&str]| texts.iter().map(|text| Route::parse(text).expect("a route")).collect();
    Configured {
        group: group.to_owned(),
        kind: kind.to_owned(),
        pod_specs: routes(pod_specs),
        images: routes(images),
        scope: None,
    }
}

#[test]
fn a_kind_of_the_settings_may_belong_to_the_whole_cluster() {
    let fleet = configured("example.com", "Fleet", &["spec.pod"], &[]);
    let cluster = Configured {
        scope: Some(Scope::Cluster),
        ..fleet.clone()
    };
    // As `check -f` reads it: every object has been given a default namespace.
    let object = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"pod": {"containers": [{"name": "c", "image": "x"}]}}});
    let namespace = |kind: Configured| {
        let workload = crate::workload::extract(&object, None, "default", &Kinds::with(&[kind])).expect("judged");
        let others = workload.templates[0].nature.other_credentials;
        (workload.object.namespace, others.is_some())
    };
    assert_eq!(namespace(fleet), ("default".to_owned(), false));
    assert_eq!(namespace(cluster), (String::new(), true));
}

#[test]
fn the_settings_add_kinds_and_replace_paths() {
    let kinds = Kinds::with(&[
        configured(
            "example.com",
            "App",
            &["spec.sets.*.pod"],
            &["spec.images[*].ref", "spec.tool"],
        ),
        configured("argoproj.io", "Rollout", &[], &[]),
        configured("ray.io", "RayCluster", &["spec.only"], &[]),
        configured("apps", "Deployment", &["spec.elsewhere"], &[]),
    ]);
    let app = object(
        "example.com/v1",
        "App",
        &[
            (
                "spec.sets.web.pod",
                json!({"containers": [{"name": "c", "image": "a:1"}], "imagePullSecrets": [{"name": "s"}]}),
            ),
            ("spec.images", json!([{"name": "i", "ref": "b:1"}, {"ref": 5}])),
            ("spec.tool", json!("c:1")),
            ("spec.imagePullSecrets", json!([{"name": "t"}])),
        ],
    );
    let workload = crate::workload::extract(&app, None, "ns", &kinds).expect("judged");
    assert_eq!(
        uses_of(&workload),
        [
            "spec.sets.web.pod.containers[0].image c a:1",
            "spec.images[0].ref i b:1",
            "spec.tool  c:1"
        ]
    );
    let natures: Vec<Sure> = workload.templates.iter().map(|template| sure(&template.nature)).collect();
    assert_eq!(natures, [Sure::Yes, Sure::Neither, Sure::Neither]);
    assert_eq!(workload.templates[1].needs.pull_secrets, ["t"]);
    assert!(crate::workload::extract(&app, Some(&app), "ns", &kinds) == Err(Skip::Unchanged));

    let spec = json!({"containers": [{"name": "c", "image": "a:1"}]});
    let count = |object: &Value| uses_of(&crate::workload::extract(object, None, "ns", &kinds).expect("judged")).len();
    let rollout = object("argoproj.io/v1alpha1", "Rollout", &[("spec.template.spec", spec.clone())]);
    assert_eq!(count(&rollout), 1, "the table's paths");
    let ray = object(
        "ray.io/v1",
        "RayCluster",
        &[
            ("spec.headGroupSpec.template.spec", spec.clone()),
            ("spec.only", spec.clone()),
        ],
    );
    assert_eq!(count(&ray), 1, "the settings' paths");
    assert_eq!(count(&deployment(&spec)), 1, "a kind of Kubernetes stays as it is");

    for (api_version, kind, sure) in [
        ("apps/v1", "Deployment", true),
        ("example.com/v1", "App", true),
        ("argoproj.io/v1alpha1", "Rollout", true),
        ("argoproj.io/v1alpha1", "Workflow", false),
        ("v1", "App", false),
    ] {
        assert_eq!(kinds.judged_for_sure(api_version, kind), sure, "{kind}");
    }
    assert!(!Kinds::default().judged_for_sure("argoproj.io/v1alpha1", "Rollout"));
}

/// Objects made to be expensive: what is repeated for every template must not grow with their number.
#[test]
fn hostile_objects_do_not_multiply() {
    let long = "n".repeat(1 << 20);
    let secrets: Vec<Value> = (0..50_000).map(|n| json!({"name": format!("s{n}")})).collect();
    let templates = |own: &str| -> Vec<Value> {
        (0..50_000)
            .map(|n| json!({"container": {"image": format!("a{n}:1")}, own: {"a": "b"}}))
            .collect()
    };
    let workflow = |templates: Vec<Value>| {
        object(
            "argoproj.io/v1alpha1",
            "Workflow",
            &[("spec", json!({"templates": templates, "imagePullSecrets": secrets}))],
        )
    };
    let sidecars: Vec<Value> = (0..50_000).map(|_| json!({"image": "a:1"})).collect();
    let mut named = workflow(vec![json!({"name": long, "sidecars": sidecars})]);
    named["spec"]["imagePullSecrets"] = Value::Null;
    let replicas = json!({&long: {"template": {"spec": {"containers": sidecars}}}});
    let keyed = object("kubeflow.org/v1", "PyTorchJob", &[("spec.pytorchReplicaSpecs", replicas)]);
    for object in [workflow(templates("nodeSelector")), workflow(templates("x")), named, keyed] {
        let workload = extract(&object, None, "ns").expect("judged");
        assert_eq!(uses_of(&workload).len(), 50_000);
        assert!(workload.templates.len() <= 129);
        let needed: usize = workload
            .templates
            .iter()
            .map(|template| template.needs.pull_secrets.len())
            .sum();
        assert!(needed <= 60_000, "{needed}");
        assert_eq!(extract(&object, Some(&object), "ns"), Err(Skip::Unchanged));
    }
}

#[test]
fn a_service_account_that_is_written_is_nobody_elses_to_choose() {
    let account = json!("robot");
    for (api_version, kind, image, named) in [
        (
            "tekton.dev/v1",
            "TaskRun",
            "spec.taskSpec.steps[0].image",
            "spec.serviceAccountName",
        ),
        (
            "tekton.dev/v1",
            "PipelineRun",
            "spec.pipelineSpec.tasks[0].taskSpec.steps[0].image",
            "spec.taskRunTemplate.serviceAccountName",
        ),
        (
            "tekton.dev/v1beta1",
            "PipelineRun",
            "spec.pipelineSpec.tasks[0].taskSpec.steps[0].image",
            "spec.serviceAccountName",
        ),
        (
            "agones.dev/v1",
            "GameServer",
            "spec.template.spec.containers[0].image",
            "spec.template.spec.serviceAccountName",
        ),
    ] {
        let image = (image, json!("nginx"));
        let unnamed = object(api_version, kind, std::slice::from_ref(&image));
        assert_eq!(sure(&templates_of(&unnamed)[0].nature), Sure::Credentials, "{kind}");
        let named = object(api_version, kind, &[image, (named, account.clone())]);
        let templates = templates_of(&named);
        assert_eq!(sure(&templates[0].nature), Sure::Yes, "{kind}");
        assert_eq!(templates[0].needs.service_account, "robot", "{kind}");
    }
}

#[test]
fn a_kind_of_the_settings_without_a_namespace_has_nobodys_secrets() {
    let kinds = Kinds::with(&[configured("example.com", "Wide", &["spec.template.spec"], &[])]);
    let wide = json!({"apiVersion": "example.com/v1", "kind": "Wide", "metadata": {"name": "w"}, "spec": {"template": {"spec": {
        "imagePullSecrets": [{"name": "s"}], "containers": [{"name": "c", "image": "a:1"}]}}}});
    for (namespace, expect) in [("", Sure::Credentials), ("shop", Sure::Yes)] {
        let workload = crate::workload::extract(&wide, None, namespace, &kinds).expect("judged");
        assert_eq!(sure(&workload.templates[0].nature), expect, "{namespace:?}");
    }
}

#[test]
fn an_image_volume_of_a_workflow_may_be_mounted_by_any_of_its_templates() {
    let workflow = |mounted: &str| {
        let mounts = json!([{"name": mounted, "mountPath": "/data"}]);
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"}, "spec": {
            "volumes": [{"name": "data", "image": {"reference": "data:1"}}],
            "templates": [{"name": "one", "container": {"image": "a:1"}},
                          {"name": "two", "dag": {"tasks": [{"name": "t", "inline": {"script": {"image": "b:1", "volumeMounts": mounts}}}]}}]}})
    };
    for (mounted, role) in [("data", Role::Volume), ("other", Role::UnmountedVolume)] {
        let templates = templates_of(&workflow(mounted));
        let mut uses = templates.iter().flat_map(|template| &template.uses);
        let volume = uses.find(|found| found.name == "data").expect("a volume");
        assert_eq!(volume.role, role);
    }
}
