"""What the chart gives each pod, as containers of a machine (machine.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.machine import ROOT, Container, Machine


def kept_secret(machine: Machine, name: str, options: Iterable[str]) -> None:
    """What `kubectl create secret generic` makes of --from-literal=KEY=VALUE and --from-file=[KEY=]PATH."""
    folder = machine.folder / "secrets" / name
    folder.mkdir(parents=True)
    for option in options:
        kind, _, value = option.partition("=")
        if kind == "--from-literal":
            key, _, text = value.partition("=")
            (folder / key).write_text(text)
            continue
        key, _, path = value.rpartition("=")
        source = Path(path)
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            shutil.copyfile(file, folder / (key or file.name))


class Release:
    """The chart with values, installed on a machine whose `hosts.json` says who can be reached."""

    def __init__(self, machine: Machine, manifests: Iterable[dict[str, Any]]) -> None:
        self._machine = machine
        found = [one for one in manifests if one["kind"] == "Deployment"]
        self._pods = {one["metadata"]["name"]: one["spec"]["template"] for one in found}
        self._hosts: dict[str, str] = json.loads((machine.folder / "hosts.json").read_text())

    @classmethod
    def made(cls, machine: Machine, name: str, chart: Path, values: Path) -> Release:
        """Rendered by Helm itself, and kept for later commands."""
        from helm_python import Chart

        with Chart.load(chart) as loaded:
            rendered = loaded.render(values=yaml.safe_load(values.read_text()), name=name, namespace="default")
        texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
        (machine.folder / "release.yaml").write_text("\n---\n".join(texts))
        return cls.kept(machine)

    @classmethod
    def kept(cls, machine: Machine) -> Release:
        """The one that was installed."""
        return cls(machine, filter(None, yaml.safe_load_all((machine.folder / "release.yaml").read_text())))

    @property
    def deployments(self) -> list[str]:
        """Their names."""
        return list(self._pods)

    def role(self, name: str) -> str:
        """What its process is called."""
        return str(self._pods[name]["metadata"]["labels"]["app.kubernetes.io/component"])

    def probe(self, name: str) -> list[str]:
        """The command of its readiness probe."""
        (one,) = self._pods[name]["spec"]["containers"]
        return list(one["readinessProbe"]["exec"]["command"])

    def first(self, name: str) -> list[Container]:
        """Its init containers."""
        return [
            self._container(name, one, one["command"]) for one in self._pods[name]["spec"].get("initContainers", ())
        ]

    def container(self, name: str, command: list[str] | None = None) -> Container:
        """Its one container, or another command in its place."""
        (one,) = self._pods[name]["spec"]["containers"]
        return self._container(name, one, command or [str(ROOT / "docker-entrypoint.sh"), *one["args"]])

    def _container(self, name: str, one: dict[str, Any], command: Sequence[str]) -> Container:
        volumes = {volume["name"]: self._volume(name, volume) for volume in self._pods[name]["spec"]["volumes"]}
        mounts = [(volumes[mount["name"]], mount["mountPath"]) for mount in one["volumeMounts"]]
        return Container(name, command, self._environment(one), mounts, self._hosts)

    def _environment(self, one: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in one.get("envFrom", ()):
            folder = self._secret(source["secretRef"]["name"])
            found |= {file.name: file.read_text() for file in folder.iterdir()}
        for entry in one.get("env", ()):
            found[entry["name"]] = (
                entry["value"] if "value" in entry else self._referred(entry["valueFrom"]["secretKeyRef"])
            )
        return found

    def _referred(self, reference: dict[str, str]) -> str:
        return (self._secret(reference["name"]) / reference["key"]).read_text()

    def _secret(self, name: str) -> Path:
        folder = self._machine.folder / "secrets" / name
        if not folder.is_dir():
            raise SystemExit(f'secret "{name}" not found')
        return folder

    def _volume(self, name: str, volume: dict[str, Any]) -> Path:
        match volume:
            case {"persistentVolumeClaim": {"claimName": claim}}:
                return self._machine.volume(claim)
            case {"secret": {"secretName": secret}}:
                return self._projected(name, volume["name"], self._secret(secret), volume["secret"])
            case {"emptyDir": _}:
                folder = self._machine.volume(f"{name}.{volume['name']}")
                folder.chmod(0o777)
                return folder
        raise SystemExit(f"a volume of an unknown kind: {volume}")

    def _projected(self, name: str, volume: str, secret: Path, told: dict[str, Any]) -> Path:
        """A Secret's files as a pod sees them: those that are named, readable by its group."""
        folder = self._machine.volume(f"{name}.{volume}")
        items = told.get("items") or [{"key": file.name, "path": file.name} for file in secret.iterdir()]
        for item in items:
            target = folder / item["path"]
            target.unlink(missing_ok=True)
            shutil.copyfile(secret / item["key"], target)
            target.chmod(told["defaultMode"])
        return folder
