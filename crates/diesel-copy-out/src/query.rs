//! A Diesel query as one text of SQL, its values in it as literals: COPY takes no parameters.

use diesel::backend::Backend;
use diesel::pg::{Pg, PgMetadataCacheKey, PgMetadataLookup, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment};

use crate::literal::{Unwritable, literal};
use crate::{Connection, CopyOut, Error, Options};

/// Diesel queries that can be copied out.
///
/// A value of a type that PostgreSQL itself has not, as an enum's, has no literal; neither have ranges, `jsonb` and network addresses.
/// A query that holds one is an error, which names the type.
pub trait CopyOutDsl: AsQuery<Query: QueryFragment<Pg>> + Sized {
    /// The query's SQL with its values as literals.
    fn literal_sql(self) -> Result<String, Error> {
        let query = self.as_query();
        let mut builder = <Pg as Backend>::QueryBuilder::default();
        query
            .to_sql(&mut builder, &Pg)
            .map_err(Error::from_diesel)?;
        let mut binds = RawBytesBindCollector::new();
        query
            .collect_binds(&mut binds, &mut NoLookup, &Pg)
            .map_err(Error::from_diesel)?;
        let literals = binds.metadata.iter().zip(&binds.binds);
        let literals = literals.map(|(metadata, value)| {
            let oid = metadata
                .oid()
                .map_err(|error| Unwritable::Type(error.to_string()))?;
            literal(oid, value.as_deref())
        });
        let literals = literals.collect::<Result<Vec<_>, _>>()?;
        Ok(inlined(&builder.finish(), &literals)?)
    }

    /// Starts to copy the query's rows.
    fn copy_out<'c>(
        self,
        connection: &'c mut Connection,
        options: &Options,
    ) -> Result<CopyOut<'c>, Error> {
        connection.copy_out(&self.literal_sql()?, options)
    }
}

impl<Q: AsQuery<Query: QueryFragment<Pg>>> CopyOutDsl for Q {}

/// Knows no type but those whose oid Diesel knows.
struct NoLookup;

impl PgMetadataLookup for NoLookup {
    fn lookup_type(&mut self, name: &str, schema: Option<&str>) -> PgTypeMetadata {
        let key = PgMetadataCacheKey::new(
            schema.map(|schema| schema.to_owned().into()),
            name.to_owned().into(),
        );
        PgTypeMetadata::from_result(Err(diesel::pg::FailedToLookupTypeError::new(key)))
    }

    fn as_any<'a>(&mut self) -> &mut (dyn std::any::Any + 'a)
    where
        Self: 'a,
    {
        self
    }
}

/// The SQL with the literals in the place of `$1`, `$2`, …, but not within quotes, comments and names.
fn inlined(sql: &str, literals: &[String]) -> Result<String, Unwritable> {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => quoted(rest, '\'', false),
            '"' => quoted(rest, '"', false),
            'e' | 'E' if rest[1..].starts_with('\'') => 1 + quoted(&rest[1..], '\'', true),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest),
            '$' => {
                let digits = rest[1..]
                    .find(|next: char| !next.is_ascii_digit())
                    .map_or(rest.len(), |end| 1 + end);
                if digits > 1 {
                    let number = &rest[1..digits];
                    let index = number.parse::<usize>().ok();
                    let literal = index
                        .and_then(|index| literals.get(index.checked_sub(1)?))
                        .ok_or_else(|| Unwritable::Placeholder(number.to_owned()))?;
                    out.push_str(literal);
                    rest = &rest[digits..];
                    continue;
                }
                dollar_quoted(rest)
            }
            _ if is_name(first) => rest
                .find(|next: char| !is_name(next) && !next.is_ascii_digit() && next != '$')
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (taken, left) = rest.split_at(length);
        out.push_str(taken);
        rest = left;
    }
    Ok(out)
}

/// Whether a name may start with the character.
fn is_name(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic() || !character.is_ascii()
}

/// The length of the quoted text at the start. A doubled quote begins the next one, which is as good.
fn quoted(sql: &str, quote: char, has_escapes: bool) -> usize {
    let mut escaped = false;
    for (at, next) in sql.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if has_escapes && next == '\\' {
            escaped = true;
        } else if next == quote {
            // In an escaped text, what is behind a doubled quote is escaped, too.
            let end = at + 1;
            let again = has_escapes && sql[end..].starts_with(quote);
            return if again {
                end + quoted(&sql[end..], quote, true)
            } else {
                end
            };
        }
    }
    sql.len()
}

/// The length of the comment at the start, with those within it.
fn comment(sql: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < sql.len() {
        let rest = &sql.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    sql.len()
}

/// The length of `$tag$…$tag$` at the start; that of the dollar, if it is none.
fn dollar_quoted(sql: &str) -> usize {
    let tag = sql[1..]
        .find(|next: char| !is_name(next) && !next.is_ascii_digit())
        .filter(|end| sql[1 + end..].starts_with('$'))
        .map(|end| &sql[..end + 2]);
    tag.map_or(1, |tag| {
        sql[tag.len()..]
            .find(tag)
            .map_or(sql.len(), |end| tag.len() + end + tag.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_nothing_that_looks_like_one() {
        let literals = ["<1>".to_owned(), "<2>".to_owned()];
        let inlined = |sql| inlined(sql, &literals);
        for (sql, expected) in [
            ("a = $1 and b=$2", "a = <1> and b=<2>"),
            ("$2::text[$1]", "<2>::text[<1>]"),
            ("'$1''$1' $1", "'$1''$1' <1>"),
            (r"'\' $1 ''", r"'\' <1> ''"),
            (r"E'\' $1''\'$1' $1", r"E'\' $1''\'$1' <1>"),
            ("\"$1\"\"$1\" $1", "\"$1\"\"$1\" <1>"),
            ("a$1 é$1 _$1, $1", "a$1 é$1 _$1, <1>"),
            ("$$ $1 $$ $1", "$$ $1 $$ <1>"),
            ("$x$ $1 $$ $y$ $x$ $1", "$x$ $1 $$ $y$ $x$ <1>"),
            ("-- $1 '\n$1", "-- $1 '\n<1>"),
            ("/* $1 /* ' */ $1 */ $1", "/* $1 /* ' */ $1 */ <1>"),
        ] {
            assert_eq!(inlined(sql).as_deref(), Ok(expected), "{sql}");
        }
        assert_eq!(inlined("$3"), Err(Unwritable::Placeholder("3".into())));
        assert_eq!(inlined("$0"), Err(Unwritable::Placeholder("0".into())));
    }
}
