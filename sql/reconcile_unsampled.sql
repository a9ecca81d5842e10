-- In which scopes of sampled edges was the reference scanned without this sample?
-- One row for each such edge, window and stream: a unit has an observation of all ids, but none of the sampled ones.
WITH in_force_rows AS (
    SELECT DISTINCT o.scan, o.unit, o.stage, o.sample, epoch_us(o."window") AS "window", o.stream
    FROM observations AS o
    SEMI JOIN in_force AS f ON o.scan = f.scan AND o.unit = f.unit AND o.stage = f.stage
)
SELECT DISTINCT e.edge, a."window", a.stream
FROM edges AS e
JOIN in_force_rows AS a ON a.stage = e.reference AND a.sample = 1
ANTI JOIN in_force_rows AS k
    ON k.stage = e.reference AND k.sample = e.sample AND k.scan = a.scan AND k.unit = a.unit
    AND k."window" = a."window" AND k.stream = a.stream
WHERE e.sample > 1
