# Everything runs from this folder and installs nothing outside it. `make help` lists the targets.
PYTHON_HERE = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench lock clean superset

help:  ## What can be made
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup:  ## Set up .venv, Kafka's jars and the compiled kernels (the others do it by themselves)
	@scripts/setup.sh

demo: setup  ## Find every planted fault in a pipeline of log files, two Kafka brokers and a lake
	@$(PYTHON_HERE) -m examples.demo

test:  ## All tests, against real Kafka brokers, S3 and HDFS servers and Airflow
	@scripts/setup.sh examples.lakes -- examples.airflow
	@env -u PYTHONDONTWRITEBYTECODE $(PYTHON_HERE) -m pytest -n 3 --dist loadgroup $(ARGS)

check:  ## Lint, format, types, and no address or path of this machine in any file
	@scripts/setup.sh .venv
	@$(PYTHON_HERE) -m ruff check .
	@$(PYTHON_HERE) -m ruff format --check .
	@$(PYTHON_HERE) -m mypy
	@$(PYTHON_HERE) scripts/check_addresses.py

bench: setup  ## The benchmarks: each figure as a ratio within one run
	@$(PYTHON_HERE) -m benchmarks

superset: setup  ## Look at a star in Apache Superset: an environment of its own, an example dashboard
	@$(PYTHON_HERE) -m examples.superset $(ARGS)

lock: setup  ## Bring requirements.lock up to date with pyproject.toml
	@scripts/lock.sh

clean:  ## Remove all that was made here, .venv too
	rm -rf .build .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
