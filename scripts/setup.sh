#!/bin/sh
# Sets up .venv, Kafka's jars and the compiled kernels; does only what is not done yet. Modules that
# are named are run besides, to set up more: those before `--` while packages are installed, so they
# must need none, the others while the kernels compile. `.venv`: that alone.
# Nothing is installed outside this folder. PYTHON=... chooses another interpreter.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# --- Prerequisites: all that are missing are named at once, before anything else is done.

python_is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$python" >/dev/null && python_is_new_enough "$python"; then
            command -v "$python"
            return 0
        fi
    done
    return 1
}

java_version() {
    # The first line is like: openjdk version "17.0.15" 2025-04-15. Before 9 it said "1.8.0".
    java -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1
}

missing="" packages=""
need() { missing="$missing
  - $1" packages="$packages $2"; }

if ! python=$(find_python); then
    need "Python 3.11 or later (found: $(python3 --version 2>&1 || true))" "python3 python3-venv"
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    need "the venv module of $python" "python3-venv"
fi
if ! command -v java >/dev/null; then
    need "Java 17 or later" "default-jre-headless"
elif version=$(java_version) && [ "${version:-0}" -lt 17 ]; then
    need "Java 17 or later (found: ${version:-unknown})" "default-jre-headless"
fi
command -v mvn >/dev/null || need "Maven" "maven"

if [ -n "$missing" ]; then
    say "Missing on this machine:$missing"
    say ""
    say "On Debian or Ubuntu:  sudo apt-get install -y$packages"
    exit 2
fi

# --- Steps. Each leaves a stamp of what it was made from, so a second run starts at once.

mkdir -p .build
here=$(pwd)
wanted_packages="$here $(cksum <requirements.lock) $(cksum <pyproject.toml)"
wanted_kernels="$wanted_packages"
steps=0 step=0

made_from() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

have_packages() { made_from .venv/.made-from "$wanted_packages" && [ -x .venv/bin/python ]; }
have_jars() {
    [ -d .build/kafka/lib ] && made_from .build/kafka/.made-from "$(cksum <examples/brokers/pom.xml)"
}
have_kernels() { have_packages && made_from .build/kernels.made-from "$wanted_kernels"; }
have_uv() { command -v uv >/dev/null || [ -x .build/uv/bin/uv ]; }

# run TITLE COMMAND...: the title, the time it took, and what it said only if it failed.
run() {
    step=$((step + 1)) title=$1
    shift
    printf '[%d/%d] %s ... ' "$step" "$steps" "$title" >&2
    began=$(date +%s)
    if "$@" >.build/setup.log 2>&1; then
        say "$(($(date +%s) - began)) s"
    else
        say "failed"
        say ""
        tail -n 30 .build/setup.log >&2
        say ""
        say "The whole log is in .build/setup.log. If the network failed, run make again: it goes on here."
        exit 2
    fi
}

fetch_uv() {
    rm -rf .build/uv
    # Quicker than an environment; but pip may be missing, or told to work in environments only.
    if "$python" -m pip install --quiet --disable-pip-version-check --target .build/uv 'uv>=0.9'; then
        return
    fi
    rm -rf .build/uv
    "$python" -m venv .build/uv
    .build/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
}

install_packages() {
    uv=$(command -v uv || echo .build/uv/bin/uv)
    # Made anew where the interpreter is another, or is gone, or the folder was moved.
    if ! made_from .venv/.python "$python@$here" || ! [ -x .venv/bin/python ]; then
        "$uv" venv --clear --no-project --python "$python" .venv
        echo "$python@$here" >.venv/.python
    fi
    "$uv" pip sync --python .venv/bin/python --require-hashes requirements.lock
    "$uv" pip install --python .venv/bin/python --no-deps --editable .
    echo "$wanted_packages" >.venv/.made-from
}

fetching="" compiling=""
trap 'kill $fetching $compiling 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

# Needs no packages, so it goes on while those are installed.
begin_fetching() {
    {
        "$python" -W ignore -m examples.brokers.broker >/dev/null || exit 1
        cksum <examples/brokers/pom.xml >.build/kafka/.made-from
        for module in $early; do
            "$python" -m "$module" || exit 1
        done
    } >.build/fetched.log 2>&1 &
    fetching=$! begun=yes
}

fetched() {
    wait "$fetching" || { fetching=""; cat .build/fetched.log; return 1; }
    fetching=""  # its number may be another process's by now
}

# Python's own bytecode is kept as well, also where PYTHONDONTWRITEBYTECODE is set: each start of a
# command would take a second longer. That of packages that no command imports is not made.
compile_kernels() {
    env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m fidelity.warm >.build/kernels.log 2>&1 &
    compiling=$!
}

kernels_compiled() {
    wait "$compiling" || { compiling=""; cat .build/kernels.log; return 1; }
    compiling=""
    echo "$wanted_kernels" >.build/kernels.made-from
}

have_packages || have_uv || steps=$((steps + 1))
have_packages || steps=$((steps + 1))
if [ "${1:-}" = .venv ]; then
    have_jars() { true; }
    have_kernels() { true; }
    shift
fi
early=""
while [ "${1:---}" != -- ]; do early="$early $1"; shift; done
[ $# -eq 0 ] || shift
jars="" begun=""
have_jars || jars=missing
[ -z "$jars" ] || steps=$((steps + 1))
have_kernels || steps=$((steps + 1))
[ "$steps" -eq 0 ] || say "Setting up in $here (once; nothing is installed outside it)"
[ -z "$jars$early" ] || begin_fetching
have_packages || have_uv || run "Fetching uv" fetch_uv
have_packages || run "Installing the Python packages of requirements.lock" install_packages
have_kernels || compile_kernels
if [ -n "$jars" ]; then
    run "Fetching jars with Maven, building servers" fetched
elif [ -n "$fetching" ] && ! fetched >&2; then
    exit 2
fi
[ -z "$begun" ] || sed 's/^/      /' .build/fetched.log >&2
for module in "$@"; do
    .venv/bin/python -m "$module"
done
[ -z "$compiling" ] || run "Compiling the kernels" kernels_compiled
[ "$steps" -eq 0 ] || say ""
