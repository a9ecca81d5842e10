-- Did all producers at the source go on from window to window, and their sequence numbers as well?
-- One row: whether any stopped for a window, up to the last one in which anything at all was produced (where none did, no stream
-- and not the source did); and whether any window's numbers are not a run that follows on the window's before.
WITH producers AS (
    SELECT
        "window", records, seq_first, seq_last,
        lead("window") OVER along AS next_window,
        lead(seq_first) OVER along AS next_first,
        max("window") OVER () AS last_window
    FROM seen
    WHERE stage = $source AND sample = 1 AND "window" <= $latest
    WINDOW along AS (PARTITION BY stream, origin ORDER BY "window")
)
SELECT
    coalesce(bool_or(coalesce(next_window, last_window + $window) <> "window" + $window), false) AS paused,
    coalesce(bool_or(seq_last - seq_first + 1 <> records OR next_first <> seq_last + 1), false) AS uneven
FROM producers
