//! The digest of a file, as [RFC 9530](https://www.rfc-editor.org/rfc/rfc9530) has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The name of its field in a response's header.
pub(crate) const REPR_DIGEST: &str = "Repr-Digest";

/// Its value, of a SHA-256 in hexadecimal.
pub(crate) fn repr_digest(sha256: &str) -> Option<String> {
    let digits = (0..sha256.len()).step_by(2);
    let bytes = digits.map(|at| u8::from_str_radix(sha256.get(at..at + 2)?, 16).ok());
    let digest = STANDARD.encode(bytes.collect::<Option<Vec<u8>>>()?);
    (!digest.is_empty()).then(|| format!("sha-256=:{digest}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_from_its_digits() {
        assert_eq!(repr_digest("00ff1a").as_deref(), Some("sha-256=:AP8a:"));
        for other in ["", "0", "0g"] {
            assert_eq!(repr_digest(other), None, "{other}");
        }
    }
}
