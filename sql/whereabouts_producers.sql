-- Who produced anything that was ever observed? One row for each stream and origin.
WITH held AS (
    SELECT stream, unnest(origins) AS held
    FROM observations
    WHERE sample = 1
)

SELECT DISTINCT stream, held.origin AS origin
FROM held
