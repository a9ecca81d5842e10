-- What did each stage see of each producer, in each window?
-- One row for each stage, sample, window (microseconds), stream and origin. Only observations of units in force count.
-- id_sum is modulo 2^64; seq_first and seq_last are null where ids are opaque.
CREATE TEMP TABLE seen AS
WITH in_force_observations AS (
    SELECT o.stage, o.sample, epoch_us(o."window") AS "window", o.stream, unnest(o.origins) AS part
    FROM observations AS o
    SEMI JOIN in_force AS f ON o.scan = f.scan AND o.unit = f.unit AND o.stage = f.stage
),
added_up AS (
    SELECT
        stage, sample, "window", stream, part.origin AS origin,
        sum(part.records) AS records,
        sum(part.id_sum) % 18446744073709551616 AS id_sum,  -- of either sign
        bit_xor(part.id_xor) AS id_xor,
        min(epoch_us(part."first")) AS first_event,
        max(epoch_us(part."last")) AS last_event,
        min(part.seq_first) AS seq_first,
        max(part.seq_last) AS seq_last
    FROM in_force_observations
    GROUP BY ALL
)
SELECT
    * REPLACE (
        records::BIGINT AS records,
        ((id_sum + 18446744073709551616) % 18446744073709551616)::UBIGINT AS id_sum
    )
FROM added_up
WHERE records > 0
