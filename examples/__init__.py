"""Pipelines and servers to try Fidelity on."""
