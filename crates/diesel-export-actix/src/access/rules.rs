//! Who may see what, as a file says it.

use std::sync::Arc;

use diesel_export::dataset::{Catalog, Scope};
use serde::Deserialize;

/// Who may see what. The first rule for a user, or for one of the user's groups, counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRules {
    allow: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    user: Option<String>,
    group: Option<String>,
    /// The role of PostgreSQL that reads the rows.
    role: Option<String>,
    /// The names of the datasets; without them, all.
    datasets: Option<Vec<String>>,
    /// Columns that are not there, as `dataset.column`.
    #[serde(default)]
    hide: Vec<String>,
}

/// What is wrong with the rules.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRules {
    /// It is no TOML, or has members that are unknown.
    #[error("{0}")]
    Unclear(#[from] toml::de::Error),
    /// A rule cannot be, in this place of the file, from 1.
    #[error("rule {place}: {reason}")]
    Rule {
        /// Its place among the rules, from 1.
        place: usize,
        /// Why.
        reason: String,
    },
}

impl AccessRules {
    /// Reads the rules for a catalog from TOML.
    ///
    /// # Errors
    ///
    /// If a rule is not for one user or one group, or names a dataset or column that is not there, or leaves nothing to see.
    pub fn parse(text: &str, catalog: &Catalog) -> Result<Self, InvalidRules> {
        let rules: Self = toml::from_str(text)?;
        for (index, rule) in rules.allow.iter().enumerate() {
            rule.check(catalog).map_err(|reason| InvalidRules::Rule {
                place: index + 1,
                reason,
            })?;
        }
        Ok(rules)
    }

    /// Returns what a user of these groups may see; `None` if no rule is for the user.
    pub fn scope(&self, user: &str, groups: &[&str]) -> Option<Scope> {
        let is_for = |rule: &&Rule| {
            rule.user.as_deref() == Some(user)
                || rule
                    .group
                    .as_deref()
                    .is_some_and(|group| groups.contains(&group))
        };
        self.allow.iter().find(is_for).map(|rule| rule.scope(user))
    }

    /// The roles of PostgreSQL that the rules name.
    pub fn roles(&self) -> Vec<&str> {
        let mut roles: Vec<&str> = self
            .allow
            .iter()
            .filter_map(|rule| rule.role.as_deref())
            .collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

impl Rule {
    fn scope(&self, user: &str) -> Scope {
        let mut scope = Scope::of(user);
        if let Some(datasets) = &self.datasets {
            scope = scope.only(datasets.iter().map(String::as_str));
        }
        for column in &self.hide {
            let (dataset, column) = column.split_once('.').unwrap_or_default();
            scope = scope.without(dataset, column);
        }
        match &self.role {
            Some(role) => scope.as_role(role),
            None => scope,
        }
    }

    fn check(&self, catalog: &Catalog) -> Result<(), String> {
        if self.user.is_some() == self.group.is_some() {
            return Err("it needs either `user` or `group`".to_owned());
        }
        if let Some(column) = self.hide.iter().find(|column| !column.contains('.')) {
            return Err(format!("`hide`: `{column}` is not `dataset.column`"));
        }
        match catalog.scoped(&Arc::new(self.scope("anybody"))) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("it leaves nothing to see".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use diesel_export::example::catalog;

    use super::*;

    #[test]
    fn the_first_rule_for_a_user_or_a_group_counts() {
        let text = r#"
            [[allow]]
            user = "ann"
            [[allow]]
            group = "readers"
            role = "reader"
            datasets = ["books"]
            hide = ["books.title"]
            [[allow]]
            group = "all"
        "#;
        let rules = AccessRules::parse(text, &catalog()).expect("rules");
        let reader = |user| {
            Scope::of(user)
                .only(["books"])
                .without("books", "title")
                .as_role("reader")
        };
        assert_eq!(rules.scope("ann", &["readers"]), Some(Scope::of("ann")));
        assert_eq!(rules.scope("bob", &["all", "readers"]), Some(reader("bob")));
        assert_eq!(rules.scope("bob", &["all"]), Some(Scope::of("bob")));
        assert_eq!(rules.scope("bob", &[]), None);
        // A user who is called as a group is none of it.
        assert_eq!(rules.scope("readers", &["ann"]), None);
        assert_eq!(rules.roles(), ["reader"]);
    }

    #[test]
    fn what_cannot_be_is_said_with_its_place() {
        for (text, said) in [
            ("allow = 1", "line 1"),
            ("[[allow]]\nuser = \"ann\"\nrolle = \"x\"", "rolle"),
            (
                "[[allow]]\nrole = \"x\"",
                "rule 1: it needs either `user` or `group`",
            ),
            (
                "[[allow]]\nuser = \"a\"\ngroup = \"b\"",
                "rule 1: it needs either",
            ),
            (
                "[[allow]]\nuser = \"a\"\n[[allow]]\nuser = \"b\"\ndatasets = [\"boks\"]",
                "rule 2: ",
            ),
            (
                "[[allow]]\nuser = \"a\"\nhide = [\"title\"]",
                "`title` is not `dataset.column`",
            ),
            ("[[allow]]\nuser = \"a\"\nhide = [\"books.titel\"]", "titel"),
            (
                "[[allow]]\nuser = \"a\"\ndatasets = []",
                "rule 1: it leaves nothing to see",
            ),
            (
                "[[allow]]\nuser = \"a\"\nrole = \"none\"",
                "`none` is no role",
            ),
        ] {
            let error = AccessRules::parse(text, &catalog()).expect_err(text);
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }
}
