//! What an export is asked for with in a request's body, as JSON or as a form.

use actix_web::HttpRequest;
use serde_json::{Map, Value};

use crate::pages::html::{accepts_html, has_form};
use crate::problem::query_string::{QueryString, invalid};
use crate::problem::{Kind, Problem};
use diesel_export::dataset::{Catalog, ColumnKind, FilterField, FilterTest, InvalidFilter};
use diesel_export::format::FileType;
use diesel_export::parameters::{Pair, Parameters, named};

/// An export that is asked for.
pub(crate) struct Order {
    /// Whether a page's form asks.
    pub(crate) is_page: bool,
    /// Whether it must have all that the primary has now, if that is said.
    fresh: Option<bool>,
    pub(crate) parameters: Parameters,
}

impl Order {
    /// Reads a request. The parameters have the same names as those of the download; `dataset` and `format` are in its path there.
    pub(crate) fn read(
        request: &HttpRequest,
        body: &[u8],
        catalog: &Catalog,
    ) -> Result<Self, Problem> {
        let unclear = |detail: &str| Problem::with_detail(Kind::InvalidParameter, detail);
        let is_form = has_form(request);
        let mut query = if is_form {
            let text = std::str::from_utf8(body).map_err(|_| unclear("the form is not UTF-8"))?;
            QueryString::parse(text)?
        } else if body.is_empty() {
            QueryString::of(Vec::new())
        } else {
            let values: Map<String, Value> =
                serde_json::from_slice(body).map_err(|error| unclear(&error.to_string()))?;
            QueryString::of(pairs(values, catalog)?)
        };
        let dataset = match query.take("dataset")?.as_deref() {
            None | Some("") => catalog.default(),
            Some(name) => catalog.find(name).ok_or_else(|| {
                let names: Vec<&str> = catalog.names().collect();
                invalid("dataset", &format!("expected one of {}", names.join(", ")))
            })?,
        };
        let format = query.take("format")?.unwrap_or_default();
        let file_type = named("format", &format)?;
        let is_page = is_form && accepts_html(request.headers());
        if is_page && file_type == FileType::Xlsx {
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

/// The names and values of a JSON object as a form has them. A value must be of its parameter's type.
fn pairs(values: Map<String, Value>, catalog: &Catalog) -> Result<Vec<Pair<'static>>, Problem> {
    let mut pairs: Vec<Pair<'static>> = Vec::new();
    for (name, value) in values {
        let mut fields = catalog.all().flat_map(|dataset| dataset.filters());
        let texts = match fields.find(|field| field.name() == name) {
            Some(field) => filter(field, &value),
            None => option(&name, &value).map(|text| vec![text]),
        };
        let texts = texts.map_err(|expected| invalid(&name, &format!("expected {expected}")))?;
        pairs.extend(
            texts
                .into_iter()
                .map(|text| (name.clone().into(), text.into())),
        );
    }
    Ok(pairs)
}

/// The values of a filter: one, or an array of them if it takes several.
fn filter(field: &FilterField, value: &Value) -> Result<Vec<String>, String> {
    match value.as_array() {
        Some(values) if field.test() == FilterTest::OneOf && !values.is_empty() => {
            values.iter().map(|value| text(field, value)).collect()
        }
        _ => Ok(vec![text(field, value)?]),
    }
}

/// A value of a filter. A comma or a blank in it separates nothing, and an empty text is none.
fn text(field: &FilterField, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::Bool(value) if field.is_boolean() => Some(value.to_string()),
        Value::Number(_) if *field.kind() == ColumnKind::Integer => {
            integer(value).map(|value| value.to_string())
        }
        Value::Number(number)
            if matches!(field.kind(), ColumnKind::Decimal | ColumnKind::Float) =>
        {
            Some(number.to_string())
        }
        Value::String(text) if field.takes_none() && text == "none" => Some(text.clone()),
        Value::String(text) if !field.is_boolean() && *field.kind() != ColumnKind::Integer => {
            Some(text.clone())
        }
        _ => None,
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

fn option(name: &str, value: &Value) -> Result<String, String> {
    let (text, expected) = match name {
        "columns" => (columns(value), "a list of columns' names"),
        "fresh" => (
            value.as_bool().map(|value| value.to_string()),
            "`true` or `false`",
        ),
        _ => {
            let text = value.as_str().filter(|text| !text.is_empty());
            (text.map(str::to_owned), "a text")
        }
    };
    text.ok_or_else(|| expected.to_owned())
}

fn columns(value: &Value) -> Option<String> {
    let names = value.as_array()?.iter();
    let names: Vec<&str> = names.map(Value::as_str).collect::<Option<_>>()?;
    // A comma would be two columns.
    let are_names = names.iter().all(|name| !name.contains(','));
    are_names.then(|| names.join(","))
}

/// The integer that a number is, which may be written with a point: to a schema 5.0 is one.
fn integer(value: &Value) -> Option<i64> {
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= (1_u64 << 53) as f64;
    value
        .as_i64()
        .or_else(|| Some(value.as_f64().filter(whole)? as i64))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;
    use diesel_export::example;

    fn read(kind: &str, body: &str) -> Result<String, String> {
        let request = TestRequest::post().insert_header((CONTENT_TYPE, kind));
        let order = Order::read(
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
    fn the_pages_form_asks_for_all_that_the_primary_has_as_its_script_does() -> Result<(), Problem>
    {
        let request = TestRequest::post()
            .insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .insert_header((ACCEPT, "text/html,*/*;q=0.8"))
            .to_http_request();
        let is_fresh = |body, knows_primary| {
            Order::read(&request, body, &example::catalog())
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
                "`format`: expected one of `csv`, `xlsx`",
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
            (json!({"filter": {}}), "`filter`: expected a text"),
        ] {
            let error = json(&wrong).err().unwrap_or_default();
            assert!(error.contains(said), "{wrong}: {error}");
        }
        assert!(form("title=%ff").is_err());
        assert!(read("application/json", "[]").is_err());
    }
}
