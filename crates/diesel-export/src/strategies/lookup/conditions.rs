//! What `lookup` relies on, beside the data, and whether the catalog proves it.
//!
//! `lookup` asks several queries on several connections, and each must see what one query would see. One snapshot is enough for plain
//! tables. Of a view, a policy, a partition, the catalog must say more: [`Conditions::of`] asks it, in the export's own snapshot.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Export;
use crate::dataset::{Dataset, Key, Origin};
use crate::db::libpq::{self, Row};
use crate::db::snapshot::{quoted, reads};
use crate::db::{self, SERVER};

/// Settings on which the result of a query may depend, by functions of PostgreSQL's own. Connections that were opened at different times
/// may have different ones. Those that an export's transaction sets itself are not among them.
const SETTINGS: [&str; 8] = [
    "search_path",
    "row_security",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "default_text_search_config",
    "xmlbinary",
    // Last: the others are set as the role that has logged in.
    "role",
];

/// PostgreSQL's own stable functions whose results depend on the snapshot, the role and those settings alone. Others tell the time, or
/// know their connection.
const STABLE: &str = "^(text|varchar|bpchar|name|int[248]|float[48]|numeric|bool|date|time|timestamp|timestamptz|interval|to_char|concat|concat_ws|format|textanycat|anytextcat|array_to_string|date_trunc|date_part|extract|to_json|to_jsonb|row_to_json|jsonb?_build_(object|array)|current_user|session_user|current_schema|(date|timestamp|timestamptz)_(eq|ne|lt|le|gt|ge|cmp)_(date|timestamp|timestamptz)|timestamptz_(pl|mi)_interval|interval_pl_timestamptz)$";

/// Parts of a view's definition, as the catalog has it, that make its rows depend on how they are found: `LIMIT`, `OFFSET`, `DISTINCT ON`,
/// aggregates, window functions, samples; and what tells the time without being a function of the catalog (`CURRENT_DATE` to
/// `LOCALTIMESTAMP`).
const COMPUTED: &str = ":limitCount \\{|:limitOffset \\{|:hasDistinctOn true|:hasAggs true|:hasWindowFuncs true|TABLESAMPLECLAUSE|SQLVALUEFUNCTION :op [0-8] ";

/// The types to which a view may convert a text: booleans, numbers, texts. A text for any other may say `now`.
const PLAIN_TYPES: &str = "16, 18, 19, 20, 21, 23, 25, 26, 700, 701, 1042, 1043, 1700";

const NO_INTEGER: &str = "the key is not one integer";
const OTHER_ORDER: &str = "the rows are in another order than their key's";

/// Returns the key by which the rows can be divided, or why they cannot be or are not to be read by themselves.
pub(super) fn fitting_key(export: &Export) -> Result<&Key, Cow<'static, str>> {
    let dataset = export.dataset();
    let key = dataset.table().integer_key().ok_or(NO_INTEGER)?;
    if !export.order.is_by_key() {
        return Err(OTHER_ORDER.into());
    }
    for column in export.columns.columns() {
        let is_fit = match column.origin() {
            Origin::Own { .. } => true,
            Origin::Referenced { reference, .. } => dataset.references()[*reference].is_integer,
            Origin::Computed => false,
        };
        if !is_fit {
            let name = column.name();
            return Err(format!(
                "the column {name} is computed, or of what the rows refer to by another key than an integer"
            )
            .into());
        }
    }
    if export.filter.takes_missing_references() {
        return Err("the filter also asks for rows that refer to nothing".into());
    }
    let mut references = dataset.references().iter().enumerate();
    let is_filtered = |index| !export.filter.conditions_of_reference(index).is_empty();
    if references.any(|(index, reference)| !reference.is_integer && is_filtered(index)) {
        return Err(
            "the filter is of what the rows refer to by another key than an integer".into(),
        );
    }
    Ok(key)
}

/// What the catalog says about an export's relations.
pub(super) struct Conditions {
    /// The server, by the time at which it started.
    pub(super) server: String,
    /// The oids of the relations, in their order.
    relations: String,
    /// The leader's settings, as SQL that sets them.
    settings: String,
    /// Whether each row of the dataset's own table has a key.
    pub(super) has_all_keys: bool,
    /// Whether they are plain tables: without policies, and without descendants.
    are_plain: bool,
    /// If they are not, the oids of all that is read with them.
    reads: String,
    /// Why `lookup` might read other rows than one query would.
    pub(super) violated: Option<String>,
}

#[derive(Deserialize)]
struct Relation {
    kind: Option<String>,
    row_security: Option<bool>,
    has_descendants: Option<bool>,
}

/// A reason against `lookup`.
#[derive(Deserialize)]
struct Violation {
    relation: String,
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Foreign,
    Inherited,
    RowSecurity,
    Computed,
    Function,
}

impl Violation {
    fn because(&self) -> String {
        let Self { relation, kind } = self;
        match kind {
            Kind::Foreign => format!("{relation} is a foreign table, which is read in no snapshot"),
            Kind::Inherited => format!("other tables inherit from {relation}"),
            Kind::RowSecurity => format!("row security applies to {relation}"),
            Kind::Computed => format!("the view {relation} computes its rows"),
            Kind::Function => {
                format!(
                    "the view {relation} calls a function that may give other results on each connection"
                )
            }
        }
    }
}

impl Conditions {
    /// The select list of a query in the export's snapshot, to be read by [`of`](Self::of). Without a filter, it is the first one, also of
    /// exports that then are `copy`; so it asks no more than plain tables need.
    pub(super) fn select_list(dataset: &dyn Dataset) -> Vec<String> {
        let relations = dataset.relations().iter();
        let names: Vec<String> = relations.map(|name| quoted(name)).collect();
        let settings: Vec<String> = SETTINGS
            .iter()
            .map(|name| format!("'{name}', current_setting('{name}')"))
            .collect();
        let table = dataset.table();
        let key = table.integer_key().map_or("", |key| &key.column);
        let is_key = format!(
            "attrelid = to_regclass({}) and attname = {}",
            quoted(&table.name),
            quoted(key)
        );
        vec![
            format!("{SERVER} as server"),
            format!("{} as oids", oids(dataset)),
            format!("json_build_object({}) as settings", settings.join(", ")),
            format!(
                "(select json_agg(json_build_object('kind', relkind, 'row_security', relrowsecurity, 'has_descendants', relhassubclass))
                  from unnest(array[{}]) name left join pg_class on pg_class.oid = to_regclass(name)) as relations",
                names.join(", ")
            ),
            format!(
                // From PostgreSQL 18 on, a constraint may hold for new rows only.
                "(select attnotnull and not exists (
                      select from pg_constraint where conrelid = attrelid and contype = 'n' and not convalidated and attnum = any (conkey))
                  from pg_attribute where {is_key}) as has_all_keys"
            ),
            // As it is stored, not as it is declared: other numbers, between two integers, would be in no range.
            format!(
                "(select coalesce(nullif(typbasetype, 0), pg_type.oid) = any (array[20, 21, 23]::oid[])
                  from pg_attribute join pg_type on pg_type.oid = atttypid where {is_key}) as has_integer_key"
            ),
        ]
    }

    /// Reads the answer to [`select_list`](Self::select_list); asks more if there are other relations than plain tables.
    pub(super) fn of(
        connection: &mut libpq::CopyConnection,
        dataset: &dyn Dataset,
        answer: &Row,
    ) -> Result<Self, db::Error> {
        let relations: Vec<Relation> = libpq::read_json(answer, "relations")?;
        let settings: serde_json::Map<String, serde_json::Value> =
            libpq::read_json(answer, "settings")?;
        let set = SETTINGS.iter().filter_map(|name| {
            let value = quoted(settings.get(*name)?.as_str()?);
            Some(format!("set_config('{name}', {value}, true)"))
        });
        let mut conditions = Self {
            server: answer
                .get("server")
                .flatten()
                .unwrap_or_default()
                .to_owned(),
            relations: answer.get("oids").flatten().unwrap_or_default().to_owned(),
            settings: format!("select {}", set.collect::<Vec<_>>().join(", ")),
            has_all_keys: answer.is("has_all_keys"),
            are_plain: true,
            reads: String::new(),
            violated: None,
        };
        let is_plain = |relation: &Relation| {
            relation.kind.as_deref() == Some("r")
                && relation.row_security == Some(false)
                && relation.has_descendants == Some(false)
        };
        conditions.are_plain = relations.iter().all(is_plain);
        if !conditions.are_plain {
            let facts = connection.query_row(&facts(dataset))?.unwrap_or_default();
            let violations: Vec<Violation> = libpq::read_json(&facts, "violations")?;
            conditions.violated = violations.first().map(Violation::because);
            conditions.reads = facts.get("reads").flatten().unwrap_or_default().to_owned();
        }
        if !answer.is("has_integer_key") {
            conditions.violated = Some(NO_INTEGER.to_owned());
        }
        Ok(conditions)
    }

    /// SQL that gives another connection the leader's settings.
    pub(super) fn settings(&self) -> &str {
        &self.settings
    }

    /// SQL for what must be the same on each connection: the server, and the relations.
    pub(super) fn identity(dataset: &dyn Dataset) -> String {
        format!("select {SERVER} as server, {} as oids", oids(dataset))
    }

    /// Returns whether the answer to [`identity`](Self::identity) is the leader's.
    pub(super) fn are_identical(&self, answer: &Row) -> bool {
        answer.get("server").flatten() == Some(&self.server)
            && answer.get("oids").flatten() == Some(&self.relations)
    }

    /// Demands, after the last row, that all that was read is as it was before the first row. A new partition has rows that are older than
    /// the snapshot, and only queries that were planned after it came have read them. The connection has left the snapshot: within it, the
    /// catalog is as it was.
    pub(super) fn hold(
        &self,
        connection: &mut libpq::CopyConnection,
        dataset: &dyn Dataset,
    ) -> Result<(), db::Error> {
        let relations = dataset.relations();
        let is_as_before = if self.are_plain {
            let oids = self.relations.replace(' ', ", ");
            format!("not exists (select from pg_class where oid in ({oids}) and relhassubclass)")
        } else {
            format!(
                "(with recursive {} select {READS} from reads) = {}",
                reads(relations),
                quoted(&self.reads)
            )
        };
        let sql = format!(
            "select {} as oids, {is_as_before} as is_as_before",
            oids(dataset)
        );
        let now = connection.query_row(&sql)?.unwrap_or_default();
        if now.get("oids").flatten() == Some(&self.relations) && now.is("is_as_before") {
            Ok(())
        } else {
            Err(db::Error::Moved)
        }
    }
}

/// SQL for the oids of all that is read, as one text.
const READS: &str = "string_agg(oid::text, ' ' order by oid)";

/// SQL for the relations' oids, as one text.
fn oids(dataset: &dyn Dataset) -> String {
    let oids = dataset
        .relations()
        .iter()
        .map(|name| format!("to_regclass({})::oid", quoted(name)));
    format!("concat_ws(' ', {})", oids.collect::<Vec<_>>().join(", "))
}

/// SQL for the reasons against `lookup` in all that is read, and for what is read.
///
/// Row security is checked for the role and for the owners of all views: which of them a policy applies to depends on the view.
fn facts(dataset: &dyn Dataset) -> String {
    format!(
        "with recursive {},
            checked as (
                select oid, rolsuper or rolbypassrls as is_exempt from pg_roles
                where rolname = current_user or oid in (select relowner from reads join pg_class using (oid) where reads.relkind = 'v')),
            rules as (
                select ev_class as oid, ev_action::text as definition from reads join pg_rewrite on ev_class = reads.oid
                where reads.relkind = 'v' and ev_type = '1'),
            called as (
                select rules.oid, called.id[2]::oid as function from rules,
                    regexp_matches(definition, ':(funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') as called (id)
                union
                select rules.oid, oprcode from rules, regexp_matches(definition, ':opno ([0-9]+)', 'g') as called (id)
                    join pg_operator on pg_operator.oid = called.id[1]::oid),
            violations (oid, kind) as (
                select oid, 'foreign' from reads where relkind = 'f'
                union all
                select inhparent, 'inherited' from reads join pg_inherits on inhparent = reads.oid where relkind = 'r'
                union all
                select c.oid, 'row-security' from reads join pg_class c using (oid)
                where c.relrowsecurity and exists (select from checked
                    where not is_exempt and (c.relforcerowsecurity or not pg_has_role(checked.oid, c.relowner, 'usage')))
                union all
                select oid, 'computed' from rules where definition ~ {} or definition ~ 'COERCEVIAIO' and exists (
                    select from regexp_matches(definition, ':resulttype ([0-9]+)', 'g') as converted (type)
                    where converted.type[1]::int not in ({PLAIN_TYPES}))
                union all
                select called.oid, 'function' from called join pg_proc p on p.oid = called.function
                where p.provolatile = 'v'
                    or (p.provolatile = 's' and (p.pronamespace <> 'pg_catalog'::regnamespace or p.proname !~ {})))
         select (select json_agg(json_build_object('relation', oid::regclass, 'kind', kind) order by kind, oid) from violations) as violations,
             (select {READS} from reads) as reads",
        reads(dataset.relations()),
        quoted(COMPUTED),
        quoted(STABLE),
    )
}
