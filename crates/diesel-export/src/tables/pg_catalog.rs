//! What PostgreSQL's catalog says of relations, by one query, however many there are.

mod types;

use diesel::sql_types::{Array, Text};
use serde::Deserialize;

use crate::db::Error;
use crate::db::libpq::{self, CopyOutDsl as _};
use crate::db::snapshot::quoted as text;

/// Which relations are read; with them always comes what they refer to.
pub(super) enum Wanted<'a> {
    /// All tables and views of these schemas, without partitions and what extensions have made.
    Schemas(&'a [String]),
    /// Those of these names, each with its schema, which may be empty: then the search path has it.
    Named(&'a [(String, String)]),
}

/// What the catalog says.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PgCatalog {
    /// The database's name.
    pub(super) database: String,
    /// The schemas that are not PostgreSQL's own.
    pub(super) schemas: Vec<String>,
    /// The oids of the wanted relations: in the order of the schemas and their relations' names, or of the names; `None` if there is no such relation.
    pub(super) wanted: Vec<Option<i64>>,
    /// The relations, in no order.
    pub(super) relations: Vec<Relation>,
}

/// A table or a view.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Relation {
    pub(super) oid: i64,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) comment: Option<String>,
    /// Whether the role may use its schema.
    pub(super) is_reachable: bool,
    /// Whether other tables inherit from it: their rows are among its own, and its indexes are not of them.
    pub(super) has_heirs: bool,
    pub(super) columns: Vec<Attribute>,
    /// The columns of its unique indexes, the primary key's first.
    pub(super) unique: Vec<Vec<String>>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

/// The kind of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) enum Kind {
    Table,
    Partitioned,
    View,
    /// Something that cannot be exported, such as a sequence.
    Other,
}

impl From<String> for Kind {
    fn from(kind: String) -> Self {
        match kind.as_str() {
            "r" | "f" => Self::Table,
            "p" => Self::Partitioned,
            "v" | "m" => Self::View,
            _ => Self::Other,
        }
    }
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Attribute {
    pub(super) name: String,
    /// Its type, as SQL names it.
    pub(super) r#type: String,
    /// The oid of its type.
    pub(super) type_oid: u32,
    /// The same; for a domain, of the type below it.
    pub(super) base: u32,
    /// The name of that type in SQL, if a value of the column can be compared with one of that type: the role may use its schema, and it is no
    /// enum below a domain.
    pub(super) sql_type: Option<String>,
    pub(super) collation: u32,
    /// The collation's name in SQL, if the role may use its schema.
    pub(super) collation_name: Option<String>,
    /// The base type's category, as `pg_type.typcategory` has it.
    pub(super) category: String,
    /// The category of an array's elements.
    pub(super) element_category: Option<String>,
    pub(super) is_ordered: bool,
    pub(super) is_not_null: bool,
    pub(super) is_readable: bool,
    pub(super) comment: Option<String>,
    /// An enum's labels, in their order.
    pub(super) labels: Option<Vec<String>>,
}

/// A reference to another relation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ForeignKey {
    pub(super) columns: Vec<String>,
    /// The oid of what they refer to.
    pub(super) to: i64,
    /// The columns there.
    pub(super) key: Vec<String>,
}

/// Whether an index of `pg_index` shows that no two rows are equal in its columns, as PostgreSQL compares them where nothing else is asked for.
/// A constraint that is checked at the end of its transaction holds in each snapshot.
macro_rules! is_unique {
    () => {
        "indisunique and indisvalid and indpred is null and indexprs is null and not exists (
            select from unnest(indkey::smallint[], indclass::oid[], indcollation::oid[]) as part (number, class, sorted)
                join pg_attribute on attrelid = indrelid and attnum = number join pg_opclass on pg_opclass.oid = class
            where not opcdefault or sorted <> attcollation)"
    };
}

/// Of each relation, all is read by indexes: the time is that of the relations, and not of their square. `$1` are schemas, `$2` and `$3` are names with their schemas (`to_regclass` fails on a schema that the role may not use). What follows from a domain's type is asked of the type below all domains.
const CATALOG: &str = concat!(
    "
    with recursive own_schemas as (
        select oid, nspname from pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_'),
    wanted (oid, number) as (
        select c.oid, row_number() over (order by array_position($1, nspname::text), relname collate \"C\")
        from pg_class c join own_schemas n on n.oid = c.relnamespace
        where nspname = any ($1) and relkind in ('r', 'p', 'v', 'm', 'f') and not relispartition and not exists (
            select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
        union all
        select case when schema = '' then to_regclass(quote_ident(name))::oid else (
            select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = schema and relname = name) end, number
        from unnest($2, $3) with ordinality as _ (schema, name, number)),
    foreign_keys as not materialized (
        -- Without the parts of one that refers to a partitioned table.
        select * from pg_constraint c where contype = 'f' and not exists (
            select from pg_constraint larger where larger.oid = c.conparentid and larger.conrelid = c.conrelid)),
    reached (oid) as (
        select oid from wanted where oid is not null
        union
        select confrelid from reached join foreign_keys on conrelid = reached.oid),
    based (type, base) as (
        select distinct atttypid, atttypid from reached join pg_attribute on attrelid = reached.oid and attnum > 0 and not attisdropped
        union all
        select type, typbasetype from based join pg_type on pg_type.oid = base where typtype = 'd'),
    types as materialized (
        select type, base, case when (type = base or t.typtype <> 'e') and has_schema_privilege(s.oid, 'usage')
                then format('%I.%I', s.nspname, t.typname) end as sql_type,
            t.typcategory as category, case when t.typcategory = 'A' then element.typcategory end as element_category,
            element.typtype in ('e', 'r', 'm') or exists (
                select from pg_opclass where opcdefault and opcmethod = (select oid from pg_am where amname = 'btree')
                    and (opcintype = element.oid or opcintype in (
                        select casttarget from pg_cast where castsource = element.oid and castmethod = 'b' and castcontext = 'i'))) as is_ordered,
            (select json_agg(enumlabel order by enumsortorder) from pg_enum where enumtypid = base) as labels
        from based join pg_type t on t.oid = base and t.typtype <> 'd' join pg_namespace s on s.oid = t.typnamespace
            join pg_type element on element.oid = case when t.typcategory = 'A' and t.typelem <> 0 then t.typelem else t.oid end)
    select json_build_object('database', current_database(),
        'schemas', coalesce((select json_agg(nspname order by nspname) from own_schemas), '[]'),
        'wanted', coalesce((select json_agg(oid::bigint order by number) from wanted), '[]'),
        'relations', coalesce((select json_agg(json_build_object(
            'oid', c.oid::bigint, 'schema', nspname, 'name', relname, 'kind', relkind, 'comment', obj_description(c.oid, 'pg_class'),
            'is_reachable', coalesce(has_schema_privilege(relnamespace, 'usage'), false),
            'has_heirs', relkind = 'r' and exists (select from pg_inherits where inhparent = c.oid),
            'columns', coalesce((select json_agg(json_build_object(
                'name', attname, 'type', format_type(atttypid, atttypmod), 'type_oid', atttypid::bigint, 'base', base::bigint, 'sql_type', sql_type,
                'collation', attcollation::bigint, 'collation_name', (
                    select format('%I.%I', s.nspname, collname) from pg_collation join pg_namespace s on s.oid = collnamespace
                    where pg_collation.oid = attcollation and has_schema_privilege(s.oid, 'usage')),
                'category', category,
                'element_category', element_category, 'is_ordered', is_ordered, 'is_not_null', attnotnull,
                'is_readable', coalesce(has_column_privilege(attrelid, attnum, 'select'), false), 'comment', col_description(attrelid, attnum),
                'labels', labels) order by attnum)
                from pg_attribute join types on type = atttypid where attrelid = c.oid and attnum > 0 and not attisdropped), '[]'),
            'unique', coalesce((select json_agg((select json_agg(attname order by place)
                    from unnest(indkey::smallint[]) with ordinality as _ (number, place)
                        join pg_attribute on attrelid = indrelid and attnum = number where place <= indnkeyatts)
                    order by not indisprimary, indnkeyatts, indexrelid)
                from pg_index where indrelid = c.oid and ",
    is_unique!(),
    "), '[]'),
            'foreign_keys', coalesce((select json_agg(json_build_object('to', confrelid::bigint,
                'columns', (select json_agg(attname order by place) from unnest(conkey) with ordinality as _ (number, place)
                    join pg_attribute on attrelid = conrelid and attnum = number),
                'key', (select json_agg(attname order by place) from unnest(confkey) with ordinality as _ (number, place)
                    join pg_attribute on attrelid = confrelid and attnum = number)) order by conkey, foreign_keys.oid)
                from foreign_keys where conrelid = c.oid), '[]')))
            from reached join pg_class c on c.oid = reached.oid join pg_namespace n on n.oid = relnamespace), '[]')) as catalog"
);

impl PgCatalog {
    /// Reads what is wanted, and what that refers to.
    pub(super) fn read(
        connection: &mut libpq::CopyConnection,
        wanted: &Wanted<'_>,
    ) -> Result<Self, Error> {
        let (schemas, named): (&[String], &[(String, String)]) = match wanted {
            Wanted::Schemas(schemas) => (schemas, &[]),
            Wanted::Named(named) => (&[], named),
        };
        let (of_schemas, names): (Vec<&str>, Vec<&str>) = named
            .iter()
            .map(|(schema, name)| (&**schema, &**name))
            .unzip();
        let sql = diesel::sql_query(CATALOG)
            .bind::<Array<Text>, _>(schemas)
            .bind::<Array<Text>, _>(of_schemas)
            .bind::<Array<Text>, _>(names)
            .literal_sql()?;
        // The query has so many parts that to compile them takes seconds. If it fails, the pool closes the connection.
        let row = connection.query_row(&format!("begin read only; set local jit = off; {sql}"))?;
        connection.execute("commit")?;
        libpq::read_json(&row.unwrap_or_default(), "catalog")
    }

    /// The relation of this oid.
    pub(super) fn find(&self, oid: i64) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }
}

impl Relation {
    /// Its name in SQL, with every identifier quoted.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The same for people: without quotes where it needs none.
    pub(super) fn plain(&self) -> String {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let part = |part: &str| {
            if !part.starts_with(|first: char| first.is_ascii_digit()) && part.bytes().all(is_plain)
            {
                part.to_owned()
            } else {
                quoted(part)
            }
        };
        format!("{}.{}", part(&self.schema), part(&self.name))
    }

    /// Whether it is a table, and no view.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table | Kind::Partitioned)
    }

    /// What a join to it reads: its own rows, which its unique indexes are of. Tables that inherit from it have rows that they are not of.
    pub(super) fn joined_sql(&self) -> String {
        let only = if self.kind == Kind::Table {
            "only "
        } else {
            ""
        };
        format!("{only}{}", self.sql())
    }

    /// Whether it has rows.
    pub(super) fn is_exportable(&self) -> bool {
        self.kind != Kind::Other
    }

    /// The column of this name.
    pub(super) fn column(&self, name: &str) -> Option<&Attribute> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The foreign key of this column alone; the first one, if it has several.
    pub(super) fn foreign_key(&self, column: &str) -> Option<&ForeignKey> {
        let mut foreign_keys = self.foreign_keys.iter();
        foreign_keys.find(|foreign_key| matches!(&*foreign_key.columns, [own] if own == column))
    }

    /// Whether no two rows have the same values in these columns.
    pub(super) fn is_unique(&self, columns: &[impl AsRef<str>]) -> bool {
        let is_one = |name: &String| columns.iter().any(|column| column.as_ref() == name);
        let is_in = |unique: &Vec<String>| unique.iter().all(is_one);
        self.unique.iter().any(is_in)
    }

    /// Whether the role may read any of it.
    pub(super) fn is_readable(&self) -> bool {
        self.is_reachable && self.columns.iter().any(|column| column.is_readable)
    }
}

/// SQL for whether steps still lead to at most one row each: the key of each has a unique index, and what is compared has types of the same
/// kind as at the start, and the same collations. A step is from a relation to a table, by columns of both; `None` if there is no step.
pub(super) fn proof<'a>(
    steps: impl Iterator<Item = (&'a Relation, &'a Relation, &'a [(Attribute, Attribute)])>,
) -> Option<String> {
    let regclass = |relation: &Relation| format!("{}::regclass", text(&relation.sql()));
    let attribute = |relation: &Relation, column: &Attribute| {
        let types = column.alike().iter().chain([&column.type_oid]);
        let types: Vec<String> = types.map(u32::to_string).collect();
        format!(
            "({}, {}, '{{{}}}'::oid[], {}::oid)",
            regclass(relation),
            text(&column.name),
            types.join(", "),
            column.collation
        )
    };
    let (mut keys, mut attributes) = (Vec::new(), Vec::new());
    for (from, to, pairs) in steps {
        let key: Vec<String> = pairs.iter().map(|(_, key)| text(&key.name)).collect();
        keys.push(format!("({}, array[{}])", regclass(to), key.join(", ")));
        let pairs = pairs.iter();
        attributes.extend(pairs.flat_map(|(own, key)| [attribute(from, own), attribute(to, key)]));
    }
    (!keys.is_empty()).then(|| {
        format!(
            concat!(
                "not exists (select from (values {}) as step (relation, key) where not exists (
                    select from pg_index where indrelid = relation and ",
                is_unique!(),
                " and not exists (select from unnest(indkey::smallint[]) with ordinality as _ (number, place)
                        join pg_attribute on attrelid = indrelid and attnum = number where place <= indnkeyatts and attname <> all (key))))
                and not exists (select from (values {}) as start (relation, name, types, sorted) where not exists (
                    select from pg_attribute
                    where attrelid = relation and attname = name and atttypid = any (types) and attcollation = sorted))"
            ),
            keys.join(", "),
            attributes.join(", ")
        )
    })
}

/// An identifier, quoted as SQL has it.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
