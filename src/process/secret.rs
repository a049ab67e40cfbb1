//! Secrets in files, so that neither the process list nor the environment shows them.

use std::fs;

/// The text in a file, without the line end: the value of a flag such as `--auth-token-file`.
pub fn in_file(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the file is empty".to_owned()),
        // Further lines would be ignored, unnoticed.
        secret if secret.contains('\n') => Err("the file has more than one line".to_owned()),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        fs::write(file.path(), text).map_err(|error| error.to_string())?;
        in_file(&file.path().to_string_lossy())
    }

    #[test]
    fn a_secret_is_one_line() {
        assert_eq!(read("s3cret\n"), Ok("s3cret".to_owned()));
        assert_eq!(read(" s3 cret \r\n"), Ok(" s3 cret ".to_owned()));
        assert!(read("\n").is_err());
        assert!(read("one\ntwo\n").is_err());
    }
}
