-- What the texts of a record mean: macros for decode_records.sql. Their arguments are columns, since
-- a macro's argument is written out as often as it is used. What cannot be understood is NULL. Only
-- try_cast is safe: DuckDB may hoist an expression out of the case that guards it.

-- A pattern's one group, or whichever of two took part.
create or replace macro group_of(line, pattern) as
    coalesce(
        nullif(regexp_extract(line, pattern, 1), ''), nullif(regexp_extract(line, pattern, 2), '')
    );

-- One JSON value as text; NULL for null, objects and lists.
create or replace macro json_text(found) as
    case
        when left(found, 1) in ('{', '[') or found = 'null' then null
        when left(found, 1) = '"' then json_extract_string(found, '$')
        else found::varchar
    end;

create or replace macro big_endian(given) as try_cast('0x' || hex(given) as ubigint);

-- A given number: decimal digits; else, where bytes may be binary, 4 or 8 of them, big-endian.
create or replace macro number_of_given(given, text, is_binary) as
    case
        when regexp_full_match(text, '[0-9]+') then text
        when is_binary and octet_length(given) in (4, 8) then big_endian(given)::varchar
    end;

-- A given time: text, or 8 bytes, big-endian, which for any time of ours start with a zero.
create or replace macro time_of_given(given, text) as
    case
        when octet_length(given) = 8 and given[1:1] = '\x00'::blob then big_endian(given)::varchar
        else text
    end;

-- An id: 8 hex digits (a string), or an integer of 32 bits. A sequence number counts modulo 2^32.
create or replace macro id_of(text, is_number, encoding) as
    case
        when encoding in ('auto', 'hex') and not is_number
            then case when regexp_full_match(text, '[0-9A-Fa-f]{8}') then try_cast('0x' || text as bigint) end
        when encoding in ('auto', 'int', 'sequence') and regexp_full_match(text, '[0-9]{1,18}')
            then case
                when encoding = 'sequence' then try_cast(text as bigint) & 4294967295
                when try_cast(text as bigint) < 4294967296 then try_cast(text as bigint)
            end
    end;

-- An id given as bytes; its number, if it is one, was found before.
create or replace macro id_of_given(given, text, number, is_binary, encoding) as
    case
        when encoding = 'auto' and is_binary and octet_length(given) = 4
            then try_cast(big_endian(given) as bigint)
        when encoding in ('auto', 'hex') then id_of(text, false, encoding)
        else id_of(number, true, encoding)
    end;

-- Seconds, milli-, micro- or nanoseconds in microseconds; `auto` tells them apart by magnitude.
create or replace macro microseconds_of(number, unit) as
    case
        when unit = 's' or unit = 'auto' and abs(number) < 100000000000
            then try_cast(floor(number * 1000000) as bigint)
        when unit = 'ms' or unit = 'auto' and abs(number) < 100000000000000
            then try_cast(floor(number * 1000) as bigint)
        when unit = 'us' or unit = 'auto' and abs(number) < 100000000000000000
            then try_cast(floor(number) as bigint)
        else try_cast(floor(number)::hugeint // 1000 as bigint)
    end;

-- The parts of an ISO 8601 time, basic or extended, to microseconds. No offset is UTC; a leap second
-- is the second after it.
create or replace macro iso_parts(text) as
    regexp_extract(
        text,
        '^(\d{4})-?(\d\d)-?(\d\d)(?:[Tt ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?'
            || ' ?(?:[Zz]|UTC|([+-])(\d\d):?(\d\d)?)?$',
        ['year', 'month', 'day', 'hour', 'minute', 'second', 'fraction',
         'sign', 'ahead_hour', 'ahead_minute']
    );

create or replace macro count_of(digits) as coalesce(try_cast(digits as bigint), 0);

create or replace macro microseconds_of_parts(part) as
    case
        when part.hour <= '23' and part.minute <= '59' and part.second <= '60'
            and part.ahead_hour <= '23' and part.ahead_minute <= '59'
        then epoch_us(try_cast(part.year || '-' || part.month || '-' || part.day as date))
            + 1000000 * (3600 * count_of(part.hour) + 60 * count_of(part.minute)
                + count_of(part.second))
            - case when part.sign = '-' then -60000000 else 60000000 end
                * (60 * count_of(part.ahead_hour) + count_of(part.ahead_minute))
            + try_cast(rpad(left(part.fraction, 6), 6, '0') as bigint)
    end;

-- A time that no clock shows is no time: before 1970 (where -1 would mean unknown) or after 9999.
create or replace macro sane_time(microseconds) as
    case when microseconds >= 0 and microseconds < 253402300800000000 then microseconds end;

-- The name of a stream or an origin, at most names.LONGEST bytes, without a NUL.
create or replace macro name_of(text) as
    case
        when text <> '' and octet_length(encode(text)) <= 1024 and not contains(text, chr(0))
            then text
    end;
