"""All benchmarks, one after the other: `make bench`. Exits 1 if one missed its limits.

    python -m benchmarks [NAME]...

Every figure is a ratio, or stands beside what it is compared with in the same run.
"""

import os
import platform
import subprocess
import sys

BENCHMARKS = {
    "scan": "JSON lines: a full scan against DuckDB's bare read_json; workers; memory",
    "kafka": "Kafka: a full scan against a bare consume() loop",
    "observe": "observe and the sketch",
    "stamp": "stamping",
    "dedup": "dropping duplicates in a consumer, beside a Python set",
    "star": "the dashboard's queries on the star of a year of hourly runs",
    "spark": "Spark: full scans against Spark's own JSON reader, and a consume() loop in its tasks",
    "compare": "exact diffs of two lakes: what a user could take instead",
}


def main() -> int:
    """Run them all, or those that are named, each in a process of its own."""
    unknown = [name for name in sys.argv[1:] if name not in BENCHMARKS]
    if unknown:
        print(f"There is no benchmark {unknown[0]}; there is {', '.join(BENCHMARKS)}.")
        return 2
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    missed = []
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name]}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            missed.append(name)
    print(f"\nlimits missed: {', '.join(missed)}" if missed else "\nall limits kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
