-- How many copies of each id do two stages have? One row for each scope x origin x id: every one
-- that differs, or, where `differing_only` is false, every one that was found.
WITH believed AS (
    SELECT scope, origin, id, sign
    FROM read_parquet($files)
    WHERE list_extract($traceable, scope + 1) AND NOT list_contains($failed, unit)
)
SELECT
    scope,
    origin,
    id,
    count(*) FILTER (WHERE sign > 0) AS r,
    count(*) FILTER (WHERE sign < 0) AS d
FROM believed
GROUP BY scope, origin, id
HAVING NOT $differing_only OR sum(sign) <> 0
