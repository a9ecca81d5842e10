"""Settings that all tests share."""

from hypothesis import settings
from lakes import bucket, folder, hdfs, lake, s3  # noqa: F401 -- fixtures
from servers import kafka, keystore, make_topic, own_kafka, second_kafka  # noqa: F401 -- fixtures

# A kernel's first call compiles it, which takes longer than any deadline an example should have.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")
