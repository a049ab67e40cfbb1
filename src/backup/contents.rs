//! What a database holds.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::{Error, FORMAT, Index, Manifest, TABLES, Table};
use crate::db::{Database, tables};

/// Everything in the server that a backup does not hold, but for columns. What belongs to an extension comes with it.
const OTHERS: &str = "
    with ours (oid) as (
        select to_regclass(name)::oid
        from unnest('{locations, assets, users, tasks, __diesel_schema_migrations}'::text[]) _ (name)
    ), schemas as (
        select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
    ), objects (class, oid, name) as (
        select 'pg_class'::regclass, c.oid, case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
                when 'S' then 'sequence' when 'c' then 'type' else 'table' end || ' ' || c.oid::regclass
            from pg_class c join schemas on schemas.oid = c.relnamespace
            where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c') and c.oid not in (select oid from ours where oid is not null)
            and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                and d.refclassid = 'pg_class'::regclass and d.deptype in ('i', 'a'))
        union all
        select 'pg_proc'::regclass, p.oid, 'function ' || p.oid::regprocedure
            from pg_proc p join schemas on schemas.oid = p.pronamespace
        union all
        select 'pg_type'::regclass, t.oid, 'type ' || t.oid::regtype
            from pg_type t join schemas on schemas.oid = t.typnamespace where t.typtype in ('d', 'e', 'r')
        union all
        select 'pg_trigger'::regclass, oid, 'trigger ' || tgname from pg_trigger where not tgisinternal
        union all
        select 'pg_policy'::regclass, oid, 'policy ' || polname from pg_policy
        union all
        select 'pg_constraint'::regclass, oid, 'constraint ' || conname from pg_constraint
            where contype in ('c', 'u', 'x') and conrelid in (select oid from ours)
        union all
        select 'pg_namespace'::regclass, oid, 'schema ' || nspname from schemas where nspname <> 'public'
        union all
        select 'pg_database'::regclass, oid, 'database ' || datname from pg_database
            where datname not in ('postgres', 'template0', 'template1', current_database())
        union all
        select 'pg_authid'::regclass, oid, 'role ' || rolname from pg_roles where rolname !~ '^pg_' and rolname <> current_user
    )
    select name from objects
    where not exists (select from pg_depend d where d.classid = class and d.objid = objects.oid and d.deptype = 'e')
    order by name";

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

fn names(connection: &mut PgConnection, sql: &str) -> QueryResult<Vec<String>> {
    let names: Vec<Name> = diesel::sql_query(sql).load(connection)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}

/// What a backup of the database would hold, no row counted yet; an error if there is more, or nothing.
pub(super) fn of(database: &Database) -> Result<Manifest, Error> {
    let mut connection = database.control_connection()?;
    let connection = &mut *connection;
    let mut others = names(connection, OTHERS)?;
    let mut found = Vec::new();
    for name in TABLES {
        let columns = columns(connection, name)?;
        if columns.is_empty() {
            return Err(Error::Empty);
        }
        let unknown = columns
            .iter()
            .filter(|column| !tables::is_known(name, column));
        others.extend(unknown.map(|column| format!("column {name}.{column}")));
        found.push(Table {
            name: name.to_owned(),
            columns,
            rows: 0,
            next_id: 0,
        });
    }
    if !others.is_empty() {
        return Err(Error::Others(others));
    }
    let version = names(
        connection,
        "select current_setting('server_version') as name",
    )?;
    Ok(Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        postgresql: version.concat(),
        migrations: database.migrations_run()?,
        tables: found,
        extensions: names(
            connection,
            "select extname::text as name from pg_extension where extname <> 'plpgsql' order by 1",
        )?,
        indexes: indexes(connection)?,
    })
}

fn columns(connection: &mut PgConnection, table: &str) -> QueryResult<Vec<String>> {
    names(
        connection,
        &format!(
            "select quote_ident(attname) as name from pg_attribute
             where attrelid = to_regclass('{table}') and attnum > 0 and not attisdropped order by attnum"
        ),
    )
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The id that the next row of a table will have.
pub(super) fn next_id(connection: &mut PgConnection, table: &str) -> Result<i64, Error> {
    let sequence = names(
        connection,
        &format!("select pg_get_serial_sequence('{table}', 'id') as name"),
    )?;
    let sql = format!(
        "select case when is_called then last_value + 1 else last_value end as id from {}",
        sequence.concat()
    );
    let next: Id = diesel::sql_query(sql).get_result(connection)?;
    Ok(next.id)
}

#[derive(QueryableByName)]
struct Definition {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

/// All indexes of our tables, those aside that constraints make.
pub(super) fn indexes(connection: &mut PgConnection) -> Result<Vec<Index>, Error> {
    let found: Vec<Definition> = diesel::sql_query(format!(
        "select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as sql from pg_index
         where indrelid = any ('{{{}}}'::regclass[])
             and not exists (select from pg_constraint where conindid = indexrelid) order by 1",
        TABLES.join(", ")
    ))
    .load(connection)?;
    let indexes = found.into_iter();
    Ok(indexes
        .map(|Definition { name, sql }| Index { name, sql })
        .collect())
}
