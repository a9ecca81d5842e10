-- What do the current rows of a day add up to?
-- Grain: one row for each pipeline, stage, against and stream of current_balance.
SELECT
    $day::DATE AS "day",
    $part AS merge,
    $part AS part,
    $statements AS statements,
    pipeline,
    stage,
    "after",
    against,
    stream,
    count(*) FILTER (verdict = 'pass') AS pass,
    count(*) FILTER (verdict = 'fail') AS fail,
    count(*) FILTER (verdict = 'pending') AS pending,
    count(*) FILTER (verdict = 'unknown') AS unknown,
    sum(observed) AS observed,
    sum(expected) AS expected,
    sum(delivered) AS delivered,
    sum(lost) AS lost,
    sum(in_flight) AS in_flight,
    sum(filtered) AS filtered,
    sum(unaudited) AS unaudited,
    sum(duplicates) AS duplicates,
    sum(unexpected) AS unexpected
FROM current_balance
GROUP BY ALL
ORDER BY pipeline, stage, against, stream
