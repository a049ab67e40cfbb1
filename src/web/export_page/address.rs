//! Where pages and files are.

use actix_web::HttpRequest;

use crate::datasets;
use crate::export::dataset::Dataset;
use crate::export::format::FileType;
use crate::export::parameters::Parameters;

/// Returns the address of a dataset's page.
pub(super) fn path(dataset: &dyn Dataset) -> String {
    if *dataset == *datasets::default() {
        "/".to_owned()
    } else {
        format!("/{}", dataset.name())
    }
}

/// Returns the address of the page with these parameters.
pub(in crate::web) fn address(parameters: &Parameters) -> String {
    let chosen = chosen(parameters);
    format!("{}?{}", path(parameters.filter.dataset()), query(&chosen))
}

/// Returns the parameters as names and values of the page's address.
pub(super) fn chosen(parameters: &Parameters) -> Vec<(&'static str, String)> {
    let mut chosen = parameters.to_pairs();
    if parameters.file_type == FileType::Xlsx {
        chosen.push(("format", "xlsx".to_owned()));
    }
    chosen
}

/// Returns the file's address.
pub(super) fn download(parameters: &Parameters, pairs: &[(&'static str, String)]) -> String {
    let name = parameters.filter.dataset().name();
    let extension = parameters.file_type.extension();
    let query = query(pairs);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("/{name}.{extension}{separator}{query}")
}

pub(super) fn query<'p>(pairs: impl IntoIterator<Item = &'p (&'static str, String)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Returns the command that downloads, up to the path.
pub(super) fn curl(request: &HttpRequest, needs_token: bool) -> String {
    let connection = request.connection_info();
    let token = if needs_token {
        "-H \"Authorization: Bearer $CMMS_AUTH_TOKEN\" "
    } else {
        ""
    };
    format!(
        "curl -fOJ {token}'{}://{}",
        connection.scheme(),
        connection.host()
    )
}
