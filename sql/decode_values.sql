-- What the texts of a record mean: macros that the decode questions share. A time is in microseconds
-- since the epoch, UTC; what cannot be understood is NULL. A JSON value keeps its quotes (a string)
-- or has none (a number), so that the id "12345678" (hex) and the id 12345678 differ.

-- A pattern's one group, or whichever of two took part; NULL for none.
create or replace temp macro group_of(line, pattern) as
    nullif(regexp_extract(line, pattern, 1) || regexp_extract(line, pattern, 2), '');

-- One JSON value as text; NULL for null, objects and arrays.
create or replace temp macro json_text(found) as
    case
        when found is null or left(found, 1) in ('{', '[') or found = 'null' then null
        when left(found, 1) = '"' then json_extract_string(found, '$')
        else found::varchar
    end;

-- Given bytes (a header, a key, a column) are text if they are UTF-8.
create or replace temp macro given_text(given) as try(decode(given));

create or replace temp macro big_endian(given) as ('0x' || hex(given))::ubigint::varchar;

-- A given number: decimal digits; else, where bytes may be binary, 4 or 8 of them, big-endian.
create or replace temp macro given_number(given, is_binary) as
    case
        when regexp_full_match(given_text(given), '[0-9]+') then given_text(given)
        when is_binary and octet_length(given) in (4, 8) then big_endian(given)
    end;

-- A given time: text, or 8 bytes, big-endian, which for any sane time start with a zero.
create or replace temp macro given_time(given) as
    case
        when octet_length(given) = 8 and hex(given)[1:2] = '00' then big_endian(given)
        else given_text(given)
    end;

-- An id: 8 hex digits (a string), or an integer of 32 bits. A sequence number counts modulo 2^32.
create or replace temp macro id_of(text, is_number, encoding) as
    case
        when encoding in ('auto', 'hex') and not is_number and regexp_full_match(text, '[0-9A-Fa-f]{8}')
            then ('0x' || text)::bigint
        when (encoding = 'int' or encoding = 'auto' and is_number)
            and regexp_full_match(text, '[0-9]{1,18}') and text::bigint < 4294967296
            then text::bigint
        when encoding = 'sequence' and regexp_full_match(text, '[0-9]{1,18}')
            then text::bigint & 4294967295
    end;

-- An id given as bytes: text, or where they may be binary, 4 bytes, big-endian.
create or replace temp macro id_of_given(given, is_binary, encoding) as
    case
        when encoding = 'auto' and is_binary and octet_length(given) = 4
            then big_endian(given)::bigint
        when encoding in ('auto', 'hex') then id_of(given_text(given), false, encoding)
        else id_of(given_number(given, is_binary), true, encoding)
    end;

-- A number of seconds, milli-, micro- or nanoseconds; `auto` tells them apart by their magnitude.
create or replace temp macro microseconds_of(number, unit) as
    case
        when unit = 's' or unit = 'auto' and abs(number) < 100000000000 then try_cast(floor(number * 1000000) as bigint)
        when unit = 'ms' or unit = 'auto' and abs(number) < 100000000000000 then try_cast(floor(number * 1000) as bigint)
        when unit = 'us' or unit = 'auto' and abs(number) < 100000000000000000 then try_cast(floor(number) as bigint)
        else try_cast(floor(number)::hugeint // 1000 as bigint)
    end;

-- The parts of an ISO 8601 time, basic or extended, to microseconds. No offset is UTC; a leap second
-- is the second after it.
create or replace temp macro microseconds_of_parts(part) as
    case
        when part.hour <= '23' and part.minute <= '59' and part.second <= '60'
            and part.ahead_hour <= '23' and part.ahead_minute <= '59'
        then epoch_us(try_cast(part.year || '-' || part.month || '-' || part.day as date))
            + (coalesce(try_cast(part.hour as bigint), 0) * 3600
                + coalesce(try_cast(part.minute as bigint), 0) * 60
                + coalesce(try_cast(part.second as bigint), 0)
                - case when part.sign = '-' then -60 else 60 end
                    * (coalesce(try_cast(part.ahead_hour as bigint), 0) * 60
                        + coalesce(try_cast(part.ahead_minute as bigint), 0))
            ) * 1000000
            + rpad(left(part.fraction, 6), 6, '0')::bigint
    end;

create or replace temp macro microseconds_of_iso(text) as
    microseconds_of_parts(regexp_extract(
        text,
        '^(\d{4})-?(\d\d)-?(\d\d)(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?'
            || ' ?(?:[Zz]|UTC|([+-])(\d\d):?(\d\d)?)?$',
        ['year', 'month', 'day', 'hour', 'minute', 'second', 'fraction',
         'sign', 'ahead_hour', 'ahead_minute']
    ));

-- A time that no clock shows is no time: before 1970 (where -1 would mean unknown) or after 9999.
create or replace temp macro sane_time(microseconds) as
    case when microseconds >= 0 and microseconds < 253402300800000000 then microseconds end;

-- A number with up to 18 digits before the point, or an ISO time.
create or replace temp macro time_of(text, unit) as
    sane_time(case
        when regexp_full_match(text, '-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?')
            then case when unit <> 'iso'
                then microseconds_of(try_cast(text as decimal(28, 9)), unit) end
        when unit in ('auto', 'iso') then microseconds_of_iso(text)
    end);

-- The name of a stream or an origin, at most names.LONGEST bytes, without a NUL.
create or replace temp macro name_of(text) as
    case
        when text <> '' and octet_length(encode(text)) <= 1024 and not contains(text, chr(0))
            then text
    end;
