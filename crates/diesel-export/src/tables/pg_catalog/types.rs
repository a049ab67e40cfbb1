//! What a column's values are, by its type in the catalog.

use super::Attribute;
use crate::dataset::ColumnKind;

/// The oids of PostgreSQL's own types that have a kind of their own.
const BOOL: u32 = 16;
const INTEGERS: [u32; 3] = [21, 23, 20];
const NUMERIC: u32 = 1700;
const FLOATS: [u32; 2] = [700, 701];
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;
/// `json` and `jsonb`.
const JSON: [u32; 2] = [114, 3802];
/// `"char"`, which PostgreSQL 13 has among the texts.
const CHAR: u32 = 18;
/// `char(n)`.
const BPCHAR: u32 = 1042;
/// Texts that are compared in the same way.
const TEXTS: [u32; 2] = [25, 1043];
/// The collation of columns for which nobody has chosen one. Beside another one, PostgreSQL compares by that.
const DEFAULT_COLLATION: u32 = 100;
/// `text`, `varchar`, `char(n)`, `name`: their binary form is their text.
const PLAIN_TEXTS: [u32; 4] = [25, 1043, BPCHAR, 19];
/// Types of PostgreSQL's own in whose texts nobody writes what they like: `bytea`, `money`, `oid`, `interval`, `inet`, `cidr`,
/// `macaddr`, `macaddr8`, `pg_lsn`, `timetz`, `bit`, `varbit`.
const DATA: [u32; 12] = [
    17, 790, 26, 1186, 869, 650, 829, 774, 3220, 1266, 1560, 1562,
];

impl Attribute {
    /// What its values are. Of a type that is not known here, anybody may have written the texts.
    pub(in crate::tables) fn kind(&self) -> ColumnKind {
        match self.base {
            BOOL => ColumnKind::Boolean,
            NUMERIC => ColumnKind::Decimal,
            DATE => ColumnKind::Date,
            TIME => ColumnKind::Time,
            TIMESTAMP => ColumnKind::Timestamp,
            TIMESTAMPTZ => ColumnKind::Timestamptz,
            UUID => ColumnKind::Uuid,
            base if INTEGERS.contains(&base) => ColumnKind::Integer,
            base if FLOATS.contains(&base) => ColumnKind::Float,
            base if JSON.contains(&base) => ColumnKind::Json,
            base if DATA.contains(&base) => ColumnKind::Data,
            _ => match (self.category.as_str(), self.element_category.as_deref()) {
                // Enums, ranges, and arrays of numbers, booleans, times, networks.
                ("E" | "R", _) | ("A", Some("N" | "B" | "D" | "T" | "I" | "E" | "R")) => {
                    ColumnKind::Data
                }
                _ => ColumnKind::Text,
            },
        }
    }

    /// Whether PostgreSQL has to print its values for Diesel.
    pub(in crate::tables) fn is_printed(&self) -> bool {
        self.kind().is_text() && !PLAIN_TEXTS.contains(&self.base)
    }

    /// Whether its values are texts that can be searched.
    pub(in crate::tables) fn is_searchable(&self) -> bool {
        self.category == "S" && self.base != CHAR
    }

    /// What its values are to a filter that takes any text.
    pub(in crate::tables) fn compared(&self) -> ColumnKind {
        let is_citext = || {
            self.sql_type
                .as_ref()
                .is_some_and(|name| name.ends_with(".citext"))
        };
        match self.kind() {
            ColumnKind::Text if !self.is_searchable() => ColumnKind::Data,
            // PostgreSQL compares them with texts without their padding, and in upper and lower case.
            ColumnKind::Text if self.base == BPCHAR || is_citext() => self.typed(),
            kind => kind,
        }
    }

    /// What its values are to a filter that takes those that there are: an index serves it, unless the role may not name the type.
    pub(in crate::tables) fn typed(&self) -> ColumnKind {
        self.sql_type
            .clone()
            .map_or(ColumnKind::Data, ColumnKind::Typed)
    }

    /// Whether PostgreSQL compares it with another column as that one's unique index does. With other types, it may convert that one's values,
    /// and different ones may become the same (`bigint` for `double precision`), or it may refuse.
    pub(in crate::tables) fn is_compared_as(&self, key: &Self) -> bool {
        key.alike().contains(&self.base)
    }

    /// The types whose values are compared as its own.
    pub(in crate::tables) fn alike(&self) -> &[u32] {
        let groups = [&INTEGERS[..], &TEXTS];
        let group = groups.into_iter().find(|group| group.contains(&self.base));
        group.unwrap_or(std::slice::from_ref(&self.base))
    }

    /// Whether the role may name the collation by which it has to be compared with a key.
    pub(in crate::tables) fn can_be_collated_as(&self, key: &Self) -> bool {
        !self.is_collated_otherwise(key) || key.collation_name.is_some()
    }

    /// Whether PostgreSQL, left alone, compares it with a key by another collation than the key's, or refuses.
    pub(in crate::tables) fn is_collated_otherwise(&self, key: &Self) -> bool {
        key.collation != 0 && ![0, DEFAULT_COLLATION, key.collation].contains(&self.collation)
    }

    pub(in crate::tables) fn is_integer(&self) -> bool {
        self.kind() == ColumnKind::Integer
    }
}
