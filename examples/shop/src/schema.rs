//! The shop's tables, as Diesel knows them.

use diesel::sql_types::SqlType;
use diesel_export::dataset::{ColumnKind, ColumnType};

/// The enum `order_state`, which Diesel does not know.
#[derive(SqlType)]
#[diesel(postgres_type(name = "order_state"))]
pub struct OrderState;

impl ColumnType for OrderState {
    fn kind() -> ColumnKind {
        ColumnKind::Data
    }

    fn compared() -> ColumnKind {
        ColumnKind::Typed("order_state".to_owned())
    }
}

diesel::table! {
    employees (name) {
        name -> Text,
        tenant -> Text,
        is_manager -> Bool,
        token_sha256 -> Binary,
    }
}

diesel::table! {
    customers (id) {
        id -> Uuid,
        tenant -> Text,
        name -> Text,
        email -> Nullable<Text>,
    }
}

diesel::table! {
    products (id) {
        id -> Uuid,
        tenant -> Text,
        name -> Text,
        price -> Numeric,
        properties -> Jsonb,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::OrderState;

    orders (id) {
        id -> Uuid,
        tenant -> Text,
        customer_id -> Nullable<Uuid>,
        state -> OrderState,
        ordered_at -> Timestamptz,
        note -> Nullable<Text>,
    }
}

diesel::table! {
    order_lines (order_id, number) {
        order_id -> Uuid,
        number -> Integer,
        product_id -> Nullable<Uuid>,
        quantity -> Integer,
    }
}

diesel::joinable!(orders -> customers (customer_id));
diesel::joinable!(order_lines -> orders (order_id));
diesel::joinable!(order_lines -> products (product_id));
diesel::allow_tables_to_appear_in_same_query!(customers, products, orders, order_lines);
