-- What do the sketches of these scopes add up to?
-- One row for each wanted scope and cell that is not empty; sums modulo 2^64 as two's complement.
WITH in_force_cells AS (
    SELECT w.number, unnest(o.cells) AS cell
    FROM observations AS o
    SEMI JOIN in_force AS f ON o.scan = f.scan AND o.unit = f.unit AND o.stage = f.stage
    JOIN wanted AS w
        ON o.stage = w.stage AND o.sample = w.sample AND epoch_us(o."window") = w."window" AND o.stream = w.stream
),
added_up AS (
    SELECT
        number, cell.band AS band, cell.cell AS cell,
        sum(cell.records)::BIGINT AS records,
        (sum(cell.id_sum) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 AS id_sum,
        (sum(cell.id_check) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 AS id_check
    FROM in_force_cells
    GROUP BY ALL
)
SELECT number, band, cell, records, id_sum::UBIGINT AS id_sum, id_check::UBIGINT AS id_check
FROM added_up
ORDER BY number
