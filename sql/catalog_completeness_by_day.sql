-- How complete was each stage on each day, against the source and against the stage before?
-- Grain: one row for each day, pipeline, stage and against. Shares are those of the sums.
SELECT
    "day",
    pipeline,
    stage,
    against,
    sum(expected)::BIGINT AS expected,
    sum(delivered)::BIGINT AS delivered,
    sum(lost)::BIGINT AS lost,
    sum(in_flight)::BIGINT AS in_flight,
    sum(filtered)::BIGINT AS filtered,
    sum(unaudited)::BIGINT AS unaudited,
    sum(duplicates)::BIGINT AS duplicates,
    sum(unexpected)::BIGINT AS unexpected,
    sum(delivered) / nullif(sum(expected) - sum(filtered), 0) AS completeness,
    sum(pass)::BIGINT AS pass,
    sum(fail)::BIGINT AS fail,
    sum(pending)::BIGINT AS pending,
    sum(unknown)::BIGINT AS unknown
FROM daily
WHERE against IS NOT NULL
GROUP BY ALL
