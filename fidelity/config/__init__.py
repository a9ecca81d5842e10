"""The pipeline file: `load` is the only way from YAML to a Pipeline, and nothing below sees a dict.

model: the schema. document: YAML with line numbers and the environment. values: what one text
means. loading: the file's keys, and the checks across them. masking: what may be shown.
"""

from fidelity.config.loading import load
from fidelity.config.masking import mask, shown_options
from fidelity.config.model import (
    Encoding,
    Engine,
    Expectation,
    Format,
    LagTarget,
    Pipeline,
    Place,
    Publish,
    RecordSpec,
    Stage,
    Targets,
    TimeUnit,
)

__all__ = [
    "Encoding",
    "Engine",
    "Expectation",
    "Format",
    "LagTarget",
    "Pipeline",
    "Place",
    "Publish",
    "RecordSpec",
    "Stage",
    "Targets",
    "TimeUnit",
    "load",
    "mask",
    "shown_options",
]
