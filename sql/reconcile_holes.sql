-- Which producers' sequence numbers have holes at the source, and in which windows?
-- One row for each producer and window in which numbers were passed over that no later window fills: records that the source itself lacks.
-- Jumps of more than 100 times the records are left out: a producer that began anew at a random number.
WITH producers AS (
    SELECT stream, origin, "window", records, seq_first, seq_last
    FROM seen
    WHERE stage = $source AND sample = 1 AND seq_first IS NOT NULL AND "window" <= $horizon
),
added_up AS (
    SELECT
        stream, origin, "window",
        max(seq_last) OVER so_far - min(seq_first) OVER so_far + 1 - sum(records) OVER so_far AS absent,
        sum(records) OVER (PARTITION BY stream, origin) AS total
    FROM producers
    WINDOW so_far AS (PARTITION BY stream, origin ORDER BY "window" ROWS UNBOUNDED PRECEDING)
),
-- Late records fill holes of earlier windows: only what stays absent to the end counts.
staying AS (
    SELECT
        *, min(absent) OVER (
            PARTITION BY stream, origin ORDER BY "window" ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS still_absent
    FROM added_up
),
stepped AS (
    SELECT
        stream, origin, "window", total,
        still_absent - lag(still_absent, 1, 0) OVER (
            PARTITION BY stream, origin ORDER BY "window"
        ) AS absent
    FROM staying
)
SELECT stream, origin, "window", absent::BIGINT AS absent
FROM stepped
WHERE absent > 0 AND absent <= 100 * total
ORDER BY stream, origin, "window"
