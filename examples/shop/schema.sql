-- The shop's tables. Each row is a tenant's; an order line is that of its order.
create type order_state as enum ('open', 'paid', 'shipped', 'cancelled');

create table employees (
    name text primary key,
    tenant text not null,
    is_manager boolean not null,
    token_sha256 bytea not null unique
);

create table customers (
    id uuid primary key,
    tenant text not null,
    name text not null,
    email text
);

create table products (
    id uuid primary key,
    tenant text not null,
    name text not null,
    price numeric(10, 2) not null,
    properties jsonb not null
);

create table orders (
    id uuid primary key,
    tenant text not null,
    customer_id uuid references customers,
    state order_state not null,
    ordered_at timestamptz not null,
    note text
);

create table order_lines (
    order_id uuid not null references orders,
    number integer not null,
    product_id uuid references products,
    quantity integer not null,
    primary key (order_id, number)
);
