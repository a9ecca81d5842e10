"""No file of the project may hold a package registry's address or a path of this machine.

Looks at the files that git tracks, or at all but the ignored folders where there is no git. Prints
each offence as file:line and exits 1 if there is one.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
IGNORED = {".build", ".venv", ".git", "dist", "__pycache__", ".mypy_cache", ".ruff_cache"}
SETTINGS = ("INDEX_URL", "DEFAULT_INDEX", "EXTRA_INDEX_URL", "INDEX", "FIND_LINKS")
"""The variables, after PIP_ or UV_, that name a registry on the machine of whoever checks."""

# Where a tool would be told of a registry: an address has no other business in these files.
REGISTRY_FILES = {
    "requirements.in": re.compile(r"://|--(extra-)?index-url|--find-links"),
    "requirements.lock": re.compile(r"://|--(extra-)?index-url|--find-links"),
    "pyproject.toml": re.compile(r"index-url|find-links|\[\[?tool\.uv\.(index|sources)"),
    "pom.xml": re.compile(r"<(repository|pluginRepository|url)>"),
}


def files() -> list[Path]:
    """The project's files, relative to its folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0 and (ROOT / ".git").exists():
        return [Path(os.fsdecode(name)) for name in listed.stdout.split(b"\0") if name]
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in IGNORED]
        found += [Path(folder, name).relative_to(ROOT) for name in names]
    return found


def forbidden() -> re.Pattern[str]:
    """This checkout's folder, this home, and the registries that this machine is set up for."""
    texts = {str(ROOT)}
    home = str(Path.home())
    if home.count("/") > 1:  # "/root" alone says nothing of a machine
        texts.add(home)
    for name in SETTINGS:
        for value in os.environ.get(f"PIP_{name}", ""), os.environ.get(f"UV_{name}", ""):
            for part in value.split():
                host = urlsplit(part).hostname or (part if part.startswith("/") else None)
                texts |= {host} if host else set()
    return re.compile("|".join(re.escape(text) + r"(?![\w-])" for text in sorted(texts)))


def offences() -> Iterator[str]:
    """Each offending line, as file:line: what."""
    here = forbidden()
    for file in sorted(files()):
        path = ROOT / file
        if not path.is_file() or path.stat().st_size > 5_000_000:
            continue
        registry = REGISTRY_FILES.get(file.name)
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            for pattern in (here, registry):
                if pattern is not None and (match := pattern.search(line)):
                    yield f"{file}:{number}: holds `{match.group(0)}`"


if __name__ == "__main__":
    found = list(offences())
    print("\n".join(found) or "No address or path of this machine in any file.")  # noqa: T201
    sys.exit(1 if found else 0)
