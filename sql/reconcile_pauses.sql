-- Did any producer stop for a window, up to the last one in which anything at all was produced?
-- One row: whether. Where none did, no stream and not the source did.
WITH active AS (
    SELECT stream, origin, "window"
    FROM seen
    WHERE stage = $source AND sample = 1 AND "window" <= $latest
),
producers AS (
    SELECT count(*) AS windows, min("window") AS first_window
    FROM active
    GROUP BY stream, origin
)
SELECT coalesce(bool_or(windows * $window < (SELECT max("window") FROM active) - first_window + $window), false)
FROM producers
