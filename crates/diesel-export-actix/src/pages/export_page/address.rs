//! Where pages and files are.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::HOST;

use crate::access::visible::Visible;
use crate::service::app::App;
use crate::service::base_path::BasePath;
use diesel_export::dataset::Dataset;
use diesel_export::format::FileType;
use diesel_export::parameters::Parameters;

/// Returns the address of a dataset's page.
pub(crate) fn path(dataset: &Arc<dyn Dataset>, app: &App, visible: &Visible) -> String {
    let name = match dataset == visible.catalog.default() {
        true => "",
        false => dataset.name(),
    };
    app.address(format_args!("/{name}"))
}

/// Returns the address of the page with these parameters.
pub(crate) fn address(parameters: &Parameters, app: &App, visible: &Visible) -> String {
    let chosen = chosen(parameters);
    let path = path(parameters.filter.dataset(), app, visible);
    format!("{path}?{}", query(&chosen))
}

/// Returns the parameters as names and values of the page's address.
pub(crate) fn chosen(parameters: &Parameters) -> Vec<(String, String)> {
    let mut chosen = parameters.to_pairs();
    let format = parameters.file_type;
    if format != FileType::Csv {
        chosen.push(("format".to_owned(), format.to_string()));
    }
    chosen
}

/// Returns the file's path, as the list of routes has it.
pub(crate) fn download(parameters: &Parameters, pairs: &[(String, String)]) -> String {
    let name = parameters.filter.dataset().name();
    let extension = parameters.file_type.extension();
    let query = query(pairs);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("/{name}.{extension}{separator}{query}")
}

pub(crate) fn query<'p>(pairs: impl IntoIterator<Item = &'p (String, String)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Returns the command that downloads, up to the file's path.
pub(crate) fn curl(request: &HttpRequest, base: &BasePath, token_variable: Option<&str>) -> String {
    // As the request has it: what `X-Forwarded-Host` has, anybody may have written.
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_else(|| request.app_config().host());
    let scheme = match request.connection_info().scheme() {
        "https" => "https",
        _ => "http",
    };
    let token = token_variable.map(|name| format!("-H \"Authorization: Bearer ${name}\" "));
    let token = token.unwrap_or_default();
    format!(
        "curl -fOJ {token}'{scheme}://{}{base}",
        host.replace('\'', r"'\''")
    )
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn curl_for(headers: &[(&str, &str)]) -> String {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        curl(&request.to_http_request(), &BasePath::default(), None)
    }

    #[test]
    fn the_command_has_the_host_that_was_asked_in_quotes() {
        let host = ("Host", "exports.example.org:8080");
        let forged = ("X-Forwarded-Host", "evil.example");
        let command = curl_for(&[host, forged, ("X-Forwarded-Proto", "https")]);
        assert_eq!(command, "curl -fOJ 'https://exports.example.org:8080");
        let command = curl_for(&[("Host", "a'$(id)'.x"), ("X-Forwarded-Proto", "';id;'")]);
        assert_eq!(command, r"curl -fOJ 'http://a'\''$(id)'\''.x");
    }
}
