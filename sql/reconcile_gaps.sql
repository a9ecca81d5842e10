-- Which producers, streams or the whole source stopped for some windows, and how surprising is that?
-- One row for each stretch of silence that ends a producer's, stream's or the source's record or that is strong: longer than
-- any before it, after at least two active windows, and at their rate at least $surprise records would have come.
-- A stretch ends with the last window ($horizon at most) in which anything at all was produced. A producer whose sequence numbers
-- go on without a hole produced nothing, so its silence loses nothing.
WITH producers AS (
    SELECT stream, origin, "window", records, seq_first, seq_last, last_event
    FROM seen
    -- A clock that runs far ahead does not show that time has passed.
    WHERE stage = $source AND sample = 1 AND "window" <= $latest
),
active AS (
    SELECT 'producer' AS level, * FROM producers
    UNION ALL
    SELECT 'stream', stream, NULL, "window", sum(records), NULL, NULL, max(last_event)
    FROM producers GROUP BY stream, "window"
    UNION ALL
    SELECT 'source', NULL, NULL, "window", sum(records), NULL, NULL, max(last_event)
    FROM producers GROUP BY "window"
),
stepped AS (
    SELECT
        level, stream, origin, "window", last_event,
        lead("window") OVER along AS next_window,
        lead(seq_first) OVER along = seq_last + 1
        -- Or some records came late: then as many as the numbers since, and not from a beginning anew further down.
        OR lead(seq_first) OVER along BETWEEN seq_first - lead(records) OVER along AND seq_last
        AND lead(seq_last) OVER along BETWEEN seq_last + 1 AND seq_last + lead(records) OVER along AS continues,
        sum(records) OVER so_far AS records,
        count(*) OVER so_far AS active_windows,
        min("window") OVER so_far AS first_window,
        max("window") OVER () AS last_window,
        "window" - lag("window") OVER along - $window AS gap_before
    FROM active
    WINDOW
        along AS (PARTITION BY level, stream, origin ORDER BY "window"),
        so_far AS (PARTITION BY level, stream, origin ORDER BY "window" ROWS UNBOUNDED PRECEDING)
),
stretches AS (
    SELECT
        level, stream, origin, "window", last_event, records, active_windows, continues,
        next_window IS NULL AS trailing,
        least(coalesce(next_window - $window, last_window), $horizon) AS until,
        until - "window" AS silence,
        coalesce(max(gap_before) OVER (
            PARTITION BY level, stream, origin ORDER BY "window" ROWS UNBOUNDED PRECEDING
        ), 0) AS longest_before,
        records::DOUBLE * $window / ("window" - first_window + $window) AS rate
    FROM stepped
),
judged AS (
    SELECT
        *,
        active_windows >= 2
        AND silence > longest_before
        AND rate * (silence / $window) >= $surprise AS strong
    FROM stretches
    WHERE silence > 0
),
-- A stream or the source goes on if all its producers that pause there go on.
gone_on AS (
    SELECT j.level, j.stream, j."window", bool_and(coalesce(p.continues, false)) AS continues
    FROM judged AS j
    JOIN judged AS p
        ON p.level = 'producer' AND p."window" <= j."window" AND p.until >= j.until
        AND (j.level = 'source' OR p.stream = j.stream)
    WHERE j.level <> 'producer' AND j.strong
    GROUP BY ALL
)
SELECT
    j.level, j.stream, j.origin, j."window" + $window AS since, j.until, j.last_event, j.rate, j.trailing, j.strong
FROM judged AS j
LEFT JOIN gone_on AS g
    ON g.level = j.level AND g."window" = j."window" AND g.stream IS NOT DISTINCT FROM j.stream
WHERE
    (j.strong OR (j.trailing AND j.level = 'producer'))
    AND NOT coalesce(j.continues, g.continues, false)
ORDER BY j.level, j.stream, j.origin, j."window"
