-- Rows for schema.sql: optional references, texts of every kind, more orders than are read at once.
set search_path = shop;
insert into customers (name, email, referrer_id)
    select 'Customer, ' || n, case n % 3 when 0 then null when 1 then '' else E'a\n"b"\t' || n end, case when n > 10 then n / 2 end
    from generate_series(1, 500) n;
insert into products select 'P-' || n, E'Product\\ ' || n, case when n % 5 > 0 then n * 1.5 end, nullif(n % 4, 0) from generate_series(1, 50) n;
insert into orders (customer_id, "order", placed_at, due, mood, is_paid, net, facts, tags)
    select 1 + n % 500, case when n % 7 > 0 then 'Order ' || n end, '2026-01-01 12:00+00'::timestamptz + n * interval '1 minute',
        case when n % 3 > 0 then date '2026-02-01' + n % 100 end, (array['happy', 'so-so', 'it''s "bad"', null])[1 + n % 4]::mood, n % 2 = 0,
        case when n % 10 > 0 then n / 4.0 end, jsonb_build_object('n', n, 'text', 'a,"b"'), array['x', null, 'y "z"', n::text]
    from generate_series(1, 12000) n;
insert into order_items
    select o.id, position, case when position = 2 then null else 'P-' || 1 + o.id % 50 end, position
    from (select id from orders where id % 4 = 0) o, generate_series(1, 3) position;
insert into "Größe, ""quoted"" and it's a table"
    select ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, nullif('a,' || n % 5, 'a,0'), n, 'long' from generate_series(1, 25000) n;
insert into events select n, date '2025-12-01' + n % 60, 'event ' || n from generate_series(1, 1000) n;
insert into secrets values (1, 'hidden');
insert into staff values (1, 'Ann', 10, '(1,2)'), (2, 'Bob', null, null);
insert into other.customers values ('a', 1), ('b', null);
insert into other."select" values ('plain'), (null), ('');
create index on "Größe, ""quoted"" and it's a table" (" -x") include ("Select", "a,b");
create index orders_export on orders (id) include (customer_id, "order", placed_at);
analyze;
