-- Which publications of runs count? Of each run the last one.
-- Grain: one row for each row of dim_run's files (dim_run_files); `live` says whether it counts.
SELECT
    *,
    row_number() OVER (
        PARTITION BY pipeline, run
        ORDER BY published_at DESC, run_key DESC, file DESC
    ) = 1 AS live
FROM dim_run_files
