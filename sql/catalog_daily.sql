-- What do the current books of each day add up to?
-- Grain: one row for each day, pipeline, stage, against and stream. Days that were merged are taken
-- from their sums, the others are added up here.
WITH windows AS MATERIALIZED (
    FROM star_current
    WHERE "window" IS NOT NULL
),

days AS (
    SELECT DISTINCT "day", part, statements
    FROM windows
    WHERE merged
),

summed AS (
    SELECT sums.* EXCLUDE (merge)
    FROM days
    INNER JOIN fact_day_files AS sums USING ("day", part, statements)
    WHERE sums.merge = (SELECT max(merge) FROM fact_day_files)
),

open AS (
    SELECT statement_key, "day"
    FROM windows
    WHERE NOT merged
),

added AS (
    SELECT
        "day",
        pipeline,
        stage,
        "after",
        against,
        stream,
        count(*) FILTER (verdict = 'pass') AS pass,
        count(*) FILTER (verdict = 'fail') AS fail,
        count(*) FILTER (verdict = 'pending') AS pending,
        count(*) FILTER (verdict = 'unknown') AS unknown,
        sum(observed)::BIGINT AS observed,
        sum(expected)::BIGINT AS expected,
        sum(delivered)::BIGINT AS delivered,
        sum(lost)::BIGINT AS lost,
        sum(in_flight)::BIGINT AS in_flight,
        sum(filtered)::BIGINT AS filtered,
        sum(unaudited)::BIGINT AS unaudited,
        sum(duplicates)::BIGINT AS duplicates,
        sum(unexpected)::BIGINT AS unexpected
    FROM open
    INNER JOIN fact_balance_files AS fact USING (statement_key, "day")
    GROUP BY ALL
)

SELECT * EXCLUDE (part, statements) FROM summed
UNION ALL BY NAME
SELECT * FROM added
