"""The chart: valid manifests, strict values, and each pod given only what it needs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from strata.seal.keyring_cuts import CUTS
from tests.deploy.names import SETTINGS, unknown_settings
from workers.queues import GROUPS, QUEUES

CHART = Path(__file__).parents[2] / "helm" / "strata"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
KUBERNETES = ("1.27", "1.34")
EVERYTHING: dict[str, Any] = {
    "tiers": {"hot": "redis://hot:6379/0", "warm": "postgresql://warm:5432/state", "cold": "s3://bucket"},
    "secrets": {"store": "strata-store", "spool": "strata-spool"},
    "settings": {"STRATA_WARM_TABLES": "*"},
    "flower": {"enabled": True},
    "tls": {"secret": "strata-tls", "ca": "ca.crt", "certificate": "tls.crt", "key": "tls.key"},
    "imagePullSecrets": [{"name": "registry"}],
    "volumes": {"share": {"enabled": True}},
    "serviceAccount": {"annotations": {"example.org/role": "backup"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "backup", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "backup",
    "networkPolicy": {
        "enabled": True,
        "flowerFrom": [{"podSelector": {"matchLabels": {"app": "proxy"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
}
BUCKETS: dict[str, Any] = {
    "volumes": {"spool": {"enabled": False}, "backups": {"enabled": False}},
    "settings": {"STRATA_SPOOL_URL": "s3://spool", "STRATA_CLOUD_URL": "s3://backups"},
}

Manifest = dict[str, Any]


def render(values: dict[str, Any] | None = None) -> list[Manifest]:
    """The manifests that `helm install demo` would send, with these values."""
    from helm_python import Chart

    with Chart.load(CHART) as chart:
        rendered = chart.render(values=values or {}, name="demo", namespace="backup")
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: Iterable[Manifest], kind: str) -> dict[str, Manifest]:
    """The manifests of a kind, by name without the release's."""
    found = [manifest for manifest in manifests if manifest["kind"] == kind]
    return {manifest["metadata"]["name"].removeprefix("demo-strata").removeprefix("-"): manifest for manifest in found}


def pod(deployment: Manifest) -> Manifest:
    """The pod a deployment makes."""
    found: Manifest = deployment["spec"]["template"]["spec"]
    return found


def container(deployment: Manifest) -> Manifest:
    """The one container that stays."""
    (found,) = pod(deployment)["containers"]
    return dict(found)


def secrets_of(deployment: Manifest) -> set[str]:
    """Secrets whose whole contents become the environment."""
    return {source["secretRef"]["name"] for source in container(deployment)["envFrom"]}


def environment(deployment: Manifest) -> dict[str, str]:
    """The plain variables."""
    entries = container(deployment)["env"]
    names = [entry["name"] for entry in entries]
    assert len(names) == len(set(names)), "a variable is set twice"
    return {entry["name"]: entry.get("value", "") for entry in entries}


@pytest.fixture(scope="module")
def plain() -> dict[str, Manifest]:
    """The deployments that the default values give."""
    return of_kind(render(), "Deployment")


@pytest.fixture(scope="module")
def full() -> dict[str, Manifest]:
    """The deployments with everything switched on."""
    return of_kind(render(EVERYTHING), "Deployment")


def test_chart_has_no_lint_findings() -> None:
    """Helm finds nothing to warn of; an icon it may recommend."""
    from helm_python import lint

    report = lint(CHART, strict=True)
    assert not report["errors"]
    assert [found["error"] for found in report["messages"] if found["severity"] > 1] == []


@pytest.mark.parametrize("values", [{}, EVERYTHING, BUCKETS], ids=["default", "everything", "buckets"])
def test_manifests_are_what_kubernetes_takes(values: dict[str, Any]) -> None:
    """Every rendered manifest fits the API of the oldest and of a recent version, with no field it does not know."""
    import kubernetes_validate

    manifests = render(values)
    assert manifests
    for manifest in manifests:
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(
    "values",
    [
        {"flowr": {}},
        {"flower": {"enable": True}},
        {"workers": {"seal": {"replica": 2}}},
        {"workers": {"seal": {"queues": ["strata.seals"]}}},
        {"workers": {"seal": {"needs": ["keyrng"]}}},
        {"workers": {"control": {"needs": ["tiers", "sources"]}}},
        {"settings": {"STRATA_ZSTD_LEVL": "3"}},
        {"settings": {"STRATA_HOT_URL": "redis://:password@hot:6379/0"}},
        {"settings": {"STRATA_SEGMENT_BYTES": 33554432}},
        {"settings": {"STRATA_TLS_CA": "/nowhere/ca.pem"}},
        {"tls": {"secret": "strata-tls", "ca": "../ca.pem"}},
        {"tiers": {"hot": "redis://:password@hot:6379/0"}},
        {"image": {"tag": "latest"}},
        {"stageSeconds": "3600"},
        {"runAs": {"user": 0}},
        {"volumes": {"spool": {"size": "20 GB"}}},
    ],
    ids=str,
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    """A typo, a password in a plain value, root and an unpinned image are refused before anything is installed."""
    from helm_python import HelmError

    with pytest.raises(HelmError):
        render(values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"workers": {"seal": None}}, "serves the queue strata.seal"),
        ({"volumes": {"spool": {"enabled": False}}}, "There is no spool"),
        ({"volumes": {"backups": {"enabled": False}}}, "There is no store"),
        ({"settings": {"STRATA_SPOOL_URL": "s3://spool"}}, "There are two spools"),
        ({"tls": {"ca": "ca.crt"}}, "set tls.secret"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    """What each value allows alone may still make no deployment together."""
    from helm_python import HelmError

    with pytest.raises(HelmError, match=sentence):
        render(values)


def test_every_value_is_explained_where_it_first_stands() -> None:
    """A comment stands before each name, the first time it occurs or at least once."""
    lines = [line.strip() for line in (CHART / "values.yaml").read_text().splitlines()]
    names = {line.partition(":")[0] for line in lines if ":" in line and line[0] not in "#-"}
    explained = {line.partition(":")[0] for before, line in zip(lines, lines[1:], strict=False) if before[:1] == "#"}
    headings = {"image", "secrets", "volumes", "spool", "volume", "requests", "limits"}
    assert names - explained - headings == set()


def test_worker_groups_are_those_of_the_queues_module(plain: dict[str, Manifest]) -> None:
    """The default groups serve the queues, with as many processes, as workers.queues says; each queue once."""
    groups = {name: (tuple(group["queues"]), group["concurrency"]) for name, group in VALUES["workers"].items()}
    assert groups == GROUPS
    known = sorted(queue.name for queue in QUEUES)
    assert sorted(queue for queues, _ in groups.values() for queue in queues) == known
    assert sorted(SCHEMA["definitions"]["group"]["properties"]["queues"]["items"]["enum"]) == known
    assert all(f'"{queue}"' in (CHART / "templates" / "workers.yaml").read_text() for queue in known)
    for name, (queues, concurrency) in groups.items():
        arguments = container(plain[name])["args"]
        assert f"--queues={','.join(queues)}" in arguments
        assert f"--concurrency={concurrency}" in arguments
        assert f"--hostname={name}@%h" in arguments


def test_every_setting_exists_and_can_be_set(full: dict[str, Manifest]) -> None:
    """The chart names no unknown setting, and each setting has its place: a plain value, the chart's own, a Secret."""
    for path in sorted(CHART.rglob("*")):
        assert not path.is_file() or not unknown_settings(path.read_text()), path
    plain_values = set(SCHEMA["properties"]["settings"]["propertyNames"]["enum"])
    assert plain_values < SETTINGS
    own = {name for deployment in full.values() for name in environment(deployment)}
    secret = set(SECRET_SETTINGS)
    text = (CHART / "values.yaml").read_text()
    assert all(name in text for name in secret)
    here_only = {"STRATA_CONFIG", "STRATA_STACK_FOLDER"}  # a file, and a folder of the local stack
    assert SETTINGS - plain_values - own - secret - here_only == set(), "add it to values.schema.json or values.yaml"


SECRET_SETTINGS = (
    "STRATA_BROKER_URL",
    "STRATA_RESULT_URL",
    "STRATA_COLD_ACCESS_KEY_ID",
    "STRATA_COLD_SECRET_ACCESS_KEY",
    "STRATA_CLOUD_ACCESS_KEY_ID",
    "STRATA_CLOUD_SECRET_ACCESS_KEY",
    "STRATA_ARCHIVE_ACCESS_KEY_ID",
    "STRATA_ARCHIVE_SECRET_ACCESS_KEY",
    "STRATA_SPOOL_ACCESS_KEY_ID",
    "STRATA_SPOOL_SECRET_ACCESS_KEY",
)


@pytest.mark.parametrize(
    ("name", "secrets"),
    [
        ("control", {"strata-queue", "strata-spool", "strata-store"}),
        ("collect", {"strata-queue", "strata-spool", "strata-sources"}),
        ("seal", {"strata-queue", "strata-spool"}),
        ("store", {"strata-queue", "strata-spool", "strata-sources", "strata-store"}),
        ("emergency", {"strata-queue", "strata-spool", "strata-sources", "strata-store"}),
        ("beat", {"strata-queue"}),
        ("flower", {"strata-queue"}),
    ],
)
def test_process_is_given_only_the_secrets_it_needs(full: dict[str, Manifest], name: str, secrets: set[str]) -> None:
    """Only collect, store and emergency may enter the tiers; all but collect and seal may reach the backups."""
    assert secrets_of(full[name]) == secrets
    mounted = {volume["name"] for volume in pod(full[name])["volumes"]}
    assert ("backups" in mounted) == ("strata-store" in secrets)
    assert ("keyring" in mounted) == (name in GROUPS)


def test_control_knows_the_tiers_but_cannot_enter_them(full: dict[str, Manifest]) -> None:
    """Control plans with addresses that hold no password; who has the passwords gets no second address."""
    assert environment(full["control"])["STRATA_HOT_URL"] == "redis://hot:6379/0"
    for name in ("collect", "seal", "store", "beat", "flower"):
        assert "STRATA_HOT_URL" not in environment(full[name])


def test_buckets_need_no_volume() -> None:
    """With S3 for the spool and for backups, no claim is made but beat's, and every worker hears of both buckets."""
    manifests = render(BUCKETS)
    assert set(of_kind(manifests, "PersistentVolumeClaim")) == {"beat"}
    for name in GROUPS:
        told = environment(of_kind(manifests, "Deployment")[name])
        assert told["STRATA_SPOOL_URL"] == "s3://spool"
        assert "STRATA_LOCAL_URL" not in told


def test_uninstalling_leaves_the_backups() -> None:
    """The claim that holds backups survives the release; the spool's does not need to."""
    claims = of_kind(render(), "PersistentVolumeClaim")
    assert claims["backups"]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert claims["spool"]["spec"]["accessModes"] == ["ReadWriteMany"]


def test_one_beat_at_a_time(plain: dict[str, Manifest]) -> None:
    """One pod, and the old one ends before the new one begins."""
    assert plain["beat"]["spec"]["replicas"] == 1
    assert plain["beat"]["spec"]["strategy"] == {"type": "Recreate"}


def test_workers_may_finish_their_stage_before_they_are_killed() -> None:
    """The grace follows the time a stage is given: its hard limit is 30 s more, and the grace 30 s more than that."""
    deployments = of_kind(render({"stageSeconds": 600}), "Deployment")
    for name in GROUPS:
        assert environment(deployments[name])["STRATA_STAGE_SECONDS"] == "600"
        assert pod(deployments[name])["terminationGracePeriodSeconds"] == 660


def test_pods_have_few_rights(full: dict[str, Manifest]) -> None:
    """Not root, nothing writable but what is mounted, no capability, no token, no variables of services."""
    for deployment in full.values():
        spec = pod(deployment)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for one in [*spec["containers"], *spec.get("initContainers", [])]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not one["image"].endswith((":latest", ":", "strata"))
            assert one["resources"]["limits"]["memory"]


def test_keyring_is_a_file_only_its_owner_can_read(plain: dict[str, Manifest]) -> None:
    """A Secret's file is readable by the group, which Strata refuses: it is copied, in memory, with mode 0400."""
    for name in GROUPS:
        spec = pod(plain[name])
        (copy,) = spec["initContainers"]
        assert copy["command"][:3] == ["install", "-m", "0400"]
        assert copy["command"][-1] == environment(plain[name])["STRATA_KEYRING_FILE"]
        (kept,) = [volume for volume in spec["volumes"] if volume["name"] == "keyring"]
        assert kept["emptyDir"]["medium"] == "Memory"


def keyring_of(deployment: Manifest) -> tuple[str, list[str]]:
    """The Secret that a pod's keyring comes from, and what of it the pod is given."""
    (secret,) = [one["secret"] for one in pod(deployment)["volumes"] if one["name"] == "keyring-secret"]
    return secret["secretName"], [item["key"] for item in secret["items"]]


def test_each_group_is_given_its_own_keyring_alone(plain: dict[str, Manifest]) -> None:
    """One Secret holds what `strata keys cut` made; a pod sees one file of it, which its init container copies."""
    assert set(CUTS) == set(GROUPS)
    for name in GROUPS:
        assert keyring_of(plain[name]) == ("strata-keyring", [f"keyring-{name}.json"])
        (copy,) = pod(plain[name])["initContainers"]
        assert copy["command"][3] == f"/run/strata/secret/keyring-{name}.json"


def test_a_group_can_have_a_keyring_of_another_secret() -> None:
    """`keyringSecret` and `keyringKey` of a group win over what all have."""
    values = {"workers": {"seal": {"keyringSecret": "seal-keys", "keyringKey": "mine.json"}}}
    deployments = of_kind(render(values), "Deployment")
    assert keyring_of(deployments["seal"]) == ("seal-keys", ["mine.json"])
    assert keyring_of(deployments["store"]) == ("strata-keyring", ["keyring-store.json"])


def test_certificate_files_are_mounted_and_named_in_every_pod(full: dict[str, Manifest]) -> None:
    """Each process gets the Secret's files, and the settings that name those which all connections go by."""
    for deployment in full.values():
        (volume,) = [one for one in pod(deployment)["volumes"] if one["name"] == "tls"]
        assert volume["secret"] == {"secretName": "strata-tls", "defaultMode": 0o440}
        (mount,) = [one for one in container(deployment)["volumeMounts"] if one["name"] == "tls"]
        told = environment(deployment)
        named = {told[f"STRATA_TLS_{name}"] for name in ("CA", "CERTIFICATE", "KEY")}
        assert named == {f"{mount['mountPath']}/{key}" for key in ("ca.crt", "tls.crt", "tls.key")}


def test_an_authority_alone_is_enough() -> None:
    """What tls leaves empty is not set, and without its Secret nothing of it is there."""
    authority = environment(of_kind(render({"tls": {"secret": "s", "ca": "ca.crt"}}), "Deployment")["beat"])
    assert [name for name in authority if "TLS" in name] == ["STRATA_TLS_CA"]
    assert not any("TLS" in name for name in environment(of_kind(render(), "Deployment")["beat"]))


def test_probes_are_cheap_and_ask_for_the_right_process(full: dict[str, Manifest]) -> None:
    """Workers and beat are asked by their heartbeat file; Flower by its health page."""
    for name, deployment in full.items():
        probes = [container(deployment)[kind] for kind in ("readinessProbe", "livenessProbe")]
        if name == "flower":
            assert all(probe["httpGet"]["path"] == "/healthcheck" for probe in probes)
        else:
            assert all(probe["exec"]["command"][:4] == ["python", "-m", "workers.probe", name] for probe in probes)


def test_chart_holds_no_secret() -> None:
    """Secrets are yours: the chart makes none."""
    assert not of_kind(render(EVERYTHING), "Secret")


def test_image_digest_wins_over_the_tag() -> None:
    """What runs cannot change under its name."""
    digest = f"sha256:{'0' * 64}"
    deployments = of_kind(render({"image": {"digest": digest, "tag": "1"}}), "Deployment")
    assert {container(one)["image"] for one in deployments.values()} == {f"strata@{digest}"}
