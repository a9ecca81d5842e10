"""Fidelity: end-to-end completeness auditing for log and event pipelines."""

__version__ = "0.1.0"
