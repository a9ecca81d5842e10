-- What do the sketches of these scopes add up to?
-- One row for each wanted scope and cell that is not empty. Sums are modulo 2^64, as two halves: the sum of the upper 32 bits
-- and that of the lower ones, since sums of more than 64 bits take DuckDB ten times as long.
WITH in_force_cells AS (
    SELECT w.number, unnest(o.cells) AS cell
    FROM observations AS o
    SEMI JOIN in_force AS f ON o.scan = f.scan AND o.unit = f.unit AND o.stage = f.stage
    JOIN wanted AS w
        ON o.stage = w.stage AND o.sample = w.sample AND epoch_us(o."window") = w."window" AND o.stream = w.stream
)
SELECT
    number, cell.band AS band, cell.cell AS cell,
    sum(cell.records)::BIGINT AS records,
    sum(cell.id_sum >> 32)::BIGINT AS id_sum_upper, sum(cell.id_sum & 4294967295)::BIGINT AS id_sum_lower,
    sum(cell.id_check >> 32)::BIGINT AS id_check_upper, sum(cell.id_check & 4294967295)::BIGINT AS id_check_lower
FROM in_force_cells
GROUP BY ALL
