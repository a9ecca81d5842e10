-- Which streams miss most on their way from the source?
-- Grain: one row for each pipeline, stage and stream, over all days; the worst first.
SELECT
    pipeline,
    stage,
    stream,
    sum(daily.expected)::BIGINT AS expected,
    sum(daily.delivered)::BIGINT AS delivered,
    sum(daily.lost)::BIGINT AS lost,
    sum(daily.unaudited)::BIGINT AS unaudited,
    sum(daily.duplicates)::BIGINT AS duplicates,
    sum(daily.unexpected)::BIGINT AS unexpected,
    sum(daily.delivered) / nullif(sum(expected) - sum(filtered), 0) AS completeness,
    sum(daily.fail)::BIGINT AS fail,
    sum(daily.unknown)::BIGINT AS unknown,
    max("day") FILTER (daily.lost > 0) AS last_loss
FROM daily
WHERE against = 'source'
GROUP BY pipeline, stage, stream
ORDER BY sum(daily.lost) DESC, sum(daily.duplicates) + sum(daily.unexpected) DESC, pipeline, stage, stream
