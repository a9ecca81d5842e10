"""The section `publish`: where a run goes besides the store."""

from fidelity.config.document import Way
from fidelity.config.model import Publish
from fidelity.config.reading import Reading, Section, located, options_of
from fidelity.config.values import words

PUBLISH_KEYS = ("star", "options")


def publish_of(read: Reading, top: Section, folder: str) -> Publish:
    """What is under `publish`; relative paths are taken from `folder`."""
    way: Way = ("publish",)
    given = read.section(top.get("publish"), way, PUBLISH_KEYS)
    star = read.optional(given, way, "star", words, "")
    options = options_of(read, given, way)
    if options and not star:
        read.problem((*way, "options"), "are settings of the star's file system: name a `star`")
    return Publish(star=located(star, folder), options=options)
