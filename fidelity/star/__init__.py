"""The star: runs as Parquet files that BI tools read, on local disk, S3, GCS or HDFS.

schema: its tables. rows: from a report to rows. held: what counts of what is there. plan: what a
publication states. copies: statements made anew. write: publish a run. merge: keep it small.
catalogue: a DuckDB file of views over it. place: its files.
"""

from fidelity.star.place import Place

__all__ = ["Place"]
