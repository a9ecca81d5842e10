-- Where is each copy of some ids? One row for each record that was found, in order.
SELECT scope, origin, id, unit, "time", "position"
FROM read_parquet($files)
WHERE list_extract($traceable, scope + 1) AND NOT list_contains($failed, unit)
ORDER BY unit, "position", id
