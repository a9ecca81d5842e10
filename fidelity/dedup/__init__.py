"""Drop duplicates exactly: in a consumer's loop, and from a whole stage.

id -> sequence number -> the runs of numbers that were seen: a few bytes a run, not a record.
"""

from fidelity.dedup.consumer import Deduplicator

__all__ = ["Deduplicator"]
