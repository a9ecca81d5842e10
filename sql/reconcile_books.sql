-- What did each edge's two stages see of each producer, side by side?
-- One row for each edge, window, stream and origin that either side has seen: r at the reference, k what is due of it by
-- the edge's contract, d at the stage. Signed sums rather than joins: an absent side adds zero.
CREATE TEMP TABLE books AS
WITH passing AS (
    SELECT
        e.edge, s.* EXCLUDE (stage),
        s.sample = e.sample
        AND (e.keep_streams IS NULL OR list_contains(e.keep_streams, s.stream))
        AND (e.keep_origins IS NULL OR list_contains(e.keep_origins, s.origin)) AS due
    FROM edges AS e
    JOIN seen AS s ON s.stage = e.reference AND s.sample IN (1, e.sample)
),
sides AS (
    SELECT edge, "window", stream, origin, 'r' AS side, records, id_sum, id_xor, seq_first, seq_last
    FROM passing WHERE sample = 1
    UNION ALL
    SELECT edge, "window", stream, origin, 'k', records, id_sum, id_xor, seq_first, seq_last
    FROM passing WHERE due
    UNION ALL
    SELECT e.edge, s."window", s.stream, s.origin, 'd', s.records, s.id_sum, s.id_xor, s.seq_first, s.seq_last
    FROM edges AS e
    JOIN seen AS s ON s.stage = e.stage AND s.sample = 1
)
-- There is at most one row a side, so any aggregate takes it.
SELECT
    edge, "window", stream, origin,
    coalesce(max(records) FILTER (side = 'r'), 0) AS r,
    coalesce(max(id_sum) FILTER (side = 'r'), 0) AS r_sum,
    coalesce(max(id_xor) FILTER (side = 'r'), 0) AS r_xor,
    max(seq_first) FILTER (side = 'r') AS r_first,
    max(seq_last) FILTER (side = 'r') AS r_last,
    coalesce(max(records) FILTER (side = 'k'), 0) AS k,
    coalesce(max(id_sum) FILTER (side = 'k'), 0) AS k_sum,
    coalesce(max(id_xor) FILTER (side = 'k'), 0) AS k_xor,
    coalesce(max(records) FILTER (side = 'd'), 0) AS d,
    coalesce(max(id_sum) FILTER (side = 'd'), 0) AS d_sum,
    coalesce(max(id_xor) FILTER (side = 'd'), 0) AS d_xor,
    max(seq_first) FILTER (side = 'd') AS d_first,
    max(seq_last) FILTER (side = 'd') AS d_last
FROM sides
GROUP BY edge, "window", stream, origin
