"""What is installed from a wheel works far from the repository, its SQL included."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv") or str(ROOT / ".build" / "uv" / "bin" / "uv")


def done(*command: str, cwd: Path, **environment: str) -> str:
    """What a command prints; it must succeed."""
    environment = {**os.environ, **environment}
    ran = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content and nothing of the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    left_out = shutil.ignore_patterns(".*", "tests", "dist", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=left_out)
    done(UV, "build", "--wheel", "--quiet", "--out-dir", str(folder), cwd=source)
    shutil.rmtree(source)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    _take_kernels(folder / "site" / "fidelity")
    return folder / "site"


def _take_kernels(package: Path) -> None:
    """Those that numba has compiled of the same sources: to do it again takes half a minute."""
    for path in package.rglob("*.py"):
        source = ROOT / "fidelity" / path.relative_to(package)
        shutil.copystat(source, path)
        for compiled in (source.parent / "__pycache__").glob(f"{path.stem}.*.nb?"):
            (path.parent / "__pycache__").mkdir(exist_ok=True)
            shutil.copy2(compiled, path.parent / "__pycache__")


def fidelity(installed: Path, cwd: Path, *arguments: str) -> str:
    code = (
        "import fidelity, sys; from fidelity.cli import main\n"
        f"assert fidelity.__file__.startswith({str(installed)!r}), fidelity.__file__\n"
        "main()"
    )
    return done(sys.executable, "-c", code, *arguments, cwd=cwd, PYTHONPATH=str(installed))


def test_every_question_and_no_test_is_in_the_wheel(installed: Path) -> None:
    packed = {path.name for path in (installed / "fidelity" / "sql").iterdir()}
    assert packed == {path.name for path in (ROOT / "sql").iterdir()}
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {
        "fidelity"
    }


def test_an_installed_fidelity_audits_without_the_repository(
    installed: Path, tmp_path: Path
) -> None:
    assert "audit" in fidelity(installed, tmp_path, "--help")
    fidelity(installed, tmp_path, "init", "pipeline.yaml")
    record = {"ts": "2026-03-01T10:00:00Z", "type": "a", "host": "h", "fid": "0000beef"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "pipeline.yaml").write_text(
        "pipeline: p\nstore: s\nrecord: {stream: type, origin: host}\nstages:\n"
        "  source: {kind: files, path: a.jsonl}\n"
        "  lake: {kind: files, path: a.jsonl, after: source}\n"
    )
    report = json.loads(fidelity(installed, tmp_path, "audit", "pipeline.yaml", "--json"))
    assert (report["verdict"], report["stages"][1]["delivered"]) == ("pass", 1)
