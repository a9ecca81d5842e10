-- What did each run publish of lags, be it restated since or not?
-- Grain: that of fact_lag; `current` says whether it is the current truth.
SELECT
    said.as_of,
    said.published_at,
    said.statement_key IN (SELECT statement_key FROM star_current) AS current,
    fact.* EXCLUDE (statement_key)
FROM star_statements AS said
INNER JOIN fact_lag_files AS fact USING (statement_key)
WHERE said.live
