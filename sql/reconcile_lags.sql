-- How late did the records come to each stage?
-- One row for each stage, window (microseconds) and stream with records: how many there are, how many of them have a known
-- arrival, and these by bucket of lag (arrival - event time), in its order.
WITH in_force_rows AS (
    SELECT o.stage, epoch_us(o."window") AS "window", o.stream, o.records, o.lag
    FROM observations AS o
    SEMI JOIN in_force AS f ON o.scan = f.scan AND o.unit = f.unit AND o.stage = f.stage
    WHERE o.sample = 1
),
totals AS (
    SELECT stage, "window", stream, sum(records)::BIGINT AS records
    FROM in_force_rows
    GROUP BY ALL
),
parts AS (
    SELECT stage, "window", stream, unnest(lag) AS part FROM in_force_rows
),
added_up AS (
    SELECT stage, "window", stream, part.bucket AS bucket, sum(part.records)::BIGINT AS records
    FROM parts
    GROUP BY ALL
),
histograms AS (
    SELECT
        stage, "window", stream,
        sum(records)::BIGINT AS measured,
        list({'bucket': bucket, 'records': records} ORDER BY bucket) AS buckets
    FROM added_up
    GROUP BY ALL
)
SELECT
    t.stage, t."window", t.stream, t.records,
    coalesce(h.measured, 0) AS measured,
    coalesce(h.buckets, []) AS buckets
FROM totals AS t
LEFT JOIN histograms AS h USING (stage, "window", stream)
WHERE t.records > 0
ORDER BY t.stage, t."window", t.stream
