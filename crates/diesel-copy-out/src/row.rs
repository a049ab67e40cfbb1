//! A row of a query's result.

/// A row of a query's result, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(pub(crate) Vec<(String, Option<String>)>);

impl Row {
    /// Returns the value of the column of this name: `None` if there is no such column, `Some(None)` if it is NULL.
    pub fn get(&self, name: &str) -> Option<Option<&str>> {
        let (_, value) = self.0.iter().find(|(column, _)| column == name)?;
        Some(value.as_deref())
    }

    /// Returns the column's value, parsed; `None` if there is none, or if it cannot be parsed.
    pub fn read<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)??.parse().ok()
    }

    /// Returns whether the boolean of this name is true.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == Some(Some("t"))
    }
}

impl<Name: Into<String>, Value: Into<String>> FromIterator<(Name, Value)> for Row {
    fn from_iter<Values: IntoIterator<Item = (Name, Value)>>(values: Values) -> Self {
        let named = values.into_iter();
        Self(
            named
                .map(|(name, value)| (name.into(), Some(value.into())))
                .collect(),
        )
    }
}
