"""The report as OpenMetrics text, which is Prometheus' text format 0.0.4 as well.

One text for both, since node_exporter's textfile collector and the Pushgateway only read the older
format, whatever it is sent as: all metrics are gauges (0.0.4 knows no stateset), help texts hold
no quotes or backslashes (which are escaped differently), and there are no timestamps, which both
refuse. UNIT and EOF are comments to them.
"""

import io
from typing import IO

from fidelity.report import Report
from fidelity.report.metrics import Metric, Number, Sample, families

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What a push calls it: the type that every receiver reads."""


def write(report: Report, out: IO[str], origins: bool = False) -> None:
    """Write the report's metrics to a text file. Its encoding must be UTF-8."""
    for metric, samples in families(report, origins):
        out.writelines(f"{line}\n" for line in _head(metric))
        out.writelines(_line(metric, sample) for sample in samples)
    out.write("# EOF\n")


def render(report: Report, origins: bool = False) -> str:
    """The report's metrics as text."""
    out = io.StringIO(newline="\n")
    write(report, out, origins)
    return out.getvalue()


def _head(metric: Metric) -> list[str]:
    lines = [f"# TYPE {metric.name} gauge", f"# HELP {metric.name} {metric.help}"]
    return [lines[0], f"# UNIT {metric.name} {metric.unit}", lines[1]] if metric.unit else lines


def _line(metric: Metric, sample: Sample) -> str:
    names = ("pipeline", *metric.labels)
    values, number = sample
    labels = ",".join(f'{n}="{escaped(v)}"' for n, v in zip(names, values, strict=True))
    return f"{metric.name}{{{labels}}} {_number(number)}\n"


def escaped(value: str) -> str:
    """A label's value between its quotes. All but these three characters stand for themselves."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: Number) -> str:
    return repr(value)
