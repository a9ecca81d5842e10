-- What did a later run change of a window that had settled, and by how much?
-- Grain: one row for each run, pipeline, stage, against, window and stream whose figures changed.
-- What is not counted: a window that was pending and settles, and one of which nothing was ever said.
WITH pairs AS (
    SELECT
        statement_key,
        lag(statement_key) OVER earlier AS before_key,
        lag(run) OVER earlier AS run_before,
        run,
        as_of
    FROM star_statements
    WHERE live AND "window" IS NOT NULL AND unsettled = 0
    WINDOW earlier AS (PARTITION BY pipeline, "window" ORDER BY as_of, run)
    QUALIFY bool_or(balances > 0) OVER (earlier ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),

entries AS (
    SELECT statement_key, statement_key AS entry_key, 1 AS sign FROM pairs
    UNION ALL
    SELECT statement_key, before_key AS entry_key, -1 AS sign FROM pairs
),

changes AS (
    SELECT
        entries.statement_key,
        fact.pipeline,
        fact.stage,
        fact.against,
        fact."window",
        fact."day",
        fact.stream,
        sum(sign * observed)::BIGINT AS observed,
        sum(sign * expected)::BIGINT AS expected,
        sum(sign * delivered)::BIGINT AS delivered,
        sum(sign * lost)::BIGINT AS lost,
        sum(sign * unaudited)::BIGINT AS unaudited,
        sum(sign * duplicates)::BIGINT AS duplicates,
        sum(sign * unexpected)::BIGINT AS unexpected,
        any_value(verdict) FILTER (sign = -1) AS verdict_before,
        any_value(verdict) FILTER (sign = 1) AS verdict
    FROM entries
    INNER JOIN fact_balance_files AS fact ON entries.entry_key = fact.statement_key
    GROUP BY ALL
)

SELECT
    pairs.run,
    pairs.as_of,
    pairs.run_before,
    changes.* EXCLUDE (statement_key)
FROM changes
INNER JOIN pairs USING (statement_key)
WHERE
    verdict IS DISTINCT FROM verdict_before
    OR observed != 0
    OR coalesce(expected, 0) != 0
    OR coalesce(delivered, 0) != 0
    OR lost != 0
    OR unaudited != 0
    OR duplicates != 0
    OR unexpected != 0
