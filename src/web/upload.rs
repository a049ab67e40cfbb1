//! What a form with a file sends: `multipart/form-data` ([RFC 7578](https://www.rfc-editor.org/rfc/rfc7578)), held in memory.

use memchr::memmem;

/// The fields of a form: each with its name, and its value or its file's content.
pub(super) type Fields<'a> = Vec<(String, &'a [u8])>;

/// What separates the fields, if this is such a form's content type.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameter(parameters, "boundary")?;
    // What RFC 2046 allows; and none at all would be found everywhere.
    (1..=70).contains(&value.len()).then_some(value)
}

/// The fields in a form's body; `None` if the body is not whole.
pub(super) fn fields<'a>(body: &'a [u8], boundary: &str) -> Option<Fields<'a>> {
    let delimiter = format!("\r\n--{boundary}");
    let mut fields = Fields::new();
    // The first one has no line before it.
    let mut rest = body.strip_prefix(&delimiter.as_bytes()[2..])?;
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let (head, after) = split(rest, b"\r\n\r\n")?;
        let (content, after) = split(after, delimiter.as_bytes())?;
        fields.push((name(head)?, content));
        rest = after;
    }
    Some(fields)
}

fn name(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    let (_, parameters) = disposition.split_once(';')?;
    parameter(parameters, "name").map(str::to_owned)
}

/// A parameter's value. Our fields' names and browsers' boundaries have no semicolon in quotes; a file's name may have one, and
/// comes last.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (given, value) = parameter.trim().split_once('=')?;
        given
            .eq_ignore_ascii_case(name)
            .then(|| value.trim_matches('"'))
    })
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = memmem::find(bytes, at)?;
    Some((&bytes[..start], &bytes[start + at.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_is_that_of_a_form() {
        for (given, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data;charset=x; Boundary=\"abc\"",
                Some("abc"),
            ),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(given), expected, "{given}");
        }
    }

    #[test]
    fn fields_are_found_and_halves_of_forms_are_not_taken() {
        let whole = b"--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nold one\r\n--b\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"a;name=x.json\"\r\nContent-Type: application/json\r\n\r\n\
            {\r\n\r\n}--b\r\n--b--\r\n";
        let expected: Fields<'_> = vec![
            ("name".to_owned(), b"old one"),
            ("file".to_owned(), b"{\r\n\r\n}--b"),
        ];
        assert_eq!(fields(whole, "b"), Some(expected));
        assert_eq!(fields(b"--b--", "b"), Some(vec![]));
        for length in 0..whole.len() - b"--\r\n".len() {
            assert_eq!(fields(&whole[..length], "b"), None, "{length}");
        }
        for body in [
            &b""[..],
            b"{}",
            b"--c--",
            b"--bb\r\n",
            b"--b\r\n\r\n\r\n--b--",
        ] {
            assert_eq!(fields(body, "b"), None);
        }
    }
}
