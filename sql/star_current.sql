-- Which statements are the current truth? Of each window that of the newest run that speaks of it;
-- of the runs as a whole, that of the newest one that was not narrowed.
-- Grain: one row for each pipeline and window, and one with a null window for each pipeline. `merged`
-- says whether all statements of the day, of which there are `statements`, lie in one merged `part`.
SELECT
    statement_key,
    pipeline,
    run,
    "window",
    "day",
    as_of,
    part,
    count("window") OVER of_day AS statements,
    min(part) FILTER ("window" IS NOT NULL) OVER of_day
    = max(part) FILTER ("window" IS NOT NULL) OVER of_day
    AND min(level) FILTER ("window" IS NOT NULL) OVER of_day > 0 AS merged
FROM star_statements
WHERE live AND ("window" IS NOT NULL OR NOT narrowed)
WINDOW of_day AS (PARTITION BY "day")
QUALIFY row_number() OVER (PARTITION BY pipeline, "window" ORDER BY as_of DESC, run DESC) = 1
