-- What did each run publish of balances, be it restated since or not?
-- Grain: that of fact_balance; `current` says whether it is the current truth.
SELECT
    said.as_of,
    said.published_at,
    said.statement_key IN (SELECT statement_key FROM star_current) AS current,
    fact.* EXCLUDE (statement_key)
FROM star_statements AS said
INNER JOIN fact_balance_files AS fact USING (statement_key)
WHERE said.live
