-- What do the observations of units in force add up to?
-- One row for each stage, sample, window (microseconds), stream and origin; and one for each stage, sample, window, stream and
-- bucket of lag, where `origin` is null. All that is asked of observations but for sketches is asked of this.
-- id_sum is modulo 2^64; seq_first and seq_last are null where ids are opaque.
CREATE TEMP TABLE sums AS
WITH in_force_rows AS (
    -- The two lists side by side; the shorter one ends in nulls.
    SELECT
        o.stage, o.sample, epoch_us(o."window") AS "window", o.stream,
        unnest(o.origins) AS part, unnest(o.lag) AS late
    FROM observations AS o
    SEMI JOIN in_force AS f ON o.scan = f.scan AND o.unit = f.unit AND o.stage = f.stage
),
parts AS (
    SELECT
        stage, sample, "window", stream,
        part.origin AS origin, late.bucket AS bucket,
        part.records AS records, late.records AS late_records, part.id_sum AS id_sum, part.id_xor AS id_xor,
        epoch_us(part."first") AS first_event, epoch_us(part."last") AS last_event,
        part.seq_first AS seq_first, part.seq_last AS seq_last
    FROM in_force_rows
),
added_up AS (
    SELECT
        stage, sample, "window", stream, origin, bucket,
        if(grouping(origin) = 0, sum(records), sum(late_records)) AS records,
        sum(id_sum) % 18446744073709551616 AS id_sum,  -- of either sign
        bit_xor(id_xor) AS id_xor,
        min(first_event) AS first_event, max(last_event) AS last_event,
        min(seq_first) AS seq_first, max(seq_last) AS seq_last
    FROM parts
    GROUP BY GROUPING SETS (
        (stage, sample, "window", stream, origin),
        (stage, sample, "window", stream, bucket)
    )
)
SELECT
    * REPLACE (
        records::BIGINT AS records,
        ((id_sum + 18446744073709551616) % 18446744073709551616)::UBIGINT AS id_sum
    )
FROM added_up
WHERE records > 0
