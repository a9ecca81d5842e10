-- The records that are asked about; one row each.
create or replace temp table batch (
    n bigint,  -- the row's number, given back with the answer
    over_long boolean,  -- the value was too long to be read
    arrival bigint,  -- microseconds, -1 is unknown
    value blob,
    id_given blob,  -- what a header, a key, a column or a constant holds
    time_given blob,
    stream_given blob,
    origin_given blob
);
