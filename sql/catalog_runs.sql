-- Which runs were published, and what did each say as a whole?
-- Grain: one row for each pipeline and run.
SELECT * EXCLUDE (file, live)
FROM star_runs
WHERE live
