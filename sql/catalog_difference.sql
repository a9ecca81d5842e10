-- What is the current truth: which records are lost, doubled or unexpected?
-- Grain: one row for each pipeline, stage, against, window, stream, origin and id.
SELECT said.as_of, fact.* EXCLUDE (statement_key)
FROM star_current AS said
INNER JOIN fact_difference_files AS fact USING (statement_key)
