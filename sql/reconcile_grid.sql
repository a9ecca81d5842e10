-- Which windows and streams are there to be judged?
-- One row for each window seen at any stage, or added because nothing was seen in it, and each stream seen at any stage.
-- Garbage in a stream's place could make millions of streams: beyond $limit pairs only those that were seen.
CREATE TEMP TABLE grid AS
WITH pairs AS (SELECT DISTINCT "window", stream FROM seen),
windows AS (SELECT DISTINCT "window" FROM pairs UNION SELECT "window" FROM added_windows),
streams AS (SELECT DISTINCT stream FROM pairs),
size AS (SELECT (SELECT count(*) FROM windows) * (SELECT count(*) FROM streams) AS pairs)
SELECT w."window", s.stream
FROM windows AS w CROSS JOIN streams AS s
WHERE (SELECT pairs FROM size) <= $limit
UNION ALL
SELECT "window", stream FROM pairs WHERE (SELECT pairs FROM size) > $limit
