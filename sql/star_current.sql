-- Which statements are the current truth? Of each window that of the newest run that speaks of it;
-- of the runs as a whole, that of the newest one that was not narrowed.
-- Grain: one row for each pipeline and window, and one with a null window for each pipeline.
SELECT statement_key, pipeline, run, "window", "day", as_of
FROM star_statements
WHERE live AND ("window" IS NOT NULL OR NOT narrowed)
QUALIFY row_number() OVER (PARTITION BY pipeline, "window" ORDER BY as_of DESC, run DESC) = 1
