//! A private cluster that a test keeps up and asks.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use cmms_export::db::embedded::{Durability, Embedded};

use super::oracle::psql_program;

/// A private cluster, up until this is dropped.
pub(crate) struct Running(Embedded);

impl Running {
    /// Starts the one in the directory.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self(Embedded::start(data_dir, Durability::ThrowAway).expect("the cluster starts"))
    }

    /// What psql prints for a command.
    pub(crate) fn psql(&self, sql: &str) -> String {
        let output = self.command(sql).output().expect("psql runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim_end_matches('\n')
            .to_owned()
    }

    /// A process that keeps a table locked until it is killed.
    pub(crate) fn locking(&self, table: &str) -> Child {
        let child = self
            .command(&format!("begin; lock table {table}; select pg_sleep(600)"))
            .stdout(Stdio::null())
            .spawn()
            .expect("psql runs");
        let locked = format!(
            "select count(*) from pg_locks where relation = '{table}'::regclass and mode = 'AccessExclusiveLock' and granted"
        );
        super::eventually("the table is locked", || self.psql(&locked) == "1");
        child
    }

    fn command(&self, sql: &str) -> Command {
        let mut command = Command::new(psql_program(self.0.bin_dir()));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        command.arg(self.0.database_url());
        command
    }
}
