"""YAML as values that know their line: mappings, lists and texts, nothing else.

No text is turned into a number, a date or a truth value here: the key that it stands under decides
what it means, so `origin: no` and `topic: 0123` stay as written. `${NAME}` is filled in from the
environment afterwards, so what a variable holds can never become YAML.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fidelity.config.masking import is_secret
from fidelity.errors import ConfigError

LARGEST = 1 << 20
"""Bytes. A longer file is not a pipeline file but, for instance, the log itself."""

_MOST_NODES = 50_000  # of the file with its aliases written out: no billion laughs
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}|\$\{")
_NULLS = {"", "~", "null", "Null", "NULL"}
_MERGE = "tag:yaml.org,2002:merge"

Way = tuple[str, ...]


@dataclass(slots=True)
class Problem:
    """One thing that is wrong, at a path of the file."""

    way: Way
    what: str
    line: int = 0

    def __str__(self) -> str:
        line = f"line {self.line}, " if self.line else ""
        place = ".".join(self.way)
        return f"{line}{place}: {self.what}" if place else f"{line}{self.what}".strip()


@dataclass(slots=True)
class Document:
    """The file's values, the line of each path, and what was wrong so far."""

    value: object = None
    lines: dict[Way, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    secret: set[Way] = field(default_factory=set)  # filled in from a variable that is named so
    unset: set[Way] = field(default_factory=set)  # a variable is missing: nothing more to complain

    def problem(self, way: Way, what: str) -> None:
        """Note a problem at the line of the nearest path that the file has."""
        if way in self.unset:
            return
        above = (way[:n] for n in range(len(way), 0, -1))
        line = next((self.lines[part] for part in above if part in self.lines), 0)
        self.problems.append(Problem(way, _QUOTED.sub(_fit, what), line))


_QUOTED = re.compile(r"`[^`]*`")
_LONGEST = 80


def _fit(quoted: re.Match[str]) -> str:
    """A quoted value on one line, and not all of a long one."""
    value = quoted[0][1:-1]
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value[:_LONGEST])
    return f"`{shown}{'...' if len(value) > _LONGEST else ''}`"


def parse(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError where there is nothing to go on with."""
    text = _text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = error.problem or error.context or "cannot be read"
        raise ConfigError(f"{line}not valid YAML: {what}.", where=str(path)) from None
    except yaml.YAMLError as error:
        what = str(error).splitlines()[0]
        raise ConfigError(f"not valid YAML: {what}.", where=str(path)) from None
    except RecursionError:
        raise ConfigError("not a pipeline file: nested too deeply.", where=str(path)) from None
    document = Document()
    try:
        document.value = None if node is None else _Walk(document).value(node, (), 0)
    except _EndlessError:
        what = "not a pipeline file: its aliases or its nesting go on for ever."
        raise ConfigError(what, where=str(path)) from None
    return document


class _EndlessError(Exception):
    """The values would not fit in memory."""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        action = "`fidelity init` writes one." if isinstance(error, FileNotFoundError) else ""
        what = f"the pipeline file cannot be read: {error.strerror or error}."
        raise ConfigError(what, where=str(path), action=action) from None
    if len(data) > LARGEST:
        raise ConfigError("larger than 1 MiB: this is not a pipeline file.", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        what = f"line {line}: not UTF-8 (byte 0x{data[error.start]:02x})."
        raise ConfigError(what, where=str(path), action="Save it as UTF-8.") from None


class _Walk:
    """From YAML nodes to values, depth first."""

    def __init__(self, document: Document) -> None:
        self.document, self.nodes = document, 0

    def value(self, node: yaml.Node, way: Way, depth: int) -> object:
        self.nodes += 1
        if self.nodes > _MOST_NODES or depth > 50:
            raise _EndlessError
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, way, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(child, (*way, str(n)), depth + 1) for n, child in enumerate(node.value)
            ]
        assert isinstance(node, yaml.ScalarNode)
        if node.style is None and node.value in _NULLS:
            return None
        return self.fill_in(node.value, way, node.start_mark.line + 1)

    def mapping(self, node: yaml.MappingNode, way: Way, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        inherited: dict[str, object] = {}
        for key, child in node.value:
            if key.tag == _MERGE:
                for part in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    merged = self.value(part, way, depth + 1)
                    inherited = {**(merged if isinstance(merged, dict) else {}), **inherited}
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.document.problems.append(Problem(way, "a key must be a plain text", line))
                continue
            here = (*way, key.value)
            if key.value in values:
                first = self.document.lines[here]
                what = f"this key is given twice, first in line {first}"
                self.document.problems.append(Problem(here, what, line))
                continue
            self.document.lines[here] = line
            values[key.value] = self.value(child, here, depth + 1)
        return {**inherited, **values}

    def fill_in(self, text: str, way: Way, line: int) -> str:
        def variable(match: re.Match[str]) -> str:
            name, default = match.group(1), match.group(3)
            if match.group(0) == "$${":
                return "${"
            if name is None:
                what = "`${` without a variable's name and `}`; write `$${` for the two characters"
                self.document.problems.append(Problem(way, what, line))
                return ""
            if is_secret(name):
                self.document.secret.add(way)
            held = os.environ.get(name)
            if match.group(2) is not None:
                return held or default
            if held is None:
                what = f"the environment variable {name} is not set"
                self.document.problems.append(Problem(way, what, line))
                self.document.unset.add(way)
                return ""
            return held

        return _VARIABLE.sub(variable, text)
