//! Names that addresses, flags and files can have, for whatever a database calls its tables and columns.

use std::collections::HashSet;

use crate::dataset::{is_parameter, why_no_dataset_name};

/// Names that are in use.
#[derive(Default)]
pub(super) struct Taken(HashSet<String>);

impl Taken {
    /// Takes the first of these names that is free; if none is, the last one with a number.
    pub(super) fn take<const N: usize>(&mut self, candidates: [String; N]) -> String {
        self.take_with(candidates, &[""])
    }

    /// The same, of a name that is only used with each of these endings.
    pub(super) fn take_with<const N: usize>(
        &mut self,
        candidates: [String; N],
        endings: &[&str],
    ) -> String {
        let last = candidates.last().cloned().unwrap_or_default();
        let numbered = (2_u32..).map(|number| format!("{last}_{number}"));
        let mut all = candidates.into_iter().chain(numbered);
        let is_free = |name: &String| {
            let mut endings = endings.iter();
            endings.all(|ending| !self.0.contains(&format!("{name}{ending}")))
        };
        let name = all.find(is_free).unwrap_or_default();
        let names = endings.iter().map(|ending| format!("{name}{ending}"));
        self.0.extend(names);
        name
    }
}

/// Letters of ASCII in lower case, digits, `_` and `-`: an address, whatever the name is.
fn address(name: &str) -> String {
    let mut address = String::new();
    for character in name.chars() {
        match character {
            'A'..='Z' => address.push(character.to_ascii_lowercase()),
            'a'..='z' | '0'..='9' | '-' => address.push(character),
            _ if address.ends_with('_') => {}
            _ => address.push('_'),
        }
    }
    address.trim_matches(['_', '-']).to_owned()
}

/// The name of a table's dataset.
pub(super) fn of_dataset(name: &str) -> String {
    let address = address(name);
    if why_no_dataset_name(&address).is_none() {
        address
    } else {
        format!("{address}_table").trim_matches('_').to_owned()
    }
}

/// The name of a column's filter.
pub(super) fn of_filter(name: &str) -> String {
    let address = address(name).replace('-', "_");
    if address.is_empty() {
        "filter".to_owned()
    } else if is_parameter(&address) {
        format!("{address}_filter")
    } else {
        address
    }
}

/// The name of a column, which is the table's own wherever lists of names can have it.
pub(super) fn of_column(name: &str) -> String {
    let plain = name.replace(',', "_");
    let plain = plain.trim_start_matches(|first: char| first == '-' || first.is_whitespace());
    let plain = plain.trim_end();
    if plain.is_empty() {
        "column".to_owned()
    } else {
        plain.to_owned()
    }
}

/// A word for one of a table's rows.
pub(super) fn of_row(dataset: &str) -> String {
    let words = dataset.replace(['_', '-'], " ");
    let ends = |end: &str| words.strip_suffix(end);
    if let Some(stem) = ends("ies") {
        return format!("{stem}y");
    }
    let has_e = ["sses", "xes", "ches", "shes"];
    if has_e.iter().any(|end| words.ends_with(end)) {
        return ends("es").unwrap_or(&words).to_owned();
    }
    match ends("s") {
        Some(stem) if !stem.is_empty() && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_table_makes_an_address() {
        for (name, address) in [
            ("orders", "orders"),
            ("Order Items", "order_items"),
            ("a\"b'c", "a_b_c"),
            ("Größe", "gr_e"),
            ("日本", "table"),
            ("-x-", "x"),
            ("__x", "x"),
            ("api", "api_table"),
            ("Static", "static_table"),
        ] {
            assert_eq!(of_dataset(name), address, "{name:?}");
        }
    }

    #[test]
    fn a_filter_is_never_called_as_a_parameter() {
        assert_eq!(of_filter("order"), "order_filter");
        assert_eq!(of_filter("Größe"), "gr_e");
        assert_eq!(of_filter("%"), "filter");
    }

    #[test]
    fn a_column_keeps_its_name_where_a_list_can_have_it() {
        for (name, column) in [
            ("Größe in mm", "Größe in mm"),
            ("a,b", "a_b"),
            (" -a ", "a"),
            ("- -a", "a"),
            ("-", "column"),
        ] {
            assert_eq!(of_column(name), column, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let mut taken = Taken::default();
        let mut take = |names: [&str; 2]| taken.take(names.map(str::to_owned));
        assert_eq!(take(["a", "b_a"]), "a");
        assert_eq!(take(["a", "b_a"]), "b_a");
        assert_eq!(take(["a", "b_a"]), "b_a_2");
        assert_eq!(take(["a", "b_a"]), "b_a_3");
    }

    #[test]
    fn a_row_is_one_of_many() {
        for (many, one) in [
            ("orders", "order"),
            ("categories", "category"),
            ("boxes", "box"),
            ("addresses", "address"),
            ("status", "status"),
            ("auth_user", "auth user"),
        ] {
            assert_eq!(of_row(many), one);
        }
    }
}
