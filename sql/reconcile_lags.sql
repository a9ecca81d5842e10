-- How late did the records come to each stage?
-- One row for each stage, window (microseconds), stream and bucket of lag (arrival - event time), in that order; the records of
-- a window and stream, whether their arrival is known or not, stand where the bucket is null.
SELECT stage, "window", stream, bucket, sum(records)::BIGINT AS records
FROM sums
WHERE sample = 1
GROUP BY stage, "window", stream, bucket
ORDER BY stage, "window", stream, bucket NULLS FIRST
