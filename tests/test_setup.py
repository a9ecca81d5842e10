"""Setting up: what is missing is named first, and no trace of a machine gets into the project."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("sh", "dirname", "sed", "head", "cat", "cksum", "mkdir", "tail", "date", "printf")


class Machine:
    """A folder with the set-up scripts, and a PATH on which only some programs are."""

    def __init__(self, folder: Path) -> None:
        self.project, self.programs = folder / "a project", folder / "bin"
        self.programs.mkdir()
        (self.project / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "setup.sh", self.project / "scripts")
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.programs / tool).symlink_to(found)

    def has(self, program: str, says: str, status: int = 0) -> None:
        file = self.programs / program
        file.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {status}\n")
        file.chmod(0o755)

    def setup(self) -> tuple[int, str]:
        done = subprocess.run(
            [self.project / "scripts" / "setup.sh"],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr


def test_all_that_is_missing_is_named_at_once_and_nothing_is_begun(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    status, told = machine.setup()
    assert status == 2
    for part in ("Python 3.11 or later", "Java 17 or later", "Maven"):
        assert f"  - {part}" in told
    wanted = "sudo apt-get install -y python3 python3-venv default-jre-headless maven"
    assert wanted in told
    assert [path.name for path in machine.project.iterdir()] == ["scripts"]


def test_what_is_too_old_is_told_with_its_version(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has("python3", "Python 3.9.2", status=1)
    machine.has("java", 'openjdk version "1.8.0_392"')
    machine.has("mvn", "Apache Maven 3.8.7")
    status, told = machine.setup()
    assert status == 2
    assert "Python 3.11 or later (found: Python 3.9.2)" in told
    assert "Java 17 or later (found: 8)" in told
    assert "Maven" not in told
    assert told.rstrip().endswith("install -y python3 python3-venv default-jre-headless")


def test_a_python_without_venv_names_the_package(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has("java", 'openjdk version "21.0.1" 2023-10-17')
    machine.has("mvn", "")
    python = machine.programs / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\n')
    python.chmod(0o755)
    status, told = machine.setup()
    assert status == 2
    assert "the venv module of" in told
    assert told.rstrip().endswith("install -y python3-venv")


def test_every_target_of_make_is_told_by_help() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", text, re.M)[0].split())
    assert targets >= {"help", "setup", "demo", "test", "check", "bench", "lock", "clean"}
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {f"make {target}" for target in targets} == set(re.findall(r"make [a-z]+", told))


def test_airflow_s_lock_has_the_versions_of_the_main_one_and_no_address() -> None:
    main, airflow = (
        dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.M))
        for lock in ("requirements.lock", "airflow_dags/requirements.lock")
    )
    assert "apache-airflow" in airflow
    assert {name: airflow[name] for name in airflow if name in main} == {
        name: main[name] for name in main if name in airflow
    }
    assert_no_address(ROOT / "airflow_dags" / "requirements.lock")


def test_the_lock_has_every_dependency_and_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    lock = (ROOT / "requirements.lock").read_text()
    locked = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.M)}
    assert {re.match(r"[A-Za-z0-9._-]+", name)[0].lower() for name in named} <= locked
    assert_no_address(ROOT / "requirements.lock")


def assert_no_address(lock: Path) -> None:
    """Hashes only: each machine asks its own registry."""
    assert "://" not in lock.read_text()
    for entry in re.split(r"\n(?=\S)", lock.read_text().strip()):
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("a.txt", "see {root}/x", "{root}"),
        ("requirements.lock", "--index-url https://example.org/simple", "--index-url"),
        ("requirements.lock", "a @ https://example.org/a.whl", "://"),
        ("pom.xml", "<repository>", "<repository>"),
        ("b.md", "from packages.example.org/simple", "packages.example.org"),
    ],
)
def test_traces_of_a_machine_are_found(tmp_path: Path, file: str, line: str, told: str) -> None:
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "check_addresses.py", tmp_path / "scripts")
    (tmp_path / "fine.txt").write_text("https://duckdb.org and /usr/bin\n")
    environment = {**os.environ, "PIP_INDEX_URL": "https://packages.example.org/simple"}
    command = [sys.executable, str(script)]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    (tmp_path / file).write_text(f"\n{line.format(root=tmp_path)}\n")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == f"{file}:2: holds `{told.format(root=tmp_path)}`\n"
