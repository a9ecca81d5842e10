-- What do the observations in force add up to?
-- One row for each stage, sample, window (microseconds), stream and origin; and one for each stage, sample, window, stream and
-- bucket of lag, where `origin` is null. All that is asked of observations but for sketches is asked of this.
-- id_sum is modulo 2^64; seq_first and seq_last are null where ids are opaque.
CREATE TEMP TABLE sums AS
SELECT
    stage, sample, epoch_us("window") AS "window", stream, origin, bucket,
    sum(records)::BIGINT AS records,
    ((sum(id_sum) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616)::UBIGINT AS id_sum,  -- of either sign
    bit_xor(id_xor) AS id_xor,
    epoch_us(min("first")) AS first_event, epoch_us(max("last")) AS last_event,
    min(seq_first) AS seq_first, max(seq_last) AS seq_last
FROM parts
GROUP BY stage, sample, "window", stream, origin, bucket
HAVING sum(records) > 0
