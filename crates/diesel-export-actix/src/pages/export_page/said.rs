//! What the filters are set to, in words: for the page's title.

use crate::pages::export_page::filters::{Control, Is};

impl Control {
    /// What it is set to, in words.
    pub(crate) fn said(&self) -> Vec<String> {
        let of_label = |what: &str| format!("{}: {what}", self.label);
        match &self.is {
            Is::Select(select) => {
                let none = select.is_none().then(|| of_label("None"));
                let chosen = select
                    .choices
                    .iter()
                    .filter(|choice| select.is_chosen(choice));
                none.into_iter()
                    .chain(chosen.map(|choice| choice.name.clone()))
                    .collect()
            }
            Is::Texts(texts) => {
                let set = texts.iter().filter(|text| !text.is_empty());
                set.map(|text| format!("“{text}”")).collect()
            }
            Is::Boolean { chosen, .. } => match chosen.as_deref() {
                Some("true") => vec![self.label.to_lowercase()],
                Some("false") => vec![format!("not {}", self.label.to_lowercase())],
                Some(other) => vec![of_label(other)],
                None => Vec::new(),
            },
            Is::Labels { labels, .. } => {
                let ticked = labels.iter().filter(|(_, is_ticked)| *is_ticked);
                ticked.map(|(label, _)| of_label(label)).collect()
            }
            Is::Range(range) => [("from", &range.from), ("to", &range.to)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(end, value)| format!("{} {end} {value}", self.label))
                .collect(),
        }
    }
}
