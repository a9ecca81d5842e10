-- Which scopes balance?
-- One row for each edge and each pair of the grid (window, stream), in that order, also where neither stage saw anything.
-- due_met: what is due by contract is here and nothing else; all_met: all of the reference is here and nothing else.
WITH empty_scopes AS (
    SELECT e.edge, g."window", g.stream FROM edges AS e CROSS JOIN grid AS g
),
lines AS (
    SELECT
        edge, "window", stream, r, k, d,
        k = d AND k_sum = d_sum AND k_xor = d_xor AS due_met,
        r = d AND r_sum = d_sum AND r_xor = d_xor AS all_met
    FROM books
    UNION ALL
    SELECT edge, "window", stream, 0, 0, 0, true, true FROM empty_scopes
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
