"""kubernetes/: accepted by the published schemas, in agreement with itself, and with what it starts."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from common import cluster, job, manifest
from serve import server, settings
from tests.conftest import BIN, Finished, free_port

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.30", "1.37")  # the first that knows all that is used, and the last whose schemas are at hand
FILES = {
    path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(ROOT.glob("kubernetes/*.yaml"))
}
DOCUMENTS = [
    pytest.param(document, id=f"{name}-{document['kind']}-{document['metadata']['name']}")
    for name, documents in FILES.items()
    for document in documents
]
PODS = [found for found in DOCUMENTS if found.values[0]["kind"] in ("Pod", "Job", "Deployment")]
JOBS = ("train.yaml", "train-hosts.yaml")


def one(name: str, kind: str) -> dict[str, Any]:
    """The only document of a kind in a file."""
    (found,) = (document for document in FILES[name] if document["kind"] == kind)
    return found


def pod(document: dict[str, Any]) -> dict[str, Any]:
    """The specification of the pods that a document makes."""
    spec = document["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def container(document: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(document)["containers"]
    return found


def environment(document: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container(document).get("env", []) if "value" in item}


def lay_out(name: str, folder: Path) -> None:
    """A file's ConfigMap as files."""
    folder.mkdir(parents=True)
    for file, text in one(name, "ConfigMap")["data"].items():
        (folder / file).write_text(text)


def start(command: list[str], root: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OPT_ML": str(root)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str], root: Path) -> Finished:
    log, _ = process.communicate(timeout=120)
    return Finished(process.returncode, log, root)


def digits(root: Path) -> None:
    """The volume's input/data, as docs/kubernetes.md fills it."""
    train = root / "input" / "data" / "train"
    train.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "digits-train.csv", train)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_published_schemas_accept_it(document, version):
    assert kubernetes_validate.validate(document, version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("spec", "completionMod"), "Indexed", id="unknown"),
        pytest.param(("spec", "completions"), "two", id="type"),
        pytest.param(("spec", "template"), None, id="missing"),
        pytest.param(("spec", "template", "spec", "containers", 0, "volumeMount"), [], id="deep"),
    ],
)
def test_the_published_schemas_refuse_what_is_wrong(path, value, version):
    broken = copy.deepcopy(one("train-hosts.yaml", "Job"))
    *way, last = path
    place: Any = broken
    for step in way:
        place = place[step]
    place[last] = value
    if value is None:
        del place[last]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, version, strict=True)


@pytest.mark.parametrize("document", PODS)
def test_every_mount_has_a_volume_and_every_volume_a_source(document):
    volumes = {volume["name"]: volume for volume in pod(document)["volumes"]}
    assert {mount["name"] for mount in container(document)["volumeMounts"]} == set(volumes)
    claims = {found["metadata"]["name"] for found in FILES["volume.yaml"]}
    beside = next(found for found in FILES.values() if document in found)
    maps = {found["metadata"]["name"] for found in beside if found["kind"] == "ConfigMap"}
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims
        elif "configMap" in volume:
            assert volume["configMap"]["name"] in maps
        else:
            assert volume["emptyDir"] == {}


@pytest.mark.parametrize("document", PODS)
def test_nothing_runs_as_root_or_writes_where_it_should_not(document):
    assert pod(document)["securityContext"]["runAsNonRoot"] is True
    assert pod(document)["securityContext"]["fsGroup"] == pod(document)["securityContext"]["runAsGroup"]
    assert container(document)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {m["mountPath"] for m in container(document)["volumeMounts"] if not m.get("readOnly")}
    assert "/opt/ml/input/data" not in writable
    if document["kind"] == "Deployment":
        assert writable == {"/tmp"}


@pytest.mark.parametrize("document", PODS)
def test_images_are_those_that_make_image_builds(document):
    name, tag = container(document)["image"].removeprefix("algodock/").split(":")
    assert tag in manifest.load(name).training.devices


@pytest.mark.parametrize("name", JOBS)
def test_the_algorithm_accepts_the_configuration(name, tmp_path):
    lay_out(name, tmp_path / "input" / "config")
    found = job.read(tmp_path)
    kmeans = manifest.load("kmeans")
    assert all(isinstance(value, str) for value in found.hyperparameters.values())
    assert kmeans.declaration().resolve(found.hyperparameters)["k"] == 10
    for channel in found.channels.values():
        assert channel.content_type in kmeans.channel(channel.name).content_types
    first, _ = (ROOT / "examples" / "digits-train.csv").read_text().split("\n", 1)
    assert found.hyperparameters["feature_dim"] == str(first.count(","))  # all columns but the label


@pytest.mark.parametrize("name", JOBS)
def test_a_job_has_the_contracts_time_to_stop_and_is_not_repeated(name):
    found = one(name, "Job")
    assert pod(found)["terminationGracePeriodSeconds"] == 120
    assert pod(found)["restartPolicy"] == "Never"
    assert found["spec"]["backoffLimit"] == 0


def test_hosts_are_as_many_everywhere_and_have_the_names_of_services():
    found = one("train-hosts.yaml", "Job")
    count = found["spec"]["completions"]
    assert found["spec"]["completionMode"] == "Indexed"
    assert found["spec"]["parallelism"] == count
    assert environment(found)["HOSTS"] == str(count)

    services = [document for document in FILES["train-hosts.yaml"] if document["kind"] == "Service"]
    assert [service["metadata"]["name"] for service in services] == [f"algo-{n + 1}" for n in range(count)]
    for index, service in enumerate(services):
        # Headless: the host binds to the address that its name has, which must be its own.
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert service["spec"]["selector"] == {
            "batch.kubernetes.io/job-name": found["metadata"]["name"],
            "batch.kubernetes.io/job-completion-index": str(index),
        }


def test_probes_ask_the_endpoint_where_it_listens():
    found = container(one("serve.yaml", "Deployment"))
    (port,) = found["ports"]
    assert port["containerPort"] == settings.read(environment(one("serve.yaml", "Deployment")), 1).port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert found[probe]["httpGet"] == {"path": "/ping", "port": port["name"]}
    assert one("serve.yaml", "Service")["spec"]["ports"][0]["targetPort"] == port["name"]


def test_an_endpoint_is_left_its_time_to_end():
    document = one("serve.yaml", "Deployment")
    before = container(document)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(document)["terminationGracePeriodSeconds"] >= before + 30 > before + server.GRACE


def test_services_and_scaling_find_the_deployment():
    document = one("serve.yaml", "Deployment")
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert document["spec"]["selector"]["matchLabels"] == labels
    assert one("serve.yaml", "Service")["spec"]["selector"] == labels
    target = one("autoscale.yaml", "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": document["apiVersion"],
        "kind": "Deployment",
        "name": document["metadata"]["name"],
    }


def test_the_job_trains_and_its_model_answers_the_probes(tmp_path, endpoint):
    lay_out("train.yaml", tmp_path / "input" / "config")
    digits(tmp_path)
    arguments = container(one("train.yaml", "Job"))["args"]
    finished(start(arguments, tmp_path, ALGORITHM="kmeans"), tmp_path).succeeded()

    served = endpoint("kmeans", tmp_path)
    deployment = container(one("serve.yaml", "Deployment"))
    assert deployment["args"] == ["serve"]
    assert served.request("GET", deployment["readinessProbe"]["httpGet"]["path"]).status == 200
    assert "closest_cluster" in served.invoke(",".join(["0"] * 64)).json()["predictions"][0]


def script(config: Path, root: Path) -> list[str]:
    """The hosts' command with folders of this test in place of a pod's."""
    found = container(one("train-hosts.yaml", "Job"))["command"]
    return [part.replace("/config/*", f"{config}/*").replace("/opt/ml", str(root)) for part in found]


def test_each_host_is_told_its_name_and_all_others(tmp_path):
    lay_out("train-hosts.yaml", tmp_path / "config")
    stub = tmp_path / "bin" / "train"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    for index in range(2):
        root = tmp_path / str(index)
        (root / "input" / "config").mkdir(parents=True)
        process = start(
            script(tmp_path / "config", root),
            root,
            PATH=f"{stub.parent}:{os.environ['PATH']}",
            JOB_COMPLETION_INDEX=str(index),
            **environment(one("train-hosts.yaml", "Job")),
        )
        finished(process, root).succeeded()
        hosts = job.read(root).hosts
        assert (hosts.current, hosts.names, hosts.rank) == (f"algo-{index + 1}", ("algo-1", "algo-2"), index)


def test_the_hosts_train_one_model(tmp_path):
    lay_out("train-hosts.yaml", tmp_path / "config")
    variables = environment(one("train-hosts.yaml", "Job")) | {
        "ALGORITHM": "kmeans",
        "ALGODOCK_CLUSTER_PORT": str(free_port()),
    }
    roots = [tmp_path / str(index) for index in range(2)]
    processes = []
    for index, root in enumerate(roots):
        (root / "input" / "config").mkdir(parents=True)
        digits(root)
        # No Service gives names here: the hosts are 127.0.0.1 and 127.0.0.2.
        command = [part.replace("algo-", "127.0.0.") for part in script(tmp_path / "config", root)]
        processes.append(start(command, root, JOB_COMPLETION_INDEX=str(index), **variables))
    first, second = (finished(process, root) for process, root in zip(processes, roots, strict=True))
    assert first.succeeded().model.joinpath("model_algo-1").is_file()
    assert not second.succeeded().model.exists()


def test_the_guide_names_every_file_and_the_port_where_hosts_meet():
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    assert [name for name in FILES if f"kubernetes/{name}" not in guide] == []
    assert f"`algo-1:{cluster.PORT}`" in guide
