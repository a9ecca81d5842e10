-- What is the last word on each unit?
-- One row for each stage and key: that of the highest commit. A look at a whole stage that failed does not take back the
-- last one that succeeded, so of these rows the last of each status stays.
SELECT *
FROM units
QUALIFY row_number() OVER (
    PARTITION BY stage, key, CASE WHEN kind = 'stage' THEN status END
    ORDER BY "commit" DESC
) = 1
ORDER BY stage, "commit", path, partition, start, key
