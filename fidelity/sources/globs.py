"""What files a stage's paths mean.

`*` and `?` stand for any characters of one name, `[..]` for one of several, `{a,b}` for either,
`**` for any number of folders. A folder named without a pattern means all files below it. Names
that begin with `.` or `_` are left out unless the pattern says so: lakes keep their own files there
(`_delta_log`, `_SUCCESS`, `_temporary`); `_date=..` is a partition and no such name.
"""

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from fidelity.config import Stage
from fidelity.errors import FidelityError, SourceError, UnreadableError
from fidelity.sources.filesystem import Entry, Filesystem, filesystem, reason

_MAGIC = re.compile(r"[*?\[{]")
_ESCAPED = re.compile(r"\[([*?\[{])\]")


def files_of(
    paths: Iterable[str], options: Mapping[str, str], stage: str, known: Collection[str] = ()
) -> list[Entry]:
    """The files that the paths mean, in order of path, each file once whatever its names.

    A pattern may match nothing; a file that is named must be there, or in `known`. A name that
    stands for no readable file (a link that leads nowhere) has a `problem`.

    Raises:
        SourceError: a folder is missing or cannot be listed.
    """
    found: dict[str, Entry] = {}
    for path in paths:
        try:
            listed = _Listing(filesystem(path, options), known).files(_normal(path))
        except OSError as error:
            raise _out_of_reach(error, options, f"stage {stage}: {literal(path)}") from None
        found.update((entry.path, entry) for entry in listed)
    return sorted(_each_once(found.values()), key=lambda entry: entry.path)


def is_pattern(path: str) -> bool:
    """Whether a path may mean several files."""
    return _MAGIC.search(_masked(path)) is not None


def reaches(path: str, folder: str) -> bool:
    """Whether a path may mean a folder, or anything that may ever lie below it."""
    path = _normal(path)
    base, pattern = fixed_part(path) if is_pattern(path) else (literal(path), "**")
    base, folder = _place(base), _place(folder)
    if base.startswith(folder):
        return True
    below = folder.removeprefix(base).rstrip("/").split("/")
    return folder.startswith(base) and any(
        _may_meet(one.split("/"), below) for one in _expanded(pattern)
    )


def _place(folder: str) -> str:
    """One spelling for a folder, with a slash at its end."""
    return f"{(folder if '://' in folder else os.path.realpath(folder)).rstrip('/')}/"


def _may_meet(pattern: list[str], folders: list[str]) -> bool:
    """Whether a pattern may match these folders, one within the other, or what is below them."""
    if not folders or not pattern:
        return not folders
    if pattern[0] == "**" and _may_meet(pattern[1:], folders):
        return True
    rest = pattern if pattern[0] == "**" else pattern[1:]
    return _matches(folders[0], pattern[0]) and _may_meet(rest, folders[1:])


def _masked(pattern: str) -> str:
    """As long as the pattern, with nothing special where one character stands in brackets."""
    return _ESCAPED.sub("___", pattern)


def literal(pattern: str) -> str:
    """The one path that a path without a pattern means: `a[[]1]` is `a[1]`."""
    return _ESCAPED.sub(r"\1", pattern)


def failure(error: OSError, path: str, stage: Stage) -> FidelityError:
    """What a failure while a file is read means: for the file, or for the whole stage."""
    why = reason(error, stage.options)
    if any(mark in str(error) for mark in _CLOUD_KINDS):
        return _out_of_reach(error, stage.options, f"stage {stage.name}: {path}")
    return UnreadableError(f"{why.rstrip('.')}.", where=path)


def _out_of_reach(error: OSError, options: Mapping[str, str], where: str) -> SourceError:
    return SourceError(
        f"{_kind_of(error)} ({_place_of(error)}{reason(error, options)}).",
        where=where,
        action="Check the path, that it may be read, and the stage's `options`.",
    )


_KINDS = {
    FileNotFoundError: "there is no such file or folder",
    NotADirectoryError: "a file where a folder should be",
    PermissionError: "not allowed",
    TimeoutError: "the server does not answer",
}
_CLOUD_KINDS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "INVALID_ACCESS_KEY": "not allowed: check the keys",
    "UserNotFound": "not allowed: check the keys",
    "SIGNATURE_DOES_NOT_MATCH": "not allowed: check the keys",
    "ACCESS_DENIED": "not allowed: check the keys, and what they give access to",
    "AuthorizationHeaderMalformed": "not allowed: check the region",
    "ExpiredToken": "not allowed: the keys have expired",
    "InvalidToken": "not allowed: check the keys",
    "HTTP status 400": "the server refuses it: check the region and the endpoint",
    "NETWORK_CONNECTION": "the server cannot be reached",
    "Connection refused": "the server cannot be reached",
    "failed to lookup address": "the server cannot be reached",
    "RPC listener disconnected": "this is no name node's port, or it went away",
    "name node has not answered": "the server does not answer",
}


def _kind_of(error: OSError) -> str:
    texts = [text for kind, text in _KINDS.items() if isinstance(error, kind)]
    texts += [text for mark, text in _CLOUD_KINDS.items() if mark in str(error)]
    return texts[0] if texts else "out of reach"


def _place_of(error: OSError) -> str:
    return f"{error.filename}: " if error.filename else ""


def _normal(path: str) -> str:
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    scheme, colons, rest = path.rpartition("://")
    if colons:
        return f"{scheme}://{rest}"
    folder = "" if path.endswith("/") else path
    return os.path.normpath(folder or path)


def _each_once(entries: Iterable[Entry]) -> list[Entry]:
    """One name for every file: a link to a listed file adds nothing, nor does a hard link."""
    by_file: dict[str, list[Entry]] = {}
    for entry in entries:
        by_file.setdefault(entry.identity or entry.path, []).append(entry)
    return [
        min(names, key=_preference) if len(names) > 1 else names[0] for names in by_file.values()
    ]


def _preference(entry: Entry) -> tuple[bool, bool, str]:
    # A file that is renamed while its folder is listed shows up twice: the name it has now counts.
    now = filesystem(entry.path, {}).stat(entry.path) if entry.identity else entry
    return now is None or now.identity != entry.identity, entry.link, entry.path


class _Listing:
    """One look at a store: every folder is asked for at most once."""

    def __init__(self, store: Filesystem, known: Collection[str]) -> None:
        self._store, self._known = store, known
        self._children: dict[str, list[Entry]] = {}
        self._complete: list[str] = []  # folders of which everything below is known

    def files(self, path: str) -> list[Entry]:
        if not is_pattern(path):
            return self._named(literal(path))
        base, pattern = fixed_part(path)
        self._list(base)  # raises if there is no such folder
        found: dict[str, Entry] = {}
        for one in _expanded(pattern):
            for entry in self._matching(base, one.split("/")):
                found[entry.path] = entry
        return list(found.values())

    def _named(self, path: str) -> list[Entry]:
        entry = self._store.stat(path)
        if entry is None:
            return self._missing(path)
        if not entry.folder:
            return [replace(entry, path=path)]
        return self._matching(path.rstrip("/"), ["**", "*"])

    def _missing(self, path: str) -> list[Entry]:
        if os.path.islink(path):
            return [Entry(path, link=True, problem="is a link that leads nowhere")]
        self._list(posixpath.dirname(path))  # raises if not even its folder is there
        if path not in self._known:
            raise FileNotFoundError(None, "no file of that name")
        return []

    def _matching(self, folder: str, segments: list[str]) -> list[Entry]:
        head, rest = segments[0], segments[1:]
        if head == "**":
            return [
                entry
                for below in self._folders_below(folder)
                for entry in self._matching(below, rest or ["*"])
            ]
        if not rest:
            return self._files_named(folder, head)
        if not is_pattern(head):
            below = posixpath.join(folder, literal(head))
            return self._matching(below, rest) if self._exists(below) else []
        return [
            entry
            for child in self._list(folder)
            if child.folder and _matches(_name(child), head)
            for entry in self._matching(child.path, rest)
        ]

    def _files_named(self, folder: str, pattern: str) -> list[Entry]:
        found = []
        for child in self._list(folder):
            if not _matches(_name(child), pattern):
                continue
            if not child.folder:
                found.append(child)
            elif re.search(r"\.\w", pattern):
                # `*.jsonl` asks for files: a folder of that name is not what was meant.
                found.append(replace(child, problem="is a folder, not a file"))
        return found

    def _folders_below(self, folder: str) -> list[str]:
        """The folder and all below it, each once, real ones before those that links lead to."""
        self._complete_from(folder)
        found, seen, later = [], set(), [folder]
        while later:
            queue, later = later, []
            while queue:
                path = queue.pop()
                found.append(path)
                for child in sorted(self._list(path), key=lambda entry: entry.path, reverse=True):
                    if not child.folder or _hidden(_name(child)) or child.identity in seen:
                        continue
                    if child.identity and not child.link:
                        seen.add(child.identity)
                    (later if child.link else queue).append(child.path)
            later = [path for path in later if self._first_visit(path, seen)]
        return found

    def _first_visit(self, path: str, seen: set[str]) -> bool:
        entry = self._store.stat(path)
        if entry is None or entry.identity in seen:
            return False
        seen.add(entry.identity)
        return True

    def _complete_from(self, folder: str) -> None:
        """Where one request lists a whole tree, do that instead of one for every folder."""
        entries = self._store.tree(folder)
        if entries is None:
            return
        self._complete.append(folder)
        self._children[folder] = []
        for entry in entries:
            self._children.setdefault(posixpath.dirname(entry.path), []).append(entry)

    def _exists(self, folder: str) -> bool:
        try:
            self._list(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _list(self, folder: str) -> list[Entry]:
        if folder not in self._children:
            known = any(folder.startswith(f"{whole}/") for whole in self._complete)
            self._children[folder] = [] if known else self._store.children(folder)
        return self._children[folder]


def _name(entry: Entry) -> str:
    return posixpath.basename(entry.path)


def _hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _matches(name: str, pattern: str) -> bool:
    if _hidden(name) and not pattern.startswith(name[0]):
        return False
    return re.fullmatch(_regex(pattern), name, re.DOTALL) is not None


def _regex(pattern: str) -> str:
    """A pattern for one name, without braces, as a regular expression."""
    text, i = "", 0
    while i < len(pattern):
        # A `]` that comes first is one of the characters.
        first = i + 2 + (pattern[i + 1 : i + 2] in ("!", "^"))
        close = pattern.find("]", first) if pattern[i] == "[" else -1
        if pattern[i] == "*":
            text += ".*"
        elif pattern[i] == "?":
            text += "."
        elif close > 0:
            text += _one_of(pattern[i + 1 : close])
            i = close
        else:
            text += re.escape(pattern[i])
        i += 1
    return text


def _one_of(inside: str) -> str:
    """What stands in brackets as a regular expression for one character."""
    negated = inside.startswith(("!", "^"))
    parts = re.findall(r".-.|.", inside[negated:], re.DOTALL)
    ranges = [
        "-".join(map(re.escape, dict.fromkeys((part[0], part[-1]))))
        for part in parts
        if part[0] <= part[-1]  # z-a is no character
    ]
    if not ranges:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


def fixed_part(path: str) -> tuple[str, str]:
    """The longest folder without a pattern, and the pattern below it."""
    scheme, colons, rest = path.rpartition("://")
    magic = _MAGIC.search(_masked(rest))
    cut = rest.rfind("/", 0, magic.start() if magic else len(rest))
    base = literal(rest[: max(cut, 0)]) or ("/" if cut == 0 and not colons else "")
    return scheme + colons + base, rest[cut + 1 :]


def _expanded(pattern: str) -> list[str]:
    """A pattern with braces as patterns without: {a,b}c is ac and bc. A lone brace is itself."""
    braces = _masked(pattern)
    start = braces.find("{")
    while start >= 0:
        depth, commas = 0, [start]
        for i in range(start, len(pattern)):
            depth += (braces[i] == "{") - (braces[i] == "}")
            if pattern[i] == "," and depth == 1:
                commas.append(i)
            if depth == 0:
                choices = [
                    pattern[a + 1 : b] for a, b in zip(commas, [*commas[1:], i], strict=True)
                ]
                before, after = pattern[:start], pattern[i + 1 :]
                return [one for choice in choices for one in _expanded(before + choice + after)]
        start = braces.find("{", start + 1)
    return [pattern]
