-- What are the producers' books in the scopes that do not balance?
-- One row for each wanted scope (edge, window, stream) and origin that either side has seen: r at the reference, k what is
-- due of it by the edge's contract, d at the stage; counts and digests are 0 and sequence bounds null where a side has nothing.
WITH wanted AS (
    SELECT w.row, w."window", w.stream, e.* EXCLUDE (edge)
    FROM wanted_lines AS w
    JOIN edges AS e ON e.edge = w.edge
),
reference_side AS (
    SELECT
        w.row, s.*,
        s.sample = w.sample
        AND (w.keep_streams IS NULL OR list_contains(w.keep_streams, s.stream))
        AND (w.keep_origins IS NULL OR list_contains(w.keep_origins, s.origin)) AS due
    FROM wanted AS w
    JOIN seen AS s
        ON s.stage = w.reference AND s.sample IN (1, w.sample) AND s."window" = w."window" AND s.stream = w.stream
),
sides AS (
    SELECT row, origin, 'r' AS side, records, id_sum, id_xor, seq_first, seq_last
    FROM reference_side WHERE sample = 1
    UNION ALL
    SELECT row, origin, 'k', records, id_sum, id_xor, seq_first, seq_last
    FROM reference_side WHERE due
    UNION ALL
    SELECT w.row, s.origin, 'd', s.records, s.id_sum, s.id_xor, s.seq_first, s.seq_last
    FROM wanted AS w
    JOIN seen AS s
        ON s.stage = w.stage AND s.sample = 1 AND s."window" = w."window" AND s.stream = w.stream
)
-- There is at most one row a side, so any aggregate takes it.
SELECT
    row, origin,
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
GROUP BY row, origin
ORDER BY row, origin
