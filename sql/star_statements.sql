-- Which statements count? Those of publications that count; of those that were merged, the last.
-- Grain: one row for each row of dim_statement's files (dim_statement_files); `live` says whether
-- it counts, `known` whether its run was published at all, be it replaced since. The runs come
-- first, since what a run refers to was written before it.
WITH publications AS (
    SELECT
        run_key,
        any_value(pipeline) AS pipeline,
        any_value(run) AS run,
        any_value(as_of) AS as_of,
        any_value(published_at) AS published_at,
        bool_or(interval_start IS NOT NULL) AS narrowed,
        bool_or(live) AS live
    FROM star_runs
    GROUP BY run_key
)

SELECT
    said.*,
    run.pipeline,
    run.run,
    run.as_of,
    run.published_at,
    run.narrowed,
    run.run_key IS NOT NULL AS known,
    coalesce(run.live, false) AND row_number() OVER (
        PARTITION BY said.run_key, said."window"
        ORDER BY said.level DESC, said.statement_key DESC, said.file DESC
    ) = 1 AS live
FROM publications AS run
RIGHT JOIN dim_statement_files AS said USING (run_key)
