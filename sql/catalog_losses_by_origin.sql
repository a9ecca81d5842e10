-- Whose records are lost, where and when?
-- Grain: one row for each day, pipeline, stage, against, stream and origin with losses.
SELECT
    "day",
    pipeline,
    stage,
    against,
    stream,
    origin,
    sum(copies)::BIGINT AS lost,
    count(DISTINCT "window") AS windows,
    min("window") AS first_window,
    max("window") AS last_window
FROM difference
WHERE kind = 'lost'
GROUP BY ALL
