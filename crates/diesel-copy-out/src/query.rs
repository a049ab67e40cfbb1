//! Turns a Diesel query into one text of SQL, with its values as literals: COPY takes no parameters.

use diesel::backend::Backend;
use diesel::pg::Pg;
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment};

#[cfg(feature = "stream")]
use crate::CopyStream;
use crate::literal::{Types, UnknownTypes, Unwritable};
use crate::{CopyConnection, CopyOut, Error, ErrorKind, Options};
#[cfg(feature = "stream")]
use std::ops::DerefMut;

/// Diesel queries that can be copied out.
///
/// COPY takes no parameters, so values are written into the SQL. Those of PostgreSQL's common types are written here. For any other type,
/// such as an enum, a domain, a range or `jsonb`, the connection asks the server: once for the type, and once for each value, which it
/// sends as a parameter and gets back as text. The text is read under the settings and by the functions that it was written by.
pub trait CopyOutDsl: AsQuery<Query: QueryFragment<Pg>> + Sized {
    /// Returns the query's SQL, with its values as literals, without a connection. A value of a type that only the server can write is
    /// an error that names the type. The SQL means the same under any settings of the session.
    ///
    /// ```
    /// use diesel::prelude::*;
    /// use diesel_copy_out::CopyOutDsl;
    ///
    /// diesel::table! {
    ///     people (id) {
    ///         id -> Integer,
    ///         name -> Text,
    ///     }
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let query = people::table.filter(people::name.eq("O'Neill")).select(people::id);
    /// assert_eq!(
    ///     query.literal_sql()?,
    ///     r#"SELECT "people"."id" FROM "people" WHERE ("people"."name" = ('O''Neill'::pg_catalog.text))"#
    /// );
    /// # Ok(())
    /// # }
    /// ```
    fn literal_sql(self) -> Result<String, Error> {
        written(&self.as_query(), &mut UnknownTypes::default())
    }

    /// Returns the query's SQL, with its values as literals, for this connection: the server writes those that have no literal here.
    fn literal_sql_on(self, connection: &mut CopyConnection) -> Result<String, Error> {
        written(&self.as_query(), connection)
    }

    /// Starts to copy the query's rows.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
    /// use diesel::prelude::*;
    /// use diesel_copy_out::{CopyConnection, CopyOutDsl, Options};
    ///
    /// diesel::table! {
    ///     people (id) {
    ///         id -> Integer,
    ///         name -> Text,
    ///     }
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start();
    /// # let url = cluster.url();
    /// let mut connection = CopyConnection::establish(&url)?;
    /// # connection.execute("create table people (id int primary key, name text); insert into people values (1, 'Ann'), (2, 'O''Neill'), (3, null)")?;
    /// let query = people::table.filter(people::name.like("%'%")).order(people::id);
    /// let mut file = Vec::new();
    /// let mut copy = query.copy_out(&mut connection, &Options::csv().with_header(true))?;
    /// std::io::copy(&mut copy, &mut file)?;
    /// assert_eq!(copy.finish()?, 1);
    /// assert_eq!(file, b"id,name\n2,O'Neill\n");
    /// # Ok(())
    /// # }
    /// ```
    fn copy_out<'c>(
        self,
        connection: &'c mut CopyConnection,
        options: &Options,
    ) -> Result<CopyOut<'c>, Error> {
        let sql = self.literal_sql_on(connection)?;
        connection.copy_out(&sql, options)
    }

    /// Copies the query's rows as a stream, on a thread of its own, with a connection in a box or from a pool.
    ///
    /// There is a stream once the first rows have come, or the end. So if the query is refused, or fails before its first row, there is
    /// none: a web handler can answer with another status. If the future is dropped, it cancels the query.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_server/cluster.rs"));
    /// use diesel::prelude::*;
    /// use diesel_copy_out::{CopyConnection, CopyOutDsl, Options};
    /// use futures_util::StreamExt;
    ///
    /// diesel::table! {
    ///     people (id) {
    ///         id -> Integer,
    ///         name -> Text,
    ///     }
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cluster = Cluster::start();
    /// # let url = cluster.url();
    /// let mut connection = Box::new(CopyConnection::establish(&url)?);
    /// # connection.execute("create table people (id int primary key, name text); insert into people values (1, 'Ann'), (2, 'O''Neill'), (3, null)")?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let mut stream = people::table.copy_out_stream(connection, Options::csv()).await?;
    /// let mut file = Vec::new();
    /// while let Some(chunk) = stream.next().await {
    ///     file.extend_from_slice(&chunk?);
    /// }
    /// assert_eq!(stream.rows(), Some(3));
    /// # assert_eq!(file, b"1,Ann\n2,O'Neill\n3,\n");
    /// # Ok::<_, diesel_copy_out::Error>(())
    /// # })?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "stream")]
    fn copy_out_stream<C>(
        self,
        connection: C,
        options: Options,
    ) -> impl Future<Output = Result<CopyStream, Error>> + Send
    where
        Self: Send + 'static,
        C: DerefMut<Target = CopyConnection> + Send + 'static,
    {
        // The thread writes the query, too, as it may have to ask the server for that.
        let sql = |connection: &mut CopyConnection| self.literal_sql_on(connection);
        async move { CopyStream::start(connection, sql, options)?.started().await }
    }
}

impl<Q: AsQuery<Query: QueryFragment<Pg>>> CopyOutDsl for Q {}

/// Writes a query's SQL with its values.
fn written<Q: QueryFragment<Pg>, T: Types>(query: &Q, types: &mut T) -> Result<String, Error> {
    let mut builder = <Pg as Backend>::QueryBuilder::default();
    query
        .to_sql(&mut builder, &Pg)
        .map_err(Error::from_diesel)?;
    let mut binds = RawBytesBindCollector::new();
    let collected = query.collect_binds(&mut binds, types, &Pg);
    if let Some(failure) = types.failure() {
        return Err(failure);
    }
    collected.map_err(Error::from_diesel)?;
    let values = binds.metadata.iter().zip(&binds.binds);
    let literals = values.map(|(metadata, value)| {
        let oid = metadata.oid();
        let oid = oid.map_err(|error| Error::because(ErrorKind::Unwritable, error))?;
        types.literal(oid, value.as_deref())
    });
    let literals = literals.collect::<Result<Vec<_>, Error>>()?;
    Ok(inlined(&builder.finish(), &literals)?)
}

/// Returns the SQL with the literals in place of `$1`, `$2`, …, except within quotes, comments and names.
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

/// Returns whether a name may start with the character.
fn is_name(character: char) -> bool {
    character == '_' || character.is_ascii_alphabetic() || !character.is_ascii()
}

/// Returns the length of the quoted text at the start. A doubled quote counts as its end and the next one's start, which is as good.
fn quoted(sql: &str, quote: char, has_escapes: bool) -> usize {
    let mut escaped = false;
    for (at, next) in sql.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if has_escapes && next == '\\' {
            escaped = true;
        } else if next == quote {
            // In a text with escapes, what follows a doubled quote has escapes, too.
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

/// Returns the length of the comment at the start, with those within it.
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

/// Returns the length of `$tag$…$tag$` at the start; that of the dollar alone if it begins none.
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
            // What only begins like a quoted text, a comment or a name's end.
            ("1 - $1 / $2 * e", "1 - <1> / <2> * e"),
            ("e = $1", "e = <1>"),
            (r#""\" $1"#, r#""\" <1>"#),
            // What follows at once.
            ("E''$1", "E''<1>"),
            ("/*/**/*/$1/**/$2", "/*/**/*/<1>/**/<2>"),
            ("$x$ $ $1 $x$$1$y", "$x$ $ $1 $x$<1>$y"),
        ] {
            assert_eq!(inlined(sql).as_deref(), Ok(expected), "{sql}");
        }
        assert_eq!(inlined("$3"), Err(Unwritable::Placeholder("3".into())));
        assert_eq!(inlined("$0"), Err(Unwritable::Placeholder("0".into())));
    }
}
