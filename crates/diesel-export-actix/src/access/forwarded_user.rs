//! Who a proxy says that the user of a request is.

use std::future::ready;
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpRequest, web};

use crate::access::rules::AccessRules;
use crate::access::visible::Authorize;
use crate::problem::{Kind, Problem};
use crate::service::app::App;
use diesel_export::dataset::Scope;

/// The most characters of a name.
const MAX_NAME: usize = 128;
/// The most bytes of a user's groups together.
const MAX_GROUPS: usize = 8 * 1024;
/// Who asks for `/metrics` without a user: whatever has the token, as the proxy does.
const METRICS: &str = "metrics";

/// The header fields in which a proxy names the user of a request and the user's groups.
///
/// They are believed: only the proxy may reach the service, or have its token.
#[derive(Debug, Clone)]
pub struct ForwardedUser {
    user: HeaderName,
    groups: Option<HeaderName>,
}

impl ForwardedUser {
    /// Users by this header field, and their groups, separated by commas, by another one, if there is one.
    pub fn new(user: HeaderName, groups: Option<HeaderName>) -> Self {
        Self { user, groups }
    }

    /// Lets each user see what the rules say or, without rules, all. Each has prepared exports alone, as [`Scope::of`] says.
    pub fn authorize(self, rules: Option<AccessRules>) -> Authorize {
        let shared = Arc::new((self, rules));
        Authorize::new(move |request| {
            let (headers, rules) = &*shared;
            ready(headers.scope(request, rules.as_ref()).map_err(Into::into))
        })
    }

    fn scope(&self, request: &HttpRequest, rules: Option<&AccessRules>) -> Result<Scope, Problem> {
        let headers = request.headers();
        let app = request.app_data::<web::Data<App>>();
        let path = app.map(|app| app.settings.base_path.strip(request.path()));
        if path == Some("/metrics") {
            return match headers.contains_key(&self.user) {
                false => Ok(Scope::of(METRICS)),
                true => Err(Problem::new(Kind::NotFound)),
            };
        }
        let (user, groups) = self.read(headers)?;
        match rules {
            None => Ok(Scope::of(user)),
            Some(rules) => rules
                .scope(user, &groups)
                .ok_or_else(|| Problem::new(Kind::NoDatasets)),
        }
    }

    /// Returns the user and the user's groups.
    fn read<'h>(&self, headers: &'h HeaderMap) -> Result<(&'h str, Vec<&'h str>), Problem> {
        for ours in [Some(&self.user), self.groups.as_ref()]
            .into_iter()
            .flatten()
        {
            // Some servers in between take it for ours.
            let mut others = headers.keys().filter(|name| *name != ours);
            if others.any(|name| name.as_str().replace('_', "-") == ours.as_str().replace('_', "-"))
            {
                let detail = format!("`{ours}`: there is a header field of almost the same name");
                return Err(Problem::with_detail(Kind::InvalidParameter, detail));
            }
        }
        let user = only(headers, &self.user)?.map(str::trim);
        let user = user.filter(|user| is_name(user)).ok_or_else(unknown)?;
        let Some(groups) = self.groups.as_ref() else {
            return Ok((user, Vec::new()));
        };
        let groups = only(headers, groups)?.unwrap_or_default();
        if groups.trim().is_empty() {
            return Ok((user, Vec::new()));
        }
        let names: Vec<&str> = groups.split(',').map(str::trim).collect();
        match groups.len() <= MAX_GROUPS && names.iter().all(|name| is_name(name)) {
            true => Ok((user, names)),
            false => Err(unknown()),
        }
    }
}

fn unknown() -> Problem {
    let detail = "the proxy does not say who the user is";
    Problem::with_detail(Kind::Unauthorized, detail)
}

/// Returns the value of a header field that may be there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name);
    let value = values.next();
    if values.next().is_some() {
        return Err(unknown());
    }
    let value = value.map(|value| std::str::from_utf8(value.as_bytes()));
    value.transpose().map_err(|_| unknown())
}

fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=MAX_NAME).contains(&length) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError as _;
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;

    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<(String, Vec<String>), StatusCode> {
        let forwarded = ForwardedUser::new(
            HeaderName::from_static("x-forwarded-user"),
            Some(HeaderName::from_static("x-forwarded-groups")),
        );
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        let request = request.to_http_request();
        let (user, groups) = forwarded
            .read(request.headers())
            .map_err(|problem| problem.status_code())?;
        let groups = groups.into_iter().map(str::to_owned).collect();
        Ok((user.to_owned(), groups))
    }

    #[test]
    fn one_user_is_named_once_and_groups_are_separated_by_commas() {
        const USER: &str = "X-Forwarded-User";
        const GROUPS: &str = "X-Forwarded-Groups";
        let ann = |groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            Ok(("ann".to_owned(), groups))
        };
        assert_eq!(read(&[(USER, "ann")]), ann(&[]));
        assert_eq!(read(&[(USER, " ann "), (GROUPS, "")]), ann(&[]));
        assert_eq!(
            read(&[(USER, "ann"), (GROUPS, "a b, c")]),
            ann(&["a b", "c"])
        );
        let long = "x".repeat(MAX_NAME + 1);
        let many = vec!["group"; 2_000].join(",");
        for forged in [
            &[][..],
            &[(USER, "")],
            &[(USER, "  ")],
            &[(USER, &long)],
            &[(USER, "ann"), (USER, "bob")],
            &[(USER, "ann"), (GROUPS, "a,,b")],
            &[(USER, "ann"), (GROUPS, "a"), (GROUPS, "b")],
            &[(USER, "ann"), (GROUPS, &many)],
        ] {
            assert_eq!(read(forged), Err(StatusCode::UNAUTHORIZED), "{forged:?}");
        }
        for name in ["X_Forwarded_User", "X-Forwarded_User", "X_Forwarded_Groups"] {
            let forged = [(USER, "ann"), (name, "admin")];
            assert_eq!(read(&forged), Err(StatusCode::BAD_REQUEST), "{name}");
        }
    }
}
