-- How are records to be read? Kept as a variable, for the questions of this connection.
set variable spec = {
    format: $format,  -- json, text; members: known to be JSON; none: the value is not looked at
    pointers: $pointers::varchar[],
    id_member: $id_member::bigint,
    time_member: $time_member::bigint,
    stream_member: $stream_member::bigint,
    origin_member: $origin_member::bigint,
    id_pattern: $id_pattern::varchar,
    time_pattern: $time_pattern::varchar,
    stream_pattern: $stream_pattern::varchar,
    origin_pattern: $origin_pattern::varchar,
    id_encoding: $id_encoding,
    id_is_binary: $id_is_binary,
    time_unit: $time_unit,
    time_arrives: $time_arrives
};
