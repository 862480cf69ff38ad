"""What deploys Trainshed agrees with the code: metrics, settings, versions, what an operator must set."""

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.http.middleware import MAX_IMAGES_BYTES
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import queue_driver, registry
from tests.support.lacking import environment_lacks
from tests.support.paths import ROOT
from workers import pod_deletion_cost

MONITORING = ROOT / "deploy" / "monitoring"
KUBERNETES = ROOT / "deploy" / "kubernetes"
MANIFESTS = sorted(
    path.relative_to(KUBERNETES).as_posix()
    for path in KUBERNETES.glob("*/*.yaml")
    if path.name != "kustomization.yaml"
)
OF_POSTGRESQL = {
    "trainshed_database_connections",
    "trainshed_database_connections_max",
    "trainshed_database_oldest_transaction_seconds",
}
OURS = ("api", "migrate", "worker", "gpu-worker")


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def expressions() -> list[str]:
    """Every PromQL expression of the alerts and of the dashboard."""
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "trainshed.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*(rule["expr"] for rule in alerts()), *shown]


def test_alerts_and_dashboard_use_only_metrics_and_labels_that_the_api_exposes(
    api: httpx.Client, database: Database
) -> None:
    queue_driver.succeeded(database)
    queue_driver.submit(database)
    registry.worker(database)
    api.get("/readyz")
    exposed: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for sample in family.samples:
            exposed.setdefault(sample.name, set()).update(sample.labels)

    used = [
        (metric, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)))
        for expression in expressions()
        for metric, labels in re.findall(r"(trainshed_\w+)(?:\{(.*?['\"])\})?", expression)
    ]

    assert len(used) > len(expressions()) / 2
    if database.engine.dialect.name == "sqlite":  # it has no sessions
        used = [(metric, labels) for metric, labels in used if metric not in OF_POSTGRESQL]
    assert {metric for metric, _ in used} <= set(exposed)
    assert [(metric, labels) for metric, labels in used if not labels <= exposed[metric]] == []


def test_every_alert_has_its_advice_in_the_documentation() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [rule["alert"] for rule in alerts()] == re.findall(
        r"^\| `(Trainshed\w+)` \|", page, flags=re.MULTILINE
    )


@pytest.mark.parametrize(
    "check",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml"),
     ("check", "config", "--syntax-only", "prometheus.yml")],
)  # fmt: skip
def test_promtool_accepts_the_rules_and_their_tests_pass(check: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        environment_lacks("promtool is not installed: apt-get install prometheus")
    ended = subprocess.run(["promtool", *check], cwd=MONITORING, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("name", "largest", "silence"),
    [
        ("nginx.conf", r"client_max_body_size (\d+)m;", r"proxy_read_timeout (\d+)s;"),
        ("Caddyfile", r"max_size (\d+)MiB", r"response_header_timeout (\d+)s"),
    ],
)
def test_proxies_let_pass_the_largest_body_and_the_longest_silence(
    name: str, largest: str, silence: str
) -> None:
    text = (ROOT / "deploy" / "proxy" / name).read_text()
    assert [int(size) * 2**20 for size in re.findall(largest, text)] == [MAX_IMAGES_BYTES]
    [seconds] = map(int, re.findall(silence, text))
    parameters = create_app(Settings()).openapi()["paths"]["/v1/jobs/{job_id}"]["get"]["parameters"]
    [wait] = [each["schema"]["maximum"] for each in parameters if each["name"] == "wait"]
    assert seconds > wait


def test_images_name_the_version_of_the_package() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"image\.version=(\S+)", dockerfile) == [version("trainshed")]


def test_what_an_operator_must_set_has_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "TRAINSHED_API_KEYS"):
        uses = re.findall(rf"\$\{{{name}(.)(.)", text)
        assert uses
        assert set(uses) == {(":", "?")}
        assert f"\n{name}=\n" in (ROOT / ".env.example").read_text()


def test_the_settings_that_compose_and_its_example_name_exist() -> None:
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / ".env.example").read_text()
    named = {name.lower() for name in re.findall(r"TRAINSHED_([A-Z0-9_]+)", text)} - {""}
    assert named <= set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_every_service_has_bounded_logs_and_processes_and_gains_no_privileges(name: str) -> None:
    service = compose()["services"][name]
    assert service["logging"]["options"]["max-size"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{PIDS_LIMIT:-\d+\}", service["deploy"]["resources"]["limits"]["pids"])
    if name in OURS:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["env_file"] == [{"path": ".env", "required": False}]


def test_the_file_with_the_secrets_is_ignored_by_git() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def documents(manifest: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERNETES / manifest).read_text()))


def base() -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of `base` by kind and name."""
    return {
        (document["kind"], document["metadata"]["name"]): document
        for manifest in MANIFESTS
        if manifest.startswith("base/")
        for document in documents(manifest)
        if "kind" in document
    }


# KEDA's kinds are its own, and of a patch the schema would demand the rest
@pytest.mark.parametrize(
    "manifest", sorted({*MANIFESTS} - {"base/keda.yaml", "base/references.yaml", "gpu/worker.yaml"})
)
def test_kubernetes_accepts_the_manifests(manifest: str) -> None:
    for document in documents(manifest):
        kubernetes_validate.validate(document, "1.37", strict=True)


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_kustomize_finds_every_file_that_it_names(folder: str) -> None:
    [kustomization] = documents(f"{folder}/kustomization.yaml")
    names = [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", ()))]
    names += kustomization.get("configurations", ())
    assert [name for name in names if not (KUBERNETES / folder / name).exists()] == []
    manifests = {manifest for manifest in MANIFESTS if manifest.startswith(folder)}
    assert manifests <= {f"{folder}/{name}" for name in names}


@pytest.mark.parametrize("name", ["trainshed-api", "trainshed-worker", "redis"])
def test_pods_are_confined_and_their_services_select_them(name: str) -> None:
    template = base()["Deployment", name]["spec"]["template"]
    assert template["spec"]["securityContext"]["runAsNonRoot"]
    for container in [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]:
        confined = container["securityContext"]
        assert (confined["readOnlyRootFilesystem"], confined["allowPrivilegeEscalation"]) == (True, False)
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    labels = template["metadata"]["labels"]
    assert base()["Deployment", name]["spec"]["selector"]["matchLabels"] == labels
    if ("Service", name) in base():
        assert base()["Service", name]["spec"]["selector"] == labels


def test_the_autoscaler_reads_an_operation_of_the_api_with_a_key_that_only_reads() -> None:
    scaled = base()["ScaledObject", "trainshed-worker"]["spec"]
    [trigger] = scaled["triggers"]
    assert scaled["scaleTargetRef"]["name"] == "trainshed-worker"
    url = httpx.URL(trigger["metadata"]["url"])
    assert ("Service", url.host.split(".")[0]) in base()
    assert url.path in create_app(Settings()).openapi()["paths"]
    secrets = base()["TriggerAuthentication", trigger["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
    assert secrets == [{"parameter": "token", "name": "trainshed", "key": "TRAINSHED_READ_KEYS"}]
    example = (KUBERNETES / "base" / "secrets.env.example").read_text()
    assert "TRAINSHED_READ_KEYS=\n" in example


def test_an_api_that_does_not_answer_takes_no_worker_away_and_blocks_no_drain_of_a_node() -> None:
    fallback = base()["ScaledObject", "trainshed-worker"]["spec"]["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"
    assert (
        base()["PodDisruptionBudget", "trainshed-api"]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    )


def test_a_changed_setting_restarts_what_reads_it() -> None:
    """The names of the generated objects have a hash, and kustomize knows each place that refers to them."""
    [kustomization] = documents("base/kustomization.yaml")
    generators = [*kustomization["configMapGenerator"], *kustomization["secretGenerator"]]
    assert {generator["name"] for generator in generators} == {"trainshed"}
    for settings in (kustomization, *generators):
        options = {**settings.get("generatorOptions", {}), **settings.get("options", {})}
        assert not options.get("disableNameSuffixHash")
    # those in Pods are built into kustomize
    [references] = documents("base/references.yaml")[0]["nameReference"]
    [field] = references["fieldSpecs"]
    found = base()[field["kind"], "trainshed"]["spec"]
    assert references["kind"] == "Secret"
    assert field["path"] == "spec/secretTargetRef/name"
    assert [each["name"] for each in found["secretTargetRef"]] == ["trainshed"]


CLUSTER_KINDS = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_every_object_has_the_namespace_unless_it_is_the_clusters(folder: str) -> None:
    [kustomization] = documents(f"{folder}/kustomization.yaml")
    # kustomize would write it into objects of the cluster too: kubernetes-sigs/kustomize#6051
    assert "namespace" not in kustomization
    generators = [*kustomization.get("configMapGenerator", ()), *kustomization.get("secretGenerator", ())]
    assert {generator["namespace"] for generator in generators} <= {"trainshed"}
    for manifest in MANIFESTS:
        for document in documents(manifest) if manifest.startswith(folder) else ():
            if "kind" in document:
                expected = None if document["kind"] in CLUSTER_KINDS else "trainshed"
                assert document["metadata"].get("namespace") == expected, document["metadata"]


def policies() -> dict[str, dict[str, Any]]:
    return {name: each["spec"] for (kind, name), each in base().items() if kind == "NetworkPolicy"}


def test_what_no_network_policy_names_is_denied() -> None:
    assert policies()["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    named = {name: policy["podSelector"].get("matchLabels") for name, policy in policies().items()}
    pods = {
        name: document["spec"]["template"]["metadata"]["labels"]
        for (kind, name), document in base().items()
        if kind == "Deployment"
    }
    assert named == {"default-deny": None, "dns": None, **pods}


def test_redis_is_reached_by_the_api_and_workers_only_and_with_a_password() -> None:
    [ingress] = policies()["redis"]["ingress"]
    callers = [peer["podSelector"]["matchLabels"]["app"] for peer in ingress["from"]]
    assert callers == ["trainshed-api", "trainshed-worker"]
    assert "egress" not in policies()["redis"]
    assert "ingress" not in policies()["trainshed-worker"]
    [port] = base()["Service", "redis"]["spec"]["ports"]
    secret = {"secretKeyRef": {"name": "trainshed", "key": "REDIS_PASSWORD"}}
    for name in callers:
        [rule] = [each for each in policies()[name]["egress"] if "podSelector" in each.get("to", [{}])[0]]
        assert rule["to"] == [{"podSelector": {"matchLabels": {"app": "redis"}}}]
        assert rule["ports"] == [{"protocol": "TCP", "port": port["port"]}]
        [container] = base()["Deployment", name]["spec"]["template"]["spec"]["containers"]
        variables = {each["name"]: each for each in container["env"]}
        assert variables["REDIS_PASSWORD"]["valueFrom"] == secret
        assert variables["TRAINSHED_REDIS_URL"]["value"] == "redis://:$(REDIS_PASSWORD)@redis:6379/0"
        # Kubernetes expands only what stands before
        assert list(variables).index("REDIS_PASSWORD") < list(variables).index("TRAINSHED_REDIS_URL")
    [container] = base()["Deployment", "redis"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "REDISCLI_AUTH", "valueFrom": secret}]
    assert container["args"][:2] == ["--requirepass", "$(REDISCLI_AUTH)"]
    assert "REDIS_PASSWORD=\n" in (KUBERNETES / "base" / "secrets.env.example").read_text()


def test_redis_needs_a_password_in_compose_too() -> None:
    services = compose()["services"]
    assert services["redis"]["command"][:2] == [
        "--requirepass",
        services["redis"]["environment"]["REDISCLI_AUTH"],
    ]
    assert "redis://:${REDIS_PASSWORD:?" in services["api"]["environment"]["TRAINSHED_REDIS_URL"]


def test_a_worker_may_patch_the_deletion_cost_of_workers_and_nothing_else() -> None:
    policy = base()["ValidatingAdmissionPolicy", "trainshed-worker"]["spec"]
    binding = base()["ValidatingAdmissionPolicyBinding", "trainshed-worker"]["spec"]
    assert (binding["policyName"], binding["validationActions"]) == ("trainshed-worker", ["Deny"])
    assert policy["failurePolicy"] == "Fail"
    [rule] = base()["Role", "trainshed-worker"]["rules"]
    [constraint] = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["verbs"]) == (["pods"], ["patch"])
    assert (constraint["resources"], constraint["operations"]) == (["pods"], ["UPDATE"])
    account = base()["Deployment", "trainshed-worker"]["spec"]["template"]["spec"]["serviceAccountName"]
    [condition] = policy["matchConditions"]
    assert condition["expression"].endswith(f'== "system:serviceaccount:trainshed:{account}"')
    [cost] = [each["expression"] for each in policy["variables"] if each["name"] == "cost"]
    assert cost == f'"{pod_deletion_cost._ANNOTATION}"'
    labels = base()["Deployment", "trainshed-worker"]["spec"]["template"]["metadata"]["labels"]
    clauses = {clause for each in policy["validations"] for clause in each["expression"].split(" && ")}
    assert f'oldObject.metadata.labels["app"] == "{labels["app"]}"' in clauses
    assert {"object.spec == oldObject.spec", "object.metadata.labels == oldObject.metadata.labels"} <= clauses
    for field in ("ownerReferences", "finalizers"):
        new, old = f"object.metadata.{field}", f"oldObject.metadata.{field}"
        assert {f"has({new}) == has({old})", f"(!has({new}) || {new} == {old})"} <= clauses
    assert {
        "variables.after.all(name, name == variables.cost || (name in variables.before",
        "variables.after[name] == variables.before[name]))",
        "variables.before.all(name, name == variables.cost || name in variables.after)",
    } <= clauses


def test_the_settings_that_the_manifests_name_exist() -> None:
    text = "".join(path.read_text() for path in KUBERNETES.glob("*/*") if path.is_file())
    named = {name.lower() for name in re.findall(r"TRAINSHED_([A-Z0-9_]+)", text)}
    assert {"database_url", "api_keys", "pod", "require_gpu"} <= named <= set(Settings.model_fields)


def test_probes_of_the_api_and_the_health_file_of_a_worker_exist() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    [api] = base()["Deployment", "trainshed-api"]["spec"]["template"]["spec"]["containers"]
    probes = {name: api[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}
    assert set(probes.values()) <= set(paths)
    [worker] = base()["Deployment", "trainshed-worker"]["spec"]["template"]["spec"]["containers"]
    assert "livenessProbe" not in worker
    [command] = re.findall(r"CMD (find .*)", (ROOT / "deploy" / "Dockerfile").read_text())
    assert " -newermt '-20 seconds' " in command
    for probe in ("startup", "readiness"):
        assert worker[f"{probe}Probe"]["exec"]["command"][-1] == command.strip()
    # ten minutes, for the import of TensorFlow on a busy host
    assert worker["startupProbe"]["periodSeconds"] * worker["startupProbe"]["failureThreshold"] == 600


def test_what_images_copy_from_the_checkout_is_sent_to_the_builder() -> None:
    admitted = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split() if not source.startswith("--")}
    assert sources
    assert {source.split("/")[0] for source in sources} - set(admitted) == set()
