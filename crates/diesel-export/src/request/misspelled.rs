//! Names that somebody may have misspelled.

/// How alike two names must be for one to be taken for a misspelling of the other.
const ALIKE: f64 = 0.7;
/// The most names that a text lists.
const MOST: usize = 40;

/// Says that there is no such name, which is the nearest, and what `what` are.
pub(crate) fn no_such(said: &str, name: &str, what: &str, there_are: &[&str]) -> String {
    if there_are.is_empty() {
        return said.to_owned();
    }
    let meant = nearest(name, there_are)
        .map_or_else(String::new, |nearest| format!("did you mean `{nearest}`? "));
    let mut listed = there_are[..there_are.len().min(MOST)].join(", ");
    match there_are.len().saturating_sub(MOST) {
        0 => {}
        more => listed += &format!(" and {more} more"),
    }
    format!("{said}: {meant}{what} {listed}")
}

/// The name that is most like this one, if any is.
pub(crate) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    names
        .iter()
        .map(|known| (strsim::jaro(&known.to_lowercase(), &name), *known))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}
