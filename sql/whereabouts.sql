-- In which observations may an id be?
-- One row for each stage, unit, window and stream whose sketch has something in all three of the
-- id's cells, and where the run of a producer's sequence numbers takes in the one that the id would
-- be (ids without sequence numbers: the sketch alone tells).
WITH sketched AS (
    SELECT o.stage, o.scan, o.unit, o."window", o.stream, o.origins
    FROM observations AS o
    SEMI JOIN in_force AS f ON f.stage = o.stage AND f.scan = o.scan AND f.unit = o.unit
    WHERE
        o.sample = 1
        AND epoch_us(o."window") >= $first AND epoch_us(o."window") < $last
        AND len(list_filter(o.cells, c -> c.band = 0 AND c.cell = $cell_0)) > 0
        AND len(list_filter(o.cells, c -> c.band = 1 AND c.cell = $cell_1)) > 0
        AND len(list_filter(o.cells, c -> c.band = 2 AND c.cell = $cell_2)) > 0
),

by_origin AS (
    SELECT stage, scan, unit, "window", stream, unnest(origins) AS held
    FROM sketched
)

SELECT DISTINCT b.stage, b.scan, b.unit, epoch_us(b."window") AS "window", b.stream
FROM by_origin AS b
JOIN producers AS p ON p.stream = b.stream AND p.origin = b.held.origin
WHERE b.held.seq_first IS NULL OR p.sequence BETWEEN b.held.seq_first AND b.held.seq_last
ORDER BY ALL
