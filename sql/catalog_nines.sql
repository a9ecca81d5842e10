-- How many nines has each stage, day by day? Never "infinity": where nothing is missing of n
-- records, at least log10(n / 3) nines are shown (rule of three).
-- Grain: one row for each day, pipeline, stage and against. `nines` is null where nothing is missing,
-- `at_least` where something is.
SELECT
    "day",
    pipeline,
    stage,
    against,
    expected - filtered AS due,
    expected - filtered - delivered AS missing,
    CASE WHEN due > 0 AND missing > 0 THEN greatest(0, -log10(missing / due)) END AS nines,
    CASE WHEN due > 0 AND missing = 0 THEN greatest(0, log10(due / 3)) END AS at_least
FROM completeness_by_day
