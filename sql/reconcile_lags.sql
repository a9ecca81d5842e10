-- How late did the records come to each stage?
-- One row for each stage, window (microseconds) and stream with records: how many there are, how many of them have a known
-- arrival, and these by bucket of lag (arrival - event time), in its order.
SELECT
    stage, "window", stream,
    sum(records) FILTER (origin IS NOT NULL)::BIGINT AS records,
    coalesce(sum(records) FILTER (bucket IS NOT NULL), 0)::BIGINT AS measured,
    coalesce(
        list({'bucket': bucket, 'records': records} ORDER BY bucket) FILTER (bucket IS NOT NULL), []
    ) AS buckets
FROM sums
WHERE sample = 1
GROUP BY stage, "window", stream
HAVING sum(records) FILTER (origin IS NOT NULL) > 0
ORDER BY stage, "window", stream
