"""A pipeline in miniature, with the faults of real ones: hosts, shipper, mirror and sink.

Each part plants its own faults and writes down what it did; the audit knows nothing of that.
"""
