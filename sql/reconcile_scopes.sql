-- Which scopes balance?
-- One row for each edge, window (microseconds) and stream of which either stage saw anything.
-- due_met: what is due by contract is here and nothing else; all_met: all of the reference is here and nothing else.
-- Exclusive ors of both sides rather than joins: an absent side adds zero, and two equal digests leave zero.
WITH sides AS (
    SELECT
        r.edge, s."window", s.stream, s.origin, s.records, s.id_sum, s.id_xor, r.here, r.every,
        r.due
        AND (r.keep_streams IS NULL OR list_contains(r.keep_streams, s.stream))
        AND (r.keep_origins IS NULL OR list_contains(r.keep_origins, s.origin)) AS due
    FROM seen AS s
    JOIN roles AS r ON r.stage = s.stage AND r.sample = s.sample
),
producers AS (
    SELECT
        edge, "window", stream,
        sum(if(every, records, 0)) AS r,
        sum(if(due, records, 0)) AS k,
        sum(if(here, records, 0)) AS d,
        bit_xor(if(due OR here, id_sum, 0)) = 0 AND bit_xor(if(due OR here, id_xor, 0)) = 0 AS due_agrees,
        bit_xor(if(every OR here, id_sum, 0)) = 0 AND bit_xor(if(every OR here, id_xor, 0)) = 0 AS all_agrees
    FROM sides
    GROUP BY edge, "window", stream, origin
)
SELECT
    edge, "window", stream,
    sum(r)::BIGINT AS expected,
    sum(k)::BIGINT AS due,
    sum(d)::BIGINT AS observed,
    bool_and(k = d AND due_agrees) AS due_met,
    bool_and(r = d AND all_agrees) AS all_met
FROM producers
GROUP BY edge, "window", stream
