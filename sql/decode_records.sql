-- What are each record's id, event time, stream and origin, or is it malformed? One row for each of
-- `batch`, read as the variable `spec` says. Prepared once and executed for every batch, since to
-- plan it takes longer than to answer for some thousand records.
prepare answer as
with decoded as (
    select *,
        case when getvariable('spec').format <> 'none' then try(decode(value)) end as line,
        try(decode(id_given)) as id_given_text,
        try(decode(time_given)) as time_given_text,
        try(decode(stream_given)) as stream_given_text,
        try(decode(origin_given)) as origin_given_text
    from batch
), judged as (
    select *,
        over_long or value is not null and case getvariable('spec').format
            when 'json' then not coalesce(
                case when json_valid(line) then json_type(line) = 'OBJECT' end, false)
            when 'text' then line is null or contains(line, chr(0))
            else false
        end as malformed
    from decoded
), opened as (
    select *, case
            when getvariable('spec').format in ('json', 'members') and not malformed
                then json_extract(line, getvariable('spec').pointers)
        end as members
    from judged
), found as (
    select *,
        members[getvariable('spec').id_member] as id_json,
        members[getvariable('spec').time_member] as time_json,
        members[getvariable('spec').stream_member] as stream_json,
        members[getvariable('spec').origin_member] as origin_json
    from opened
), said as (
    select n, malformed, arrival, value, id_given, id_given_text,
        left(id_json, 1) <> '"' as id_is_number,
        case when getvariable('spec').id_pattern is null then json_text(id_json) else group_of(line, getvariable('spec').id_pattern) end
            as id_text,
        number_of_given(id_given, id_given_text, getvariable('spec').id_is_binary) as id_number,
        case
            when getvariable('spec').time_pattern is not null then group_of(line, getvariable('spec').time_pattern)
            when getvariable('spec').time_member is not null then json_text(time_json)
            else time_of_given(time_given, time_given_text)
        end as time_text,
        case
            when getvariable('spec').stream_pattern is not null then group_of(line, getvariable('spec').stream_pattern)
            when getvariable('spec').stream_member is not null then json_text(stream_json)
            else stream_given_text
        end as stream_text,
        case
            when getvariable('spec').origin_pattern is not null then group_of(line, getvariable('spec').origin_pattern)
            when getvariable('spec').origin_member is not null then json_text(origin_json)
            else origin_given_text
        end as origin_text
    from found
), counted as (
    select *,
        case
            when getvariable('spec').time_unit <> 'iso'
                and regexp_full_match(time_text, '-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?')
                then try_cast(time_text as decimal(28, 9))
        end as time_number,
        case
            when getvariable('spec').time_unit in ('auto', 'iso')
                and not regexp_full_match(time_text, '-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?')
                then iso_parts(time_text)
        end as time_parts
    from said
), timed as (
    select *,
        case
            when getvariable('spec').time_arrives then arrival
            when time_number is not null then microseconds_of(time_number, getvariable('spec').time_unit)
            else microseconds_of_parts(time_parts)
        end as microseconds
    from counted
)
select n, malformed,
    case
        when id_text is not null then id_of(id_text, coalesce(id_is_number, false), getvariable('spec').id_encoding)
        else id_of_given(id_given, id_given_text, id_number, getvariable('spec').id_is_binary, getvariable('spec').id_encoding)
    end as id,
    case getvariable('spec').id_encoding
        when 'content' then value
        when 'opaque' then coalesce(encode(nullif(id_text, '')), nullif(id_given, ''::blob))
    end as id_bytes,
    sane_time(microseconds) as event_time,
    name_of(stream_text) as stream,
    name_of(origin_text) as origin
from timed
