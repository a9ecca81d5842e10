-- Which scopes balance?
-- One row for each edge and each pair of the grid (window, stream), in that order, also where neither stage saw anything.
-- due_met: what is due by contract is here and nothing else; all_met: all of the reference is here and nothing else.
-- Signed sums and exclusive ors rather than joins: an absent side adds zero, and two equal digests leave zero.
WITH reference_side AS (
    SELECT
        e.edge, s."window", s.stream, s.origin, s.records, s.id_sum, s.id_xor,
        s.sample = 1 AS every,
        s.sample = e.sample
        AND (e.keep_streams IS NULL OR list_contains(e.keep_streams, s.stream))
        AND (e.keep_origins IS NULL OR list_contains(e.keep_origins, s.origin)) AS due
    FROM edges AS e
    JOIN seen AS s ON s.stage = e.reference AND s.sample IN (1, e.sample)
),
sides AS (
    SELECT
        edge, "window", stream, origin,
        if(every, records, 0) AS r,
        if(due, records, 0) AS k,
        0 AS d,
        if(due, id_sum, 0) AS due_sum, if(due, id_xor, 0) AS due_xor,
        if(every, id_sum, 0) AS all_sum, if(every, id_xor, 0) AS all_xor
    FROM reference_side
    UNION ALL
    SELECT e.edge, s."window", s.stream, s.origin, 0, 0, s.records, s.id_sum, s.id_xor, s.id_sum, s.id_xor
    FROM edges AS e
    JOIN seen AS s ON s.stage = e.stage AND s.sample = 1
),
producers AS (
    SELECT
        edge, "window", stream,
        sum(r)::BIGINT AS r, sum(k)::BIGINT AS k, sum(d)::BIGINT AS d,
        bit_xor(due_sum) = 0 AND bit_xor(due_xor) = 0 AS due_agrees,
        bit_xor(all_sum) = 0 AND bit_xor(all_xor) = 0 AS all_agrees
    FROM sides
    GROUP BY edge, "window", stream, origin
),
lines AS (
    SELECT edge, "window", stream, r, k, d, k = d AND due_agrees AS due_met, r = d AND all_agrees AS all_met
    FROM producers
    UNION ALL
    SELECT e.edge, g."window", g.stream, 0, 0, 0, true, true
    FROM edges AS e CROSS JOIN grid AS g
)
SELECT
    edge, "window", stream,
    sum(r)::BIGINT AS expected,
    sum(k)::BIGINT AS due,
    sum(d)::BIGINT AS observed,
    bool_and(due_met) AS due_met,
    bool_and(all_met) AS all_met
FROM lines
GROUP BY edge, "window", stream
ORDER BY edge, "window", stream
