-- Which producers' sequence numbers have holes at the source, and in which windows?
-- One row for each producer and window in which numbers were passed over that no later window fills: records that the source itself lacks.
-- A producer may begin anew at another number. Where that is lower, its numbers are followed anew from the next window on; a window with
-- numbers far below all before it tells nothing. Where it is higher than what can have been produced meanwhile, nothing is absent.
WITH followed AS (
    SELECT
        stream, origin, "window", records, seq_first, seq_last,
        lag("window") OVER along AS window_before,
        lag(records) OVER along AS records_before,
        lag(seq_last) OVER along AS last_before,
        lead(seq_last) OVER along AS last_after
    FROM seen
    WHERE stage = $source AND sample = 1 AND seq_first IS NOT NULL AND "window" <= $latest
    WINDOW along AS (PARTITION BY stream, origin ORDER BY "window")
),
producers AS (
    SELECT
        *,
        records + coalesce(records_before, 0) AS recent,
        coalesce(("window" - window_before) // $window, 1) AS windows_passed,
        -- For two windows: a few records that come very late are no beginning.
        count(*) FILTER (greatest(seq_last, last_after) + records_before < last_before AND last_after IS NOT NULL) OVER (
            PARTITION BY stream, origin ORDER BY "window" ROWS UNBOUNDED PRECEDING
        ) AS beginning
    FROM followed
),
added_up AS (
    SELECT
        *,
        min(seq_first) OVER so_far AS lowest,
        max(seq_last) OVER so_far AS highest,
        highest - lowest + 1 - sum(records) OVER so_far AS absent
    FROM producers
    WINDOW so_far AS (PARTITION BY stream, origin, beginning ORDER BY "window" ROWS UNBOUNDED PRECEDING)
),
compared AS (
    SELECT
        *,
        coalesce(seq_first + records < lag(lowest) OVER along, false) AS far_below,
        -- What the next window may still fill of the last one's numbers: as many as it filled of those before.
        CASE WHEN lead("window") OVER along IS NULL AND "window" > $horizon
            THEN least(greatest(lag(highest) OVER along - seq_first, 0), records)
        END AS under_way
    FROM added_up
    WINDOW along AS (PARTITION BY stream, origin, beginning ORDER BY "window")
),
-- Late records fill holes of earlier windows: only what stays absent to the end counts.
staying AS (
    SELECT
        * EXCLUDE (absent),
        min(absent) OVER onwards AS least_absent,
        -- Less than none: some are there twice.
        greatest(least_absent - coalesce(max(under_way) OVER onwards, 0), least(least_absent, 0)) AS still_absent
    FROM compared
    WINDOW onwards AS (
        PARTITION BY stream, origin, beginning ORDER BY "window" ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    )
),
stepped AS (
    SELECT
        *,
        still_absent - lag(still_absent, 1, 0) OVER (
            PARTITION BY stream, origin, beginning ORDER BY "window"
        ) AS absent
    FROM staying
)
SELECT stream, origin, "window", absent::BIGINT AS absent
FROM stepped
WHERE
    absent > 0
    AND absent <= least(greatest(10_000, 20 * recent * windows_passed), 2_147_483_647)
    AND NOT far_below
    AND "window" <= $horizon
ORDER BY stream, origin, "window"
