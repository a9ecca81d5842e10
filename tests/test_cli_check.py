"""`fidelity check` as a user meets it: what it prints, keeps, and ends with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from audits import COMMAND, Folder, lines

from fidelity.audit import check
from fidelity.cli import app
from fidelity.config import load

HEAVY = (
    "duckdb", "pyarrow", "numba", "numpy", "pandas", "great_expectations", "pyspark", "deltalake",
    "aiokafka", "airflow",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A lake that lacks 4 of 60 records, audited."""
    found = Folder(tmp_path_factory.mktemp("check"), more="targets: {watermark_age: 1h}\n")
    found.put("source/a", lines())
    found.put("lake/a", lines()[4:])
    found.audit(1)
    return found


def test_it_says_what_is_missed_where_by_how_much_and_what_to_do(folder: Folder) -> None:
    told = folder.run("check")
    assert told.status == 1
    assert max(len(line) for line in told.out.splitlines() if "Kept:" not in line) <= 80
    whole = " ".join(told.out.split())
    assert "completeness lake against source access 2026-03-01T10:00Z" in whole
    assert "4 of 20 records are lost: 80.00 % came, at least 100 % wanted." in whole
    assert "Look at what carried them from source to lake" in whole
    assert "FAIL missed: completeness, watermark_age" in whole


def test_its_json_is_nothing_but_json_and_has_every_row(folder: Folder) -> None:
    told = json.loads(folder.run("check", "--json", "--top", "0").out)
    assert (told["pipeline"], told["verdict"], told["within"]) == ("trial", "fail", None)
    assert [(row["expectation"], row["stage"]) for row in told["rows"]] == [
        ("completeness", "lake"),
        ("watermark_age", ""),
    ]


def test_the_worst_are_listed_and_the_rest_counted(folder: Folder) -> None:
    assert "... and 1 more" in folder.run("check", "--top", "1").out
    assert "did not pass" not in folder.run("check", "--top", "0").out


def test_a_part_of_a_run_is_judged_and_kept_beside_the_whole(folder: Folder) -> None:
    whole, part = check(load(folder.file)), None
    assert folder.run("check", "--window", "2026-03-01T10:10", "--stage", "lake").status == 1
    part = check(load(folder.file), stages=["lake"], window=(whole.as_of, whole.as_of + 1))
    assert Path(whole.place).is_file()
    assert Path(part.place).parent.parent == Path(whole.place).parent
    assert part.verdict == "unknown"  # there is no such window
    kept = json.loads(Path(whole.place).with_name("result.json").read_text())
    assert kept["run"] == whole.run
    assert kept["verdict"] == "fail"


def test_a_store_that_keeps_checks_is_still_a_store(folder: Folder) -> None:
    assert "checks" in os.listdir(folder.path / "store")
    assert folder.run("audit", "--json").status == 1


def test_statuses_of_mistakes(folder: Folder) -> None:
    assert folder.run("check", "--run", "nothing").status == 2
    assert folder.run("check", "--stage", "lak").status == 2
    assert folder.run("check", "--window", "x").status == 2


def test_a_check_that_passes_ends_with_0(tmp_path: Path) -> None:
    good = Folder(tmp_path).filled()
    good.audit(0)
    told = good.run("check", "-o", str(tmp_path / "out"))
    assert (told.status, told.out) == (0, "")
    assert "every expectation that could be judged is met" in (tmp_path / "out").read_text()


OF_A_SET = """expectations:
  - expect_column_distinct_values_to_equal_set: {column: evidence, value_set: [traced]}
  - expect_column_values_to_be_between: {column: lost, max_value: 0, mostly: 0.1}
targets: {completeness: 80%, streams: {acess: {completeness: 100%}}}
"""


def test_a_miss_of_a_whole_table_fails_and_leaves_stderr_empty(tmp_path: Path) -> None:
    lossy = Folder(tmp_path, more=OF_A_SET)
    lossy.put("source/a", lines())
    lossy.put("lake/a", lines()[4:])
    lossy.audit(0)
    done = alone("check", str(lossy.file), home=tmp_path)
    whole = " ".join(done.stdout.split())
    assert json.loads(done.stderr)[0] == 1  # and nothing else is said there
    assert "besides; there is no `traced`." in whole
    assert "FAIL missed: expect_column_distinct_values_to_equal_set" in whole
    assert "too few tolerated" in whole
    assert "not judged" not in whole.split("What did not pass")[0]
    assert "targets acess no stream `acess` was seen" in whole
    assert "Did you mean `access`?" in whole
    assert max(len(line) for line in done.stdout.splitlines() if "Kept:" not in line) <= 80


WRONG = """expectations:
  - expect_column_values_to_be_betwen: {column: lost}
  - expect_column_values_to_be_between: {column: lots, max_value: '${AUDIT_TOKEN}'}
"""


def test_check_config_tells_wrong_expectations_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_TOKEN", "tok-81723")
    wrong = Folder(tmp_path, more=WRONG)
    told = wrong.run("check-config")
    assert told.status == 2
    assert "2 problems" in told.err
    assert "Did you mean `lost`?" in told.err
    wrong.configure(
        'source: {kind: files, path: "source/*"}',
        more="expectations:\n  - expect_column_values_to_be_in_set: "
        "{column: stream, value_set: ['${AUDIT_TOKEN}']}\n",
    )
    shown = wrong.run("check-config", "--json").out + wrong.run("check-config").out
    assert "tok-81723" not in shown
    assert "expect_column_values_to_be_in_set" in shown


ALONE = """
import json, os, sys
from fidelity.cli import run
if {absent}:
    sys.modules["great_expectations"] = None
status = run({arguments})
loaded = sorted(set(sys.modules) & set({heavy}))
print(json.dumps([status, loaded]), file=sys.stderr)
"""


def alone(*arguments: str, absent: bool = False, home: Path) -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own, with an empty home and working folder."""
    code = ALONE.format(arguments=list(arguments), heavy=HEAVY, absent=absent)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    environment |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_help_and_check_config_load_nothing_heavy(folder: Folder, tmp_path: Path) -> None:
    group = typer.main.get_command(app)
    names = [[name] for name in group.commands]  # type: ignore[attr-defined]
    code = "\n".join(
        [
            "import sys",
            "from fidelity.cli import run",
            *(f"assert run({[*name, '--help']}) == 0" for name in [[], *names]),
            f"assert run(['check-config', {str(folder.file)!r}]) == 0",
            f"loaded = set(sys.modules) & set({HEAVY})",
            "assert not loaded, loaded",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--help") > len(names)


def test_a_check_leaves_nothing_outside_the_store(folder: Folder, tmp_path: Path) -> None:
    done = alone("check", str(folder.file), home=tmp_path)
    status, loaded = json.loads(done.stderr.splitlines()[-1])
    assert status == 1, done.stderr
    assert "great_expectations" in loaded
    assert len(done.stderr.splitlines()) == 1, done.stderr  # no progress, no logging
    assert list(tmp_path.iterdir()) == []


def test_without_great_expectations_the_extra_is_named(folder: Folder, tmp_path: Path) -> None:
    done = alone("check", str(folder.file), absent=True, home=tmp_path)
    assert json.loads(done.stderr.splitlines()[-1])[0] == 2
    assert "pip install '.[checks]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert COMMAND[0] == sys.executable
