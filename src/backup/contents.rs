//! What a database holds.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};

use super::{Error, FORMAT, Index, Manifest, TABLES, Table};
use crate::db::Database;

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
        select 'pg_rewrite'::regclass, r.oid, 'rule ' || rulename
            from pg_rewrite r join pg_class c on c.oid = ev_class join schemas on schemas.oid = c.relnamespace
            where rulename <> '_RETURN'
        union all
        select 'pg_statistic_ext'::regclass, oid, 'statistics ' || stxname from pg_statistic_ext
        union all
        select 'pg_event_trigger'::regclass, oid, 'event trigger ' || evtname from pg_event_trigger
        union all
        select 'pg_publication'::regclass, oid, 'publication ' || pubname from pg_publication
        union all
        select 'pg_foreign_server'::regclass, oid, 'foreign server ' || srvname from pg_foreign_server
        union all
        select 'pg_largeobject'::regclass, 0, 'large objects' where exists (select from pg_largeobject_metadata)
        union all
        select 'pg_db_role_setting'::regclass, 0, 'setting ' || split_part(setting, '=', 1)
            from pg_db_role_setting, unnest(setconfig) setting
            where setdatabase in (0, (select oid from pg_database where datname = current_database()))
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

/// What the tables named by `$1` are, but for rows and indexes: what each column and each constraint is.
const SHAPE: &str = "
    with ours as (
        select c.oid, relname from unnest($1) _ (name) join pg_class c on c.oid = to_regclass(name)
    )
    select 'column ' || relname || '.' || quote_ident(attname) as name, concat_ws(' ', format_type(atttypid, atttypmod),
            case when attcollation <> typcollation then 'collate ' || attcollation::regcollation end,
            case when attnotnull then 'not null' end, 'identity ' || nullif(attidentity::text, ''), 'generated ' || nullif(attgenerated::text, ''),
            'default ' || pg_get_expr(adbin, adrelid)) as sql
        from ours join pg_attribute on attrelid = ours.oid and attnum > 0 and not attisdropped join pg_type t on t.oid = atttypid
            left join pg_attrdef on adrelid = attrelid and adnum = attnum
    union all
    select 'constraint ' || conname, pg_get_constraintdef(c.oid)
        from ours join pg_constraint c on conrelid = ours.oid where contype in ('p', 'f', 'u', 'c', 'x')
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
    let migrations = database.migrations_run()?;
    let mut found = Vec::new();
    for name in TABLES {
        let columns = columns(connection, name)?;
        if columns.is_empty() {
            return Err(Error::Empty);
        }
        found.push(Table {
            name: name.to_owned(),
            columns,
            rows: 0,
            next_id: 0,
        });
    }
    let made = database.as_migrated(&migrations, shape)?;
    others.extend(differences(&made, &shape(connection)?));
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
        migrations,
        tables: found,
        extensions: names(
            connection,
            "select extname::text as name from pg_extension where extname <> 'plpgsql' order by 1",
        )?,
        indexes: indexes(connection)?,
    })
}

fn shape(connection: &mut PgConnection) -> QueryResult<Vec<Definition>> {
    diesel::sql_query(SHAPE)
        .bind::<Array<Text>, _>(&TABLES[..])
        .load(connection)
}

/// What tables have that those of the migrations, which a restore makes, have not, or have otherwise.
fn differences(made: &[Definition], found: &[Definition]) -> Vec<String> {
    let named = |all: &[Definition], name: &str| -> Option<String> {
        let one = all.iter().find(|one| one.name == name)?;
        Some(one.sql.clone())
    };
    let changed = found
        .iter()
        .filter_map(|Definition { name, sql }| match named(made, name) {
            None => Some(name.clone()),
            Some(made) if made != *sql => Some(format!("{name}: {sql}, instead of {made}")),
            Some(_) => None,
        });
    let missing = made
        .iter()
        .filter(|one| named(found, &one.name).is_none())
        .map(|one| format!("no {}", one.name));
    changed.chain(missing).collect()
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
