-- What is the current truth: how late records came?
-- Grain: one row for each pipeline, stage, window and stream.
SELECT said.as_of, fact.* EXCLUDE (statement_key)
FROM star_current AS said
INNER JOIN fact_lag_files AS fact USING (statement_key)
