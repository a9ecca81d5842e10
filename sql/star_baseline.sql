-- What did the star hold of each window before a run spoke? What the newest older run said of it.
-- Grain: one row for each window; `rows` tells whether anything was said of it at all.
SELECT
    epoch_us("window") AS "window",
    statement_key,
    digest,
    balances + differences + lags AS "rows"
FROM star_statements
WHERE
    live
    AND pipeline = $pipeline
    AND "window" IS NOT NULL
    AND (epoch_us(as_of), run) < ($as_of, $run)
QUALIFY row_number() OVER (PARTITION BY "window" ORDER BY as_of DESC, run DESC) = 1
