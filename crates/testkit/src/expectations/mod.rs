//! Rows, what can be exported, psql's result, and the findings of a comparison.

pub mod data;
pub mod datasets;
pub mod expected_rows;
pub mod findings;
pub mod oracle;
pub mod strategies;
pub mod workbook;
