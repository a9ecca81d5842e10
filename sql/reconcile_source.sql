-- In which windows and streams was anything seen at any stage, and what did the source itself see there?
-- One row for each such window (microseconds) and stream; and how many pairs of the source's records of different producers,
-- and of any, there are: equal ids among them are chance.
SELECT
    "window", stream,
    sum(here)::BIGINT AS observed,
    ((sum(here) * sum(here) - sum(here::HUGEINT * here)) / 2)::DOUBLE AS pairs_of_producers,
    (sum(here) * (sum(here) - 1) / 2)::DOUBLE AS pairs
FROM (SELECT "window", stream, if(stage = $source AND sample = 1, records, 0) AS here FROM seen)
GROUP BY "window", stream
