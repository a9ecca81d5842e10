-- What did the stages see of each producer in the scopes that do not balance?
-- One row for each stage, sample, wanted window and stream, and origin.
SELECT stage, sample, "window", stream, origin, records, id_sum, id_xor, seq_first, seq_last
FROM seen AS s
SEMI JOIN wanted AS w ON s."window" = w."window" AND s.stream = w.stream
ORDER BY origin
