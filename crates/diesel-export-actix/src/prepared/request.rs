//! What an export is asked for with in a request's body, as JSON or as a form.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::HttpRequest;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::pages::html::{accepts_html, has_form};
use crate::problem::query_string::{QueryString, invalid};
use crate::problem::{Kind, Problem};
use diesel_export::dataset::{
    Catalog, ColumnKind, Dataset, FilterField, FilterTest, InvalidFilter,
};
use diesel_export::format::FileType;
use diesel_export::parameters::{OPTIONS, Pair, Parameters, named};

/// An export that is asked for.
pub(crate) struct ExportRequest {
    /// Whether a page's form asks.
    pub(crate) is_page: bool,
    /// Whether it must have all that the primary has now, if that is said.
    fresh: Option<bool>,
    pub(crate) parameters: Parameters,
}

impl ExportRequest {
    /// Reads a request. The parameters have the same names as those of the download; `dataset` and `format` are in its path there.
    pub(crate) fn read(
        request: &HttpRequest,
        body: &[u8],
        catalog: &Catalog,
    ) -> Result<Self, Problem> {
        let unclear = |detail: &str| Problem::with_detail(Kind::InvalidParameter, detail);
        let is_form = has_form(request);
        let (dataset, mut query) = if is_form {
            let text = std::str::from_utf8(body).map_err(|_| unclear("the form is not UTF-8"))?;
            let mut query = QueryString::parse(text)?.of_form();
            let name = query.take("dataset")?;
            (find(catalog, name.as_deref())?, query)
        } else {
            let mut members = match body {
                [] => Members::new(),
                json => {
                    serde_json::from_slice(json).map_err(|error| unclear(&error.to_string()))?
                }
            };
            let name = members.remove("dataset");
            let name = name.map(|value| option("dataset", &value)).transpose()?;
            let dataset = find(catalog, name.as_deref())?;
            (dataset, QueryString::of(pairs(members, dataset)?))
        };
        let format = query.take("format")?.unwrap_or_default();
        let file_type = named("format", &format)?;
        let is_page = is_form && accepts_html(request.headers());
        if is_page && file_type != FileType::Csv {
            // The page's form has what is of CSV alone, whatever is chosen.
            query.take("preset")?;
            query.take("delimiter")?;
        }
        let fresh = query.take_bool("fresh")?;
        let parameters = Parameters::from_pairs(dataset, file_type, query.rest())?;
        Ok(Self {
            is_page,
            fresh,
            parameters,
        })
    }

    /// Returns whether it must have all that the primary has. The page's form asks for it as its script does: if there is a primary.
    pub(crate) fn is_fresh(&self, knows_primary: bool) -> bool {
        self.fresh.unwrap_or(self.is_page && knows_primary)
    }
}

/// The members of a JSON object. Their values are JSON, which keeps all digits of a number.
type Members = BTreeMap<String, Box<RawValue>>;

/// The dataset of this name; the default one if it is empty.
fn find<'c>(catalog: &'c Catalog, name: Option<&str>) -> Result<&'c Arc<dyn Dataset>, Problem> {
    match name {
        None | Some("") => Ok(catalog.default()),
        Some(name) => catalog.find(name).ok_or_else(|| {
            let names: Vec<&str> = catalog.names().collect();
            invalid("dataset", &format!("expected one of {}", names.join(", ")))
        }),
    }
}

/// The names and values of a JSON object as a form has them. A value must be of its parameter's type.
fn pairs(members: Members, dataset: &Arc<dyn Dataset>) -> Result<Vec<Pair<'static>>, Problem> {
    let mut pairs: Vec<Pair<'static>> = Vec::new();
    for (name, value) in members {
        let mut fields = dataset.filters().iter();
        let texts = match fields.find(|field| field.name() == name) {
            Some(field) => filter(field, &value)
                .map_err(|expected| invalid(&name, &format!("expected {expected}")))?,
            None => vec![option(&name, &value)?],
        };
        let texts = texts.into_iter();
        pairs.extend(texts.map(|text| (name.clone().into(), text.into())));
    }
    Ok(pairs)
}

/// The values of a filter: one, or an array of them if it takes several.
fn filter(field: &FilterField, value: &RawValue) -> Result<Vec<String>, String> {
    match read::<Vec<Box<RawValue>>>(value) {
        Some(values) if field.test() == FilterTest::OneOf && !values.is_empty() => {
            values.iter().map(|value| text(field, value)).collect()
        }
        _ => Ok(vec![text(field, value)?]),
    }
}

/// A value of a filter. A comma or a blank in it separates nothing, and an empty text is none.
fn text(field: &FilterField, value: &RawValue) -> Result<String, String> {
    let json = value.get();
    let string = read::<String>(value);
    let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let text = match field.kind() {
        _ if field.takes_none() && string.as_deref() == Some("none") => string,
        ColumnKind::Boolean | ColumnKind::Label(_) => {
            read::<bool>(value).map(|value| value.to_string())
        }
        ColumnKind::Integer if is_number => integer(json).map(|value| value.to_string()),
        // In a manifest, an id is a text where it may be `none`.
        ColumnKind::Integer => string.filter(|_| field.takes_none()),
        ColumnKind::Decimal | ColumnKind::Float if is_number => Some(json.to_owned()),
        _ => string,
    };
    let is_one = |text: &String| {
        field
            .parse(text)
            .is_ok_and(|value| value.single().is_some())
    };
    text.filter(|text| text.is_empty() || is_one(text))
        .ok_or_else(|| match field.parse("") {
            // What it expects, it says of the empty text.
            Err(InvalidFilter::Expected(expected)) => expected,
            _ => "a text".to_owned(),
        })
}

/// A parameter that is no filter. What every export lacks, too, is refused later, whatever its value is.
fn option(name: &str, value: &RawValue) -> Result<String, Problem> {
    let is_known =
        ["dataset", "format"].contains(&name) || OPTIONS.iter().any(|(known, _)| *known == name);
    let (text, expected) = match name {
        "columns" => (columns(value), "a list of columns' names"),
        "fresh" => (
            read::<bool>(value).map(|value| value.to_string()),
            "`true` or `false`",
        ),
        _ if is_known => (
            read(value).filter(|text: &String| !text.is_empty()),
            "a text",
        ),
        _ => (Some(value.get().to_owned()), ""),
    };
    text.ok_or_else(|| invalid(name, &format!("expected {expected}")))
}

fn columns(value: &RawValue) -> Option<String> {
    let names: Vec<String> = read(value)?;
    // A comma would be two columns.
    let are_names = names.iter().all(|name| !name.contains(','));
    are_names.then(|| names.join(","))
}

/// The value, if it is of this type.
fn read<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// The integer that a number is, which may be written with a point: to a schema 5.0 is one.
fn integer(json: &str) -> Option<i64> {
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= (1_u64 << 53) as f64;
    json.parse()
        .ok()
        .or_else(|| Some(json.parse().ok().filter(whole)? as i64))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
    use actix_web::test::TestRequest;
    use serde_json::{Value, json};

    use super::*;
    use diesel_export::example;

    fn read(kind: &str, body: &str) -> Result<String, String> {
        let request = TestRequest::post().insert_header((CONTENT_TYPE, kind));
        let order = ExportRequest::read(
            &request.to_http_request(),
            body.as_bytes(),
            &example::catalog(),
        );
        let order = order.map_err(|problem| problem.to_string())?;
        let parameters = order.parameters;
        let pairs: Vec<String> = parameters
            .to_pairs()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let is_xlsx = parameters.file_type == FileType::Xlsx;
        let dataset = parameters.filter.dataset().name();
        Ok(format!(
            "{dataset} {} {is_xlsx} {}",
            pairs.join("&"),
            order.fresh.unwrap_or_default()
        ))
    }

    fn json(value: &Value) -> Result<String, String> {
        read("application/json", &value.to_string())
    }

    fn form(body: &str) -> Result<String, String> {
        read("application/x-www-form-urlencoded", body)
    }

    #[test]
    fn json_and_a_form_say_the_same() {
        assert_eq!(
            json(&json!({})),
            Ok("books preset=data false false".to_owned())
        );
        assert_eq!(form(""), json(&json!({})));
        assert_eq!(form("dataset=&format=&preset="), form(""));
        assert_eq!(read("application/json", ""), form(""));
        let all = json!({"dataset": "books", "lent": false, "shelf_id": 3.0, "reader_id": "none", "title": "a b",
            "columns": ["title", "id"], "strategy": "copy", "preset": "excel", "delimiter": ";", "format": "csv", "fresh": true});
        let expected = "books shelf_id=3&reader_id=none&lent=false&title=a b&columns=title,id&preset=excel&delimiter=;&strategy=copy false true";
        assert_eq!(json(&all).as_deref(), Ok(expected));
        let body = "lent=false&shelf_id=3&reader_id=none&title=a+b&columns=title&columns=id&strategy=copy&preset=excel\
            &delimiter=%3B&format=csv&fresh=true&dataset=";
        assert_eq!(form(body).as_deref(), Ok(expected));
        let several = json!({"shelf_id": [3, 4], "reader_id": ["none", 5], "title_is": ["a, b", "c"], "pages_from": 10, "genre": ["comic"]});
        let expected = "books shelf_id=3,4&reader_id=none,5&title_is=a, b&title_is=c&pages_from=10&genre=comic&preset=data false false";
        assert_eq!(json(&several).as_deref(), Ok(expected));
        let body = "shelf_id=3,4&reader_id=none&reader_id=5&title_is=a,+b&title_is=c&pages_from=10&pages_to=&genre=comic";
        assert_eq!(form(body).as_deref(), Ok(expected));
        let workbook = json!({"dataset": "readers", "format": "xlsx", "name": "ann"});
        assert_eq!(
            json(&workbook).as_deref(),
            Ok("readers name=ann true false")
        );
    }

    #[test]
    fn a_value_is_read_by_the_datasets_own_filter_and_as_it_is_written() {
        let digits = "1.00000000000000000001";
        let exact = format!(r#"{{"pages_from": {digits}, "dataset": "readers"}}"#);
        let expected = format!("readers pages_from={digits}&preset=data false false");
        assert_eq!(read("application/json", &exact), Ok(expected));
        let integers = json(&json!({"dataset": "books", "pages_from": 1.5}));
        assert!(integers.is_err_and(|error| error.contains("`pages_from`: expected an integer")));
        // As a manifest has it.
        assert_eq!(
            json(&json!({"reader_id": ["3", "none"]})),
            form("reader_id=3,none")
        );
    }

    #[test]
    fn the_pages_form_asks_for_all_that_the_primary_has_as_its_script_does() -> Result<(), Problem>
    {
        let request = TestRequest::post()
            .insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .insert_header((ACCEPT, "text/html,*/*;q=0.8"))
            .to_http_request();
        let is_fresh = |body, knows_primary| {
            ExportRequest::read(&request, body, &example::catalog())
                .map(|order| order.is_fresh(knows_primary))
        };
        assert!(is_fresh(b"dataset=books", true)?);
        assert!(!is_fresh(b"dataset=books", false)?);
        assert!(is_fresh(b"fresh=true", false)?);
        assert!(!is_fresh(b"fresh=false", true)?);
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (wrong, said) in [
            (
                json!({"dataset": "pumps"}),
                "`dataset`: expected one of books, ",
            ),
            (
                json!({"format": "pdf"}),
                "`format`: expected one of `csv`, `xlsx`, `ndjson`",
            ),
            (json!({"format": ""}), "`format`: expected a text"),
            (json!({"format": "xlsx", "preset": "data"}), "`preset`: "),
            (json!({"colour": "red"}), "unknown parameter `colour`"),
            (
                json!({"export_id": "mine"}),
                "unknown parameter `export_id`",
            ),
            (
                json!({"dataset": "readers", "lent": true}),
                "unknown parameter `lent`",
            ),
            (
                json!({"lent": "true"}),
                "`lent`: expected `true` or `false`",
            ),
            (json!({"title": null}), "`title`: expected a text"),
            (json!({"title": 3}), "`title`: expected a text"),
            (json!({"shelf_id": "3"}), "`shelf_id`: expected an id"),
            (json!({"shelf_id": [3, "4"]}), "`shelf_id`: expected an id"),
            (json!({"shelf_id": []}), "`shelf_id`: expected an id"),
            (json!({"title": ["a"]}), "`title`: expected a text"),
            (json!({"pages_to": "9"}), "`pages_to`: expected an integer"),
            (
                json!({"genre": "novel,comic"}),
                "`genre`: expected one of `novel`, `comic`, or `none`",
            ),
            (json!({"shelf_id": 3.5}), "`shelf_id`: expected an id"),
            (json!({"columns": "id"}), "`columns`: expected a list"),
            (
                json!({"columns": ["id,title"]}),
                "`columns`: expected a list",
            ),
            (
                json!({"columns": []}),
                "`columns`: a column's name is empty",
            ),
            (json!({"filter": {}}), "unknown parameter `filter`"),
        ] {
            let error = json(&wrong).err().unwrap_or_default();
            assert!(error.contains(said), "{wrong}: {error}");
        }
        assert!(form("title=%ff").is_err());
        assert!(read("application/json", "[]").is_err());
    }
}
