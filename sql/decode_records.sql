-- What are each record's id, event time, stream and origin, or is it malformed? One row for each of `batch`
-- (n, over_long, arrival, value, id_given, time_given, stream_given, origin_given).
with texts as (
    select *, case when $format <> 'none' then try(decode(value)) end as line
    from batch
), judged as (
    select *,
        over_long or value is not null and case $format
            when 'json' then not coalesce(
                case when json_valid(line) then json_type(line) = 'OBJECT' end, false)
            when 'text' then line is null or contains(line, chr(0))
            else false
        end as malformed
    from texts
), members as (
    select *, case when $format = 'json' and not malformed then json_extract(line, $pointers) end
        as found
    from judged
), said as (
    select *,
        found[$id_member] is not null and left(found[$id_member], 1) <> '"' as id_is_number,
        coalesce(json_text(found[$id_member]), group_of(line, $id_pattern)) as id_text,
        coalesce(json_text(found[$time_member]), group_of(line, $time_pattern),
            given_time(time_given)) as time_text,
        coalesce(json_text(found[$stream_member]), group_of(line, $stream_pattern),
            given_text(stream_given)) as stream_text,
        coalesce(json_text(found[$origin_member]), group_of(line, $origin_pattern),
            given_text(origin_given)) as origin_text
    from members
)
select n, malformed,
    coalesce(id_of(id_text, id_is_number, $id_encoding),
        id_of_given(id_given, $id_is_binary, $id_encoding)) as id,
    case $id_encoding
        when 'content' then value
        when 'opaque' then coalesce(encode(nullif(id_text, '')), nullif(id_given, ''::blob))
    end as id_bytes,
    case when $time_arrives then sane_time(arrival) else time_of(time_text, $time_unit) end
        as event_time,
    name_of(stream_text) as stream,
    name_of(origin_text) as origin
from said
