-- What did the source itself see?
-- One row for each pair of the grid (window, stream), in that order, zero where nothing was seen; and how many pairs of
-- records of different producers, and of any, there are: equal ids among them are chance.
SELECT
    g."window", g.stream,
    coalesce(sum(s.records), 0)::BIGINT AS observed,
    coalesce((sum(s.records) * sum(s.records) - sum(s.records * s.records)) / 2, 0)::DOUBLE AS pairs_of_producers,
    coalesce(sum(s.records) * (sum(s.records) - 1) / 2, 0)::DOUBLE AS pairs
FROM grid AS g
LEFT JOIN seen AS s
    ON s.stage = $source AND s.sample = 1 AND s."window" = g."window" AND s.stream = g.stream
GROUP BY g."window", g.stream
ORDER BY g."window", g.stream
