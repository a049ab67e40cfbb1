//! What can be exported.

use std::sync::Arc;

use diesel::dsl::auto_type;
use diesel::prelude::*;
use diesel_export::dataset::{Catalog, Dataset, Declaration, InvalidDeclaration};

use crate::schema::{customers, order_lines, orders, products};

/// The restriction by which each employee sees what is the tenant's.
pub(crate) const TENANT: &str = "tenant";

type Declared = Result<Arc<dyn Dataset>, InvalidDeclaration>;

/// Declares the datasets.
pub(crate) fn catalog() -> Result<Catalog, InvalidDeclaration> {
    Catalog::new(orders()?, [order_lines()?, products()?, customers()?])
}

#[auto_type]
fn orders_with_customers() -> _ {
    orders::table.left_join(customers::table)
}

fn orders() -> Declared {
    let mut declared = Declaration::new(
        ["orders", "order"],
        orders::id,
        || orders_with_customers().into_boxed(),
        || orders::table.into_boxed(),
    );
    let customer = &declared.refers(orders::customer_id, customers::id, || {
        customers::table.into_boxed()
    });
    declared
        .column("id", "ID", orders::id)
        .referenced_column(
            customer,
            "customer",
            "Customer",
            customers::name.nullable(),
            customers::name,
        )
        .column("state", "State", orders::state)
        .column("ordered_at", "Ordered At", orders::ordered_at)
        .column("note", "Note", orders::note);
    let states = ["open", "paid", "shipped", "cancelled"];
    declared
        .id_filter(
            "customer_id",
            "customers",
            "Only orders of this customer, or of nobody (`none`)",
            orders::customer_id,
        )
        .one_of_filter("state", "Only orders in this state", orders::state, &states)
        .range_filter("ordered_at", "Only orders of this time", orders::ordered_at)
        .restriction(TENANT, orders::tenant);
    declared.finish()
}

#[auto_type]
fn lines_with_orders_and_products() -> _ {
    order_lines::table
        .left_join(orders::table)
        .left_join(products::table)
}

fn order_lines() -> Declared {
    let mut declared = Declaration::new(
        ["order_lines", "order line"],
        order_lines::order_id,
        || lines_with_orders_and_products().into_boxed(),
        || order_lines::table.into_boxed(),
    );
    declared.key_column(order_lines::number);
    let order = &declared.refers(order_lines::order_id, orders::id, || {
        orders::table.into_boxed()
    });
    let product = &declared.refers(order_lines::product_id, products::id, || {
        products::table.into_boxed()
    });
    declared
        .column("order_id", "Order ID", order_lines::order_id)
        .column("number", "Number", order_lines::number)
        .referenced_column(
            product,
            "product",
            "Product",
            products::name.nullable(),
            products::name,
        )
        .column("quantity", "Quantity", order_lines::quantity)
        .id_filter(
            "product_id",
            "products",
            "Only lines with this product",
            order_lines::product_id,
        )
        .restriction(
            TENANT,
            order.column(orders::tenant.nullable(), orders::tenant),
        );
    declared.finish()
}

fn products() -> Declared {
    let mut declared = Declaration::new(
        ["products", "product"],
        products::id,
        || products::table.into_boxed(),
        || products::table.into_boxed(),
    );
    declared
        .column("id", "ID", products::id)
        .column("name", "Name", products::name)
        .as_label()
        .column("price", "Price", products::price)
        .column("properties", "Properties", products::properties)
        .text_filter(
            "name",
            "Only products whose name has this text in it",
            products::name,
        )
        .range_filter("price", "Only products of this price", products::price)
        .restriction(TENANT, products::tenant);
    declared.finish()
}

fn customers() -> Declared {
    let mut declared = Declaration::new(
        ["customers", "customer"],
        customers::id,
        || customers::table.into_boxed(),
        || customers::table.into_boxed(),
    );
    declared
        .column("id", "ID", customers::id)
        .column("name", "Name", customers::name)
        .as_label()
        .column("email", "Email", customers::email)
        .text_filter(
            "name",
            "Only customers whose name has this text in it",
            customers::name,
        )
        .text_filter(
            "email",
            "Only customers whose address has this text in it",
            customers::email,
        )
        .restriction(TENANT, customers::tenant);
    declared.finish()
}
