use super::*;
use crate::dataset::{Filter, InvalidColumns, RowOrder, Selection};
use crate::{Export, example};

fn scoped(scope: Scope) -> Result<Option<Catalog>, InvalidScope> {
    example::catalog().scoped(&Arc::new(scope))
}

#[test]
fn a_dataset_that_declares_no_such_restriction_is_left_out_with_the_filters_of_it()
-> Result<(), InvalidScope> {
    let all = scoped(Scope::of("ann"))?.map(|catalog| catalog.names().count());
    assert_eq!(all, Some(2));
    let catalog = scoped(Scope::of("ann").rows("shelf", 7))?;
    let catalog = catalog.ok_or(InvalidScope("nothing is left".to_owned()))?;
    assert_eq!(catalog.names().collect::<Vec<_>>(), ["books"]);
    let filters: Vec<&str> = catalog
        .default()
        .filters()
        .iter()
        .map(FilterField::name)
        .collect();
    assert!(!filters.iter().any(|name| name.ends_with("_id")));
    assert!(filters.contains(&"title"));
    Ok(())
}

#[test]
fn only_what_is_named_is_left_and_a_hidden_key_is_nothing_to_choose_from()
-> Result<(), InvalidScope> {
    let chosen_from = |scope| {
        let catalog = scoped(scope)?;
        let names = catalog.iter().flat_map(|catalog| catalog.names());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let datasets = catalog.iter().flat_map(|catalog| catalog.all());
        let mut fields = datasets.flat_map(|dataset| dataset.filters());
        Ok((names, fields.any(|field| field.of() == Some("readers"))))
    };
    let both = vec!["books".to_owned(), "readers".to_owned()];
    let books = vec!["books".to_owned()];
    let all = Scope::of("ann");
    assert_eq!(chosen_from(all.clone())?, (both.clone(), true));
    assert_eq!(
        chosen_from(all.clone().without("readers", "name"))?,
        (both.clone(), true)
    );
    assert_eq!(
        chosen_from(all.clone().without("readers", "id"))?,
        (both, false)
    );
    assert_eq!(chosen_from(all.only(["books"]))?, (books, false));
    Ok(())
}

#[test]
fn every_query_of_a_restricted_dataset_has_the_condition() -> Result<(), InvalidScope> {
    let catalog = scoped(Scope::of("ann").rows("shelf", 7))?;
    let Some(catalog) = catalog else {
        panic!("nothing is left");
    };
    let books = catalog.default();
    let one = || Select::of([Selected::One]);
    let all = Export::of(books).query();
    for query in [books.joined(one()), books.own(one()), all] {
        let sql = diesel::debug_query::<diesel::pg::Pg, _>(&query).to_string();
        assert!(sql.contains(r#""books"."shelf_id" = ($"#), "{sql}");
    }
    assert_ne!(Filter::all(books), Filter::all(&example::books()));
    Ok(())
}

#[test]
fn a_hidden_column_can_be_neither_named_nor_compared_nor_sorted_by() -> Result<(), InvalidScope> {
    let catalog = scoped(
        Scope::of("ann")
            .without("books", "lent")
            .without("books", "title"),
    )?;
    let Some(catalog) = catalog else {
        panic!("nothing is left");
    };
    let books = catalog.default();
    let unknown = |error: InvalidColumns| error.to_string().contains("there is no column");
    for name in ["lent", "title"] {
        assert!(Selection::parse(books, name).is_err_and(unknown), "{name}");
        assert!(RowOrder::parse(books, name).is_err_and(unknown), "{name}");
        assert!(
            !books
                .filters()
                .iter()
                .any(|field| field.name().starts_with(name))
        );
    }
    let kept = Selection::default_of(books);
    assert_eq!(kept.names().collect::<Vec<_>>(), ["id", "shelf_id"]);
    Ok(())
}

#[test]
fn a_scope_of_what_is_not_there_is_an_error_and_no_wider_scope() {
    for (scope, said) in [
        (
            Scope::of("ann").rows("tenant", 7),
            "no dataset has a restriction `tenant`",
        ),
        (
            Scope::of("ann").rows("shelf", "x"),
            "the restriction `shelf` of `books`: expected",
        ),
        (
            Scope::of("ann").rows("shelf", ""),
            "the restriction `shelf` of `books`: expected",
        ),
        (Scope::of("").rows("shelf", 7), "the user has no name"),
        (
            Scope::of("ann").rows("shelf", "7,8"),
            "the restriction `shelf` of `books`: given more than once",
        ),
        (Scope::of("ann").as_role("none"), "`none` is no role"),
        (
            Scope::of("ann").only(["boks"]),
            "there is no dataset `boks`",
        ),
        (
            Scope::of("ann").without("books", "price"),
            "there is no column `price`",
        ),
        (
            Scope::of("ann").without("films", "id"),
            "there is no column `id` of a dataset `films`",
        ),
    ] {
        let error = scoped(scope).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.starts_with(said)), "{said}");
    }
}

#[test]
fn nothing_is_left_where_no_column_is() -> Result<(), InvalidScope> {
    let mut scope = Scope::of("ann").rows("shelf", 7);
    for column in ["id", "title", "lent", "shelf_id"] {
        scope = scope.without("books", column);
    }
    assert!(scoped(scope)?.is_none());
    Ok(())
}
