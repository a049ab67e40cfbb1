-- Fills every table with rows of all kinds: the number n in each type, NULL where it may be, so that most references lead somewhere.
set session_replication_role = replica;
do $$
declare
    relation record;
    names text;
    expressions text;
begin
    for relation in
        select c.oid, c.oid::regclass as name from pg_class c join pg_namespace s on s.oid = relnamespace
        where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind in ('r', 'p') and not relispartition
    loop
        select string_agg(quote_ident(attname), ', ' order by attnum),
            string_agg(case when attnotnull then value else format('case when n %% 3 > 0 then %s end', value) end, ', ' order by attnum)
        into names, expressions
        from (
            select attname, attnum, attnotnull, case
                when t.typtype = 'e' then format('(enum_range(null::%s))[1 + n %% cardinality(enum_range(null::%1$s))]', t.oid::regtype)
                when t.typcategory = 'A' and t.typelem::regtype::text in ('text', 'character varying') then 'array[''a,"b"'', null, n::text]'
                when t.typcategory = 'A' then format('''{}''::%s', t.oid::regtype)
                when t.typcategory = 'S' then format('left(''T'' || n || '', "é"'', %s)', case when atttypmod > 4 then atttypmod - 4 else 100 end)
                when t.typname = 'bool' then 'n % 2 = 0'
                when t.typname in ('int2', 'int4', 'int8') then 'n'
                when t.typname in ('numeric', 'float4', 'float8') then 'n / 8.0'
                when t.typname = 'uuid' then 'md5(n::text)::uuid'
                when t.typname in ('json', 'jsonb') then format('json_build_object(''n'', n, ''text'', ''a,"b"'')::%s', t.typname)
                when t.typname in ('date', 'timestamp', 'timestamptz') then format('(timestamp ''2026-01-01'' + n * interval ''7 hours'')::%s', t.typname)
                when t.typname = 'time' then 'time ''00:00'' + n * interval ''7 minutes'''
                when t.typname = 'interval' then 'n * interval ''7 hours'''
                when t.typname = 'bytea' then 'convert_to(''b'' || n, ''UTF8'')'
                when t.typname = 'inet' then '(''10.0.0.'' || n)::inet'
            end as value
            from pg_attribute join pg_type t on t.oid = atttypid
            where attrelid = relation.oid and attnum > 0 and not attisdropped and attgenerated = '') as columns;
        begin
            execute format('insert into %s (%s) overriding system value select %s from generate_series(1, 40) n on conflict do nothing',
                relation.name, names, expressions);
        exception when check_violation or not_null_violation then
            raise notice '% stays empty: %', relation.name, sqlerrm;
        end;
    end loop;
end $$;
set session_replication_role = default;
analyze;
