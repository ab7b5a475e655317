"""The compose stack and the chart, brought up as docs/how-to/deploy.md says, command by command.

Each process gets exactly the environment, the files, the host names and the keyring that its deployment gives it
(machine.py); the stores are real ones, and what stands for docker, kubectl and helm is engine.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.compose import Project
from tests.deploy.engine import wait_for
from tests.deploy.machine import ROOT, Container, Machine, started
from tests.tls import Authority

PAGE: Final = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
PASSWORD: Final = "0123456789abcdef"  # noqa: S105 - of servers that end with the test
_SUDO: Final = """#!/bin/sh
# Whoever runs the test is the image's user here.
all=$(printf '%s\\n' "$@" | sed -e '/^-[og]$/,+1d')
exec $all
"""
_STATE: Final = """
import boto3, json, psycopg, redis, sys
from botocore.config import Config
from strata.settings import load_settings
told = load_settings()
hot = redis.Redis.from_url(told.hot_url.get_secret_value())
warm = psycopg.connect(told.warm_url.get_secret_value(), autocommit=True)
cold = boto3.client("s3", endpoint_url=told.cold_endpoint, region_name="us-east-1",
    aws_access_key_id=told.cold_access_key_id, aws_secret_access_key=told.cold_secret_access_key.get_secret_value(),
    config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"))
def fill():
    hot.set("position:1", "long")
    warm.execute("CREATE TABLE orders (id int PRIMARY KEY, side text)")
    warm.execute("INSERT INTO orders VALUES (1, 'buy')")
    cold.put_object(Bucket="cold", Key="model", Body=b"weights")
def wipe():
    hot.flushdb()
    warm.execute("TRUNCATE orders")
    cold.delete_object(Bucket="cold", Key="model")
def show():
    found = [hot.get("position:1").decode(), warm.execute("SELECT id, side FROM orders").fetchall(),
        cold.get_object(Bucket="cold", Key="model")["Body"].read().decode()]
    print(json.dumps(found))
globals()[sys.argv[1]]()
"""
pytestmark = pytest.mark.timeout(900)
STATE: Final = ["long", [[1, "buy"]], "weights"]


def section(heading: str) -> str:
    """The page's text below a heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def blocks(text: str, kind: str = "sh") -> list[str]:
    """The fenced blocks of a kind."""
    found = re.findall(rf"^( *)```{kind}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def lines(block: str) -> list[str]:
    """The commands of a block, each whole."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


class Ground:
    """A folder to type the commands in, and the machine that they work on."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine = folder, machine
        self._exported: list[str] = []
        programs = folder / "bin"
        programs.mkdir()
        for name in ("docker", "kubectl", "helm"):
            self._program(name, f'#!/bin/sh\nexec {sys.executable} -m tests.deploy.engine {name} "$@"\n')
        self._program("sudo", _SUDO)
        for name in ("docker-compose.yml", ".env.example"):
            shutil.copy(ROOT / name, folder)
        (folder / "helm").symlink_to(ROOT / "helm")

    def _program(self, name: str, text: str) -> None:
        program = self.folder / "bin" / name
        program.write_text(text)
        program.chmod(0o755)

    def types(self, line: str, code: int = 0) -> str:
        """Type a command; what it said."""
        told = {
            "PATH": f"{self.folder}/bin:{sys.prefix}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MACHINE": str(self.machine.folder),
            "HOME": str(self.folder),
        }
        if line.startswith("export "):
            self._exported.append(line)
        said = subprocess.run(
            ["/bin/sh", "-euc", "\n".join([*self._exported, line])],
            cwd=self.folder,
            env=told,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == code, f"{line}\n{said.stdout}{said.stderr}{self._logs()}"
        return said.stdout + said.stderr

    def fill_in(self) -> None:
        """Give every password of .env a value."""
        file = self.folder / ".env"
        filled = re.sub(r"^((?!TLS)\w+)=$", rf"\1={PASSWORD}", file.read_text(), flags=re.MULTILINE)
        file.write_text(filled)

    @property
    def project(self) -> Project:
        """The compose file in the folder, with .env as it is."""
        return Project(self.folder, self.machine)

    def state(self, verb: str) -> str:
        """Fill, wipe or show what the three stores hold."""
        file = self.folder / "said"
        with open(file, "wb") as said:
            asked = self.project.container("cli", ["python", "-c", _STATE, verb])
            assert self.machine.run(asked, stdout=said) == 0, verb
        return file.read_text()

    def follows(self, text: str) -> None:
        """Type all commands of a part of the page: the first backup finds state, and a restore finds none."""
        for line in (line for block in blocks(text) for line in lines(block)):
            if "backup full" in line and not (self.folder / "said").exists():
                self.state("fill")
            if "restore latest --yes" in line:
                self.state("wipe")
            self.types(line)
            if "cp .env.example" in line:
                self.fill_in()

    def _logs(self) -> str:
        return "".join(f"\n--- {log.name}\n{log.read_text()[-300:]}" for log in self.machine.folder.glob("logs/*"))


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ground]]:
    """Two machines and their folders: for compose, and for the chart."""
    folder = tmp_path_factory.mktemp("deployed")
    for name in ("one", "one/machine", "many", "many/machine"):
        (folder / name).mkdir()
    with started(folder / "one" / "machine") as one, started(folder / "many" / "machine") as many:
        if one is None or many is None:
            pytest.skip("this machine lets its users make no namespaces")
        yield [Ground(folder / "one", one), Ground(folder / "many", many)]


@pytest.fixture(scope="module")
def compose(grounds: list[Ground]) -> Ground:
    """The stack of docker-compose.yml, after all commands of the page's first part."""
    ground, _ = grounds
    ground.follows(section("On one machine: compose").partition("\n### ")[0])
    return ground


@pytest.fixture(scope="module")
def chart(grounds: list[Ground]) -> Ground:
    """The chart, installed on stores that want TLS and a client certificate, after all commands of its part."""
    _, ground = grounds
    shutil.copy(ROOT / ".env.example", ground.folder / ".env")
    ground.fill_in()
    (ground.folder / "secrets").mkdir()
    for name in ("keyring", *(f"keyring-{one}" for one in ("control", "collect", "seal", "store", "emergency"))):
        (ground.folder / "secrets" / f"{name}.json").touch()  # the project is here for its stores alone
    stores = [name for name in ground.project.lasting if "build" not in ground.project.services[name]]
    for name in stores:
        ground.machine.start(ground.project.container(name))
    hosts = fronted(ground)
    for name in stores:
        wait_for(ground.machine, ground.project, name)
    (ground.machine.folder / "hosts.json").write_text(json.dumps(hosts))
    ground.follows(encrypted("\n- **Helm**"))
    part = yours(section("In a cluster: Helm"))
    values, (tls,) = blocks(part, "yaml")[0], blocks(encrypted("\n- **Helm**"), "yaml")
    (ground.folder / "mine.yaml").write_text(values + tls)
    ground.follows(part)
    return ground


def encrypted(beginning: str) -> str:
    """What the page says of encrypted connections, of one of the two deployments."""
    return section("Encrypted connections").partition(beginning)[2].partition("\n- **")[0]


def yours(text: str) -> str:
    """The page with the test's stores in the place of what is the reader's."""
    for name, value in {"PASSWORD": PASSWORD, "USER": "state", "DATABASE": "state", "BUCKET": "cold"}.items():
        text = re.sub(rf"\b{name}\b", value, text)
    text = re.sub(r"\b(KEY|SECRET)$", PASSWORD, text.replace("=KEY \\", f"={PASSWORD} \\"), flags=re.MULTILINE)
    return text.replace("redis://", "rediss://")


def fronted(ground: Ground) -> dict[str, str]:
    """TLS before each store that a URL can name with it; who can be reached where."""
    address = ground.project.address
    servers = {"redis-queue:6379": "redis-broker", "redis-hot:6379": "redis-hot", "postgres:5432": "postgres"}
    hosts = {place.partition(":")[0]: f"127.0.1.{number}" for number, place in enumerate(servers, 1)}
    authority = Authority(ground.folder, "ca")
    for name in hosts:
        authority.pair(name, host=name)
    authority.pair("client").certificate.rename(ground.folder / "client.pem")
    command = ["python", "-m", "tests.deploy.front", "/mnt", *(f"{at}={address(name)}" for at, name in servers.items())]
    ground.machine.start(Container("front", command, {}, [(ground.folder, "/mnt")], hosts))
    return {**hosts, "s3": address("s3")}


def test_compose_brings_back_what_was_there(compose: Ground) -> None:
    """A FULL and a restore, by the commands of the page and with cut keyrings, bring back all three tiers."""
    assert json.loads(compose.state("show")) == STATE


def test_the_chart_brings_back_what_was_there(chart: Ground) -> None:
    """The same in pods, with the queue, HOT and WARM reached by TLS and a client certificate of a Secret."""
    assert json.loads(chart.state("show")) == STATE


def test_keyrings_are_cut_anew_and_the_stack_is_upgraded(compose: Ground, chart: Ground) -> None:
    """What the page says of another keyring and of an upgrade leaves deployments that make and prove backups."""
    compose.follows(section("A keyring for each group"))
    start, upgrade, prove = blocks(section("Upgrade"))
    for line in lines(start + prove):
        compose.types(line)
    for line in lines(upgrade):
        chart.types(line)


def test_a_command_with_a_wrong_keyring_says_what_is_wrong(compose: Ground) -> None:
    """A keyring that others may read, or a cut that lacks a key, is one sentence and exit code 3."""
    file = compose.folder / "secrets" / "keyring.json"
    whole = file.read_bytes()
    file.chmod(0o644)
    said = compose.types("docker compose run --rm cli strata list", 3)
    assert "is readable by others (mode 0644)" in " ".join(said.split())
    file.chmod(0o600)
    file.write_bytes((compose.folder / "secrets" / "keyring-collect.json").read_bytes())
    said = compose.types("docker compose run --rm keys strata keys cut more", 3)
    assert "holds no key to wrap with" in " ".join(said.split())
    file.write_bytes(whole)


def test_certificate_files_reach_every_process_of_compose(compose: Ground) -> None:
    """The files of the folder `tls` are what the settings of each service name, and can be used."""
    authority = Authority(compose.folder, "ca")
    authority.pair("client").certificate.rename(compose.folder / "client.pem")
    for line in lines(blocks(encrypted("\n- **Compose**"))[0]):
        compose.types(line)
    code = "from strata.settings import load_settings; load_settings().tls.context()"
    for name in ("collect", "beat"):
        assert compose.machine.run(compose.project.beside(name, ["python", "-c", code])) == 0
