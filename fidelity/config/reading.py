"""Taking values out of a document, noting what is wrong with each and going on."""

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fidelity.config.document import Document, Way
from fidelity.config.masking import is_secret, remember
from fidelity.config.values import nearest, words

T = TypeVar("T")
Section = dict[str, Any]


class Reading:
    """A document that is being read. What it returns is good only where no problem was noted."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problem = document.problem

    @property
    def sound(self) -> bool:
        """No problem so far."""
        return not self.document.problems

    def section(self, value: object, way: Way, keys: Iterable[str] | None) -> Section:
        """A mapping with these keys (None: any), of those values that are not empty."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            what = "must be a mapping, of lines `key: value`"
            self.problem(way, what if way else f"not a pipeline file: it {what}")
            return {}
        valid = None if keys is None else list(keys)
        for key in value:
            if valid is not None and key not in valid:
                self.problem((*way, key), unknown(key, valid))
            elif value[key] is None:
                self.problem((*way, key), "has no value: give it one, or leave the line out")
        return {
            key: held
            for key, held in value.items()
            if held is not None and (valid is None or key in valid)
        }

    def required(self, given: Section, way: Way, key: str, kind: Callable[[str], T]) -> T | None:
        """The value under a key that must be there."""
        if key not in given:
            self.missing(way, key)
        return self.optional(given, way, key, kind, None)

    def missing(self, way: Way, *keys: str) -> None:
        """Note that keys are not there (an empty one was noted already)."""
        for key in keys:
            if (*way, key) not in self.document.lines:
                self.problem(way, f"`{key}` is missing")

    def optional(
        self, given: Section, way: Way, key: str, kind: Callable[[str], T], default: T
    ) -> T:
        """The value under a key, or the default."""
        if key not in given:
            return default
        if not isinstance(given[key], str):
            self.problem((*way, key), "must be a single value")
            return default
        value = self.checked((*way, key), given[key], kind)
        return default if value is None else value

    def checked(self, way: Way, text: str, kind: Callable[[str], T]) -> T | None:
        """What the text means, or None and a problem."""
        try:
            return kind(text)
        except ValueError as error:
            self.problem(way, str(error))
            return None

    def texts(self, given: Section, way: Way, key: str) -> list[str]:
        """Under a key one text, or a list of them; empty if the key is not there."""
        if key not in given:
            return []
        here = (*way, key)
        items = given[key] if isinstance(given[key], list) else [given[key]]
        if not items:
            self.problem(here, "is an empty list")
        texts: list[str] = []
        for item in items:
            if not isinstance(item, str):
                self.problem(here, "must be a text or a list of texts")
            elif self.checked(here, item, words) is not None:
                texts.append(item)
        return texts


def one_of(valid: tuple[str, ...]) -> Callable[[str], str]:
    """A reader that takes only these words."""

    def read(text: str) -> str:
        if text not in valid:
            advice = nearest(text, valid)
            raise ValueError(f"`{text}` is not one of {', '.join(valid)}. {advice}".rstrip())
        return text

    return read


def unknown(key: str, valid: Iterable[str]) -> str:
    """What to say of a key that does not exist."""
    names = list(valid)
    return f"unknown key. {nearest(key, names) or 'Known are ' + ', '.join(names) + '.'}"


def options_of(read: Reading, given: Section, way: Way) -> dict[str, str]:
    """The settings of a client under `options`."""
    return settings_of(read, given, way, "options")


def settings_of(read: Reading, given: Section, way: Way, key: str) -> dict[str, str]:
    """Names and values that are somebody else's; those that are secret are masked from now on."""
    here = (*way, key)
    options = {}
    for name, value in read.section(given.get(key), here, None).items():
        if not isinstance(value, str):
            read.problem((*here, name), "must be a single value")
            continue
        options[name] = value
        if is_secret(name) or (*here, name) in read.document.secret:
            remember(value)
    return options


def located(path: str, folder: str) -> str:
    """A local path, from the pipeline file's folder; an address stays as it is."""
    if "://" in path or not path:
        return path
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
