-- In which scopes may an id be?
-- One row for each stage, window and stream in which one unit's sketch has something in all three of the id's cells.
SELECT DISTINCT o.stage, epoch_us(o."window") AS "window", o.stream
FROM observations AS o
SEMI JOIN in_force AS f ON f.stage = o.stage AND f.scan = o.scan AND f.unit = o.unit
WHERE
    o.sample = 1
    AND epoch_us(o."window") >= $first AND epoch_us(o."window") < $last
    AND len(list_filter(o.cells, c -> c.band = 0 AND c.cell = $cell_0)) > 0
    AND len(list_filter(o.cells, c -> c.band = 1 AND c.cell = $cell_1)) > 0
    AND len(list_filter(o.cells, c -> c.band = 2 AND c.cell = $cell_2)) > 0
ORDER BY ALL
