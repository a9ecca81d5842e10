"""Checks: what a run was held against and what came of it, in the store under checks/<run>/."""

from collections.abc import Mapping

from fidelity.sources.filesystem import filesystem
from fidelity.store import Store
from fidelity.store.storage import told


def keep(store: Store, run: str, part: str, files: Mapping[str, bytes]) -> str:
    """Write the files of a check; a check that is repeated replaces its own. Raises StoreError.

    Args:
        part: "" of the whole run, else which part of it was checked, as a folder's name.

    Returns:
        The folder.
    """
    folder = "/".join(each for each in (store.uri, "checks", run, part) if each)
    place = filesystem(store.uri, store.options)
    with told(store.uri, "written"):
        for name, content in files.items():
            place.write(f"{folder}/{name}", content)
    return folder
