#!/bin/sh
# Writes requirements.lock. Why not uv.lock: docs/decisions/0001-requirements-lock.md
set -eu
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .build/uv/bin/uv)
if ! [ -x "$uv" ]; then
    echo "uv is missing: remove .venv and run make setup." >&2
    exit 2
fi
exec "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --no-header --no-emit-index-url --no-emit-find-links --all-extras --group dev "$@" pyproject.toml -o requirements.lock
