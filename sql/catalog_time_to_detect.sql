-- How long after a window's end did a run first tell that it lost records?
-- Grain: one row for each pipeline, stage, against, window and stream of which any run told a loss.
-- `still_lost` is what the newest run says.
WITH told AS (
    SELECT
        said.pipeline,
        fact.stage,
        fact.against,
        said."window",
        said."day",
        fact.stream,
        min(said.as_of) AS told_at,
        arg_min(said.run, (said.as_of, said.run)) AS told_by,
        arg_min(fact.lost, (said.as_of, said.run)) AS lost_at_first,
        sum(fact.lost) FILTER (current.statement_key IS NOT NULL)::BIGINT AS still_lost
    FROM star_statements AS said
    INNER JOIN fact_balance_files AS fact USING (statement_key)
    LEFT JOIN star_current AS current USING (statement_key)
    WHERE said.live AND fact.lost > 0
    GROUP BY ALL
)

SELECT
    told.*,
    told_at - calendar.window_end AS time_to_detect,
    epoch(told_at - calendar.window_end) AS seconds_to_detect
FROM told
LEFT JOIN (
    SELECT DISTINCT ON (pipeline) pipeline, window_us FROM runs ORDER BY as_of DESC
) AS run USING (pipeline)
LEFT JOIN dim_window AS calendar
    ON told."window" = calendar."window" AND run.window_us = calendar.window_us
