"""Apache Superset with the example dashboard over a star: `make superset`."""
