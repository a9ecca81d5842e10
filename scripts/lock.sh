#!/bin/sh
# Writes requirements.lock, and Airflow's. Why not uv.lock: docs/decisions/0001-requirements-lock.md
set -eu
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .build/uv/bin/uv)
if ! [ -x "$uv" ]; then
    echo "uv is missing: remove .venv and run make setup." >&2
    exit 2
fi
lock() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-header --no-emit-index-url --no-emit-find-links "$@"
}
lock --all-extras --group dev "$@" pyproject.toml -o requirements.lock
# The same versions of what both have: tests compare what the two environments find.
lock --extra checks --constraints requirements.lock "$@" \
    pyproject.toml airflow_dags/requirements.in -o airflow_dags/requirements.lock
