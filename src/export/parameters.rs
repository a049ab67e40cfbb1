//! What can be chosen of an export, with the same names on the command line, in the environment and in a URL.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IntoDeserializer, value::MapDeserializer};
use utoipa::IntoParams;

use super::csv::{Delimiter, Format, Preset};
use super::filter::{Filter, Title, UpdatedBy};
use super::{Export, Limits, Strategy};

/// The parameters of an export. In a URL, an empty value is as good as none: so a form sends what was left open.
#[derive(Debug, Clone, Default, clap::Args, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Parameters {
    /// How the rows are loaded
    #[arg(long, env = "CMMS_STRATEGY", value_enum, default_value_t)]
    #[serde(deserialize_with = "named")]
    pub strategy: Strategy,
    /// Only tasks that are done, or that are not
    #[arg(
        long,
        env = "CMMS_DONE",
        help_heading = "Filters (all that are given must hold)",
        value_name = "true|false"
    )]
    #[serde(deserialize_with = "parsed")]
    pub done: Option<bool>,
    /// Only tasks on assets at this location
    #[arg(
        long,
        env = "CMMS_LOCATION_ID",
        help_heading = "Filters (all that are given must hold)",
        value_name = "N",
        allow_negative_numbers = true
    )]
    #[serde(deserialize_with = "parsed")]
    pub location_id: Option<i64>,
    /// Only tasks on this asset
    #[arg(
        long,
        env = "CMMS_ASSET_ID",
        help_heading = "Filters (all that are given must hold)",
        value_name = "N",
        allow_negative_numbers = true
    )]
    #[serde(deserialize_with = "parsed")]
    pub asset_id: Option<i64>,
    /// Only tasks that this user created
    #[arg(
        long,
        env = "CMMS_CREATED_BY_ID",
        help_heading = "Filters (all that are given must hold)",
        value_name = "N",
        allow_negative_numbers = true
    )]
    #[serde(deserialize_with = "parsed")]
    pub created_by_id: Option<i64>,
    /// Only tasks that this user, or nobody, has changed since
    #[arg(
        long,
        env = "CMMS_UPDATED_BY_ID",
        help_heading = "Filters (all that are given must hold)",
        value_name = "N|none",
        allow_negative_numbers = true
    )]
    #[serde(deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    pub updated_by_id: Option<UpdatedBy>,
    /// Only tasks whose title has this text in it, in upper or lower case
    #[arg(
        long,
        env = "CMMS_TITLE",
        help_heading = "Filters (all that are given must hold)",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    #[serde(deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    pub title: Option<Title>,
    /// For whom the CSV is
    #[arg(
        long,
        env = "CMMS_PRESET",
        help_heading = "Output",
        value_enum,
        default_value_t
    )]
    #[serde(deserialize_with = "named")]
    pub preset: Preset,
    /// What stands between two fields
    #[arg(
        long,
        env = "CMMS_DELIMITER",
        help_heading = "Output",
        value_enum,
        default_value_t
    )]
    #[serde(deserialize_with = "named")]
    pub delimiter: Delimiter,
}

/// A name and a value of a URL's query.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A parameter of a URL that is not understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidParameter(String);

impl Parameters {
    /// Reads the parameters from the names and values of a URL's query.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = Pair<'a>>,
    ) -> Result<Self, InvalidParameter> {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        let map = MapDeserializer::<_, serde::de::value::Error>::new(pairs);
        serde_path_to_error::deserialize(map.into_deserializer()).map_err(|error| {
            let path = error.path().to_string();
            let reason = error.into_inner();
            // An unknown or repeated parameter has no path, but its name is in the reason.
            InvalidParameter(if path == "." {
                reason.to_string()
            } else {
                format!("`{path}`: {reason}")
            })
        })
    }
}

impl Parameters {
    /// The names and values that say the same in a URL; most that is as it is by default goes without saying.
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<i64>| value.map(|value| value.to_string());
        let pairs = [
            ("done", self.done.map(|done| done.to_string())),
            ("location_id", text(&self.location_id)),
            ("asset_id", text(&self.asset_id)),
            ("created_by_id", text(&self.created_by_id)),
            ("updated_by_id", self.updated_by_id.map(String::from)),
            (
                "title",
                self.title.as_ref().map(|title| title.as_str().to_owned()),
            ),
            // Always said: the page has another default than the download.
            ("preset", name(self.preset)),
            ("delimiter", name_unless_default(self.delimiter)),
            ("strategy", name_unless_default(self.strategy)),
        ];
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
            .collect()
    }
}

fn name(value: impl ValueEnum) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}

fn name_unless_default<T: ValueEnum + Default + PartialEq>(value: T) -> Option<String> {
    if value == T::default() {
        None
    } else {
        name(value)
    }
}

/// The parameters that say how to export, and not which tasks.
const HOW: [&str; 3] = ["strategy", "preset", "delimiter"];

/// Reads the parameters that say which tasks, where no others are taken.
pub fn filter_from_pairs<'a>(pairs: Vec<Pair<'a>>) -> Result<Filter, InvalidParameter> {
    if let Some((name, _)) = pairs.iter().find(|(name, _)| HOW.contains(&name.as_ref())) {
        return Err(InvalidParameter(format!("unknown field `{name}`")));
    }
    Ok(Parameters::from_pairs(pairs)?
        .into_export(Limits::default())
        .filter)
}

impl Parameters {
    /// The export that they ask for.
    pub fn into_export(self, limits: Limits) -> Export {
        let Self {
            strategy,
            done,
            location_id,
            asset_id,
            created_by_id,
            updated_by_id,
            title,
            preset,
            delimiter,
        } = self;
        Export {
            strategy,
            filter: Filter {
                done,
                location_id,
                asset_id,
                created_by_id,
                updated_by_id,
                title,
                up_to_id: None,
            },
            format: Format { preset, delimiter },
            limits,
        }
    }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        Ok(None)
    } else {
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

fn named<'de, D: Deserializer<'de>, T: ValueEnum + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(T::default());
    }
    T::from_str(&text, false).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(format!("`{}`", variant.to_possible_value()?.get_name())))
            .collect();
        D::Error::custom(format!("expected one of {}", names.join(", ")))
    })
}
