-- What are the producers' books in the scopes that do not balance?
-- One row for each wanted scope (edge, window, stream) and origin that either side has seen.
SELECT w.row, b.* EXCLUDE (edge, "window", stream)
FROM wanted_lines AS w
JOIN books AS b ON b.edge = w.edge AND b."window" = w."window" AND b.stream = w.stream
ORDER BY w.row, b.origin
