-- What is the current truth: how many flawed records each stage had?
-- Grain: one row for each pipeline, stage and kind.
SELECT said.as_of, fact.* EXCLUDE (statement_key)
FROM star_current AS said
INNER JOIN fact_flaw_files AS fact USING (statement_key)
