-- What is the current truth: the books of each stage, window and stream?
-- Grain: one row for each pipeline, stage, against, window and stream.
SELECT said.as_of, fact.* EXCLUDE (statement_key)
FROM star_current AS said
INNER JOIN fact_balance_files AS fact USING (statement_key)
