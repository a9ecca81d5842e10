-- What did each stage see of each producer, in each window?
-- One row for each stage, sample, window (microseconds), stream and origin.
CREATE TEMP VIEW seen AS
SELECT * EXCLUDE (bucket)
FROM sums
WHERE origin IS NOT NULL
