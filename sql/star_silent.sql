-- Which newer run says of a window what was said before it, without a statement of its own?
-- Of each of `windows` the next run that covers it, unless that one states it, or one before that.
-- Grain: one row for each window of which there is such a run.
WITH newer AS (
    SELECT
        run_key,
        run,
        (epoch_us(as_of), run) AS place,
        epoch_us(interval_start) AS "start",
        epoch_us(interval_end) AS "end"
    FROM star_runs
    WHERE live AND pipeline = $pipeline AND (epoch_us(as_of), run) > ($as_of, $run)
    WINDOW before AS (ORDER BY as_of, run ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    -- A whole run covers every window: nobody after the first one is next of any.
    QUALIFY count(*) FILTER (interval_start IS NULL) OVER before = 0
),

covering AS (
    SELECT
        windows."window",
        arg_min(newer.run_key, newer.place) AS run_key,
        arg_min(newer.run, newer.place) AS run,
        min(newer.place) AS place
    FROM windows
    INNER JOIN newer
        ON newer."start" IS NULL
        OR (windows."window" >= newer."start" AND windows."window" < newer."end")
    GROUP BY windows."window"
),

stated AS (
    SELECT epoch_us("window") AS "window", min((epoch_us(as_of), run)) AS place
    FROM star_statements
    WHERE live AND pipeline = $pipeline AND (epoch_us(as_of), run) > ($as_of, $run)
    GROUP BY ALL
)

SELECT covering."window", covering.run_key, covering.run
FROM covering
LEFT JOIN stated USING ("window")
WHERE stated.place IS NULL OR covering.place < stated.place
