"""Spark as scheduler: the same tasks as in worker processes, spread over a cluster.

work: submit, withdraw, results, as of the local scheduler. session: the Spark session, ours or one
that is there already. executor: what a Spark task does. daemon: what Spark's Python processes have
imported before they are made. failures: what Spark says when it gives up, in one paragraph.

pyspark is imported in here and nowhere else, and only once a session is asked for.
"""
