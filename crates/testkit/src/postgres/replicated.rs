//! A primary and two hot standbys, with what tests do to them.

use std::fs;
use std::sync::{Arc, Mutex};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::TEMPLATE;
use crate::gate::Gated;
use crate::replica_servers::{Node, Servers, children, connect};
use crate::{Server, TestDatabase, data, eventually, program};

/// Tasks of the large database: more bytes than all buffers between PostgreSQL and a client that reads nothing.
const WIDE: u32 = 100_000;

/// The standbys replay each change at once; a recovery conflict is resolved at once, and logged.
const SETTINGS: &str = "shared_buffers=32MB autovacuum=off jit=off max_wal_size=4GB checkpoint_timeout=1h wal_writer_delay=10ms \
    hot_standby_feedback=off max_standby_streaming_delay=0 log_recovery_conflict_waits=on deadlock_timeout=10ms \
    wal_receiver_status_interval=1s wal_retrieve_retry_interval=100ms";

/// Three servers for one test alone, which may do anything to them.
pub struct Replicated {
    servers: Arc<Servers>,
    /// Whether another test can reuse them.
    sound: bool,
}

/// Servers that no test uses now. They end with this process.
static IDLE: Mutex<Vec<Arc<Servers>>> = Mutex::new(Vec::new());

impl Replicated {
    /// Servers as the script has started them, except for the databases.
    pub fn new() -> Self {
        let idle = IDLE.lock().expect("nobody panicked").pop();
        let mut replicated = match idle {
            Some(servers) => Self {
                servers,
                sound: true,
            },
            None => Self::start_new(SETTINGS),
        };
        replicated.sound = true;
        replicated.catch_up();
        replicated
    }

    /// New servers with settings of their own, which no other test reuses.
    pub fn start_new(settings: &str) -> Self {
        Self {
            servers: Arc::new(Servers::start(settings)),
            sound: false,
        }
    }

    /// New servers whose replay waits as long as a query conflicts with it.
    pub fn patient() -> Self {
        let patient = "max_standby_streaming_delay=-1";
        Self::start_new(&SETTINGS.replace("max_standby_streaming_delay=0", patient))
    }

    /// Keeps other tests from reusing the servers.
    pub fn spoil(&mut self) {
        self.sound = false;
    }

    /// A new database, with the tables but without a row.
    pub fn database(&self) -> TestDatabase {
        TestDatabase::replicated(&self.servers)
    }

    /// The large database, which all tests that use these servers share.
    pub fn wide(&self) -> TestDatabase {
        const NAME: &str = "wide";
        let mut primary = connect(&self.url(Node::Primary, "postgres"));
        let there = "select datname::text as value from pg_database where datname = 'wide'";
        if value(&mut primary, there).is_none() {
            primary
                .batch_execute(&format!("create database {NAME} template {TEMPLATE}"))
                .expect("ours");
            data::fill_wide(&TestDatabase::kept(&self.servers, NAME), WIDE);
        }
        TestDatabase::kept(&self.servers, NAME)
    }

    /// The URL of a database on one of the servers.
    pub fn url(&self, node: Node, database: &str) -> String {
        let variable = match node {
            Node::Primary => "PRIMARY_URL",
            Node::Standby1 => "STANDBY1_URL",
            Node::Standby2 => "STANDBY2_URL",
        };
        self.servers.url(variable, database)
    }

    /// The URL of a database on the standbys.
    pub fn export_url(&self, database: &str) -> String {
        self.servers.url("EXPORT_DATABASE_URL", database)
    }

    /// A connection to a database on one of the servers.
    pub fn connect(&self, node: Node, database: &TestDatabase) -> PgConnection {
        connect(&self.url(node, database.name()))
    }

    /// Starts the program on a database, its exports on the standbys, and waits until it has reached them.
    pub fn serve(&self, database: &TestDatabase, flags: &[&str]) -> Server {
        self.serve_urls(&database.url, &self.export_url(database.name()), flags)
    }

    /// The same, for a role that the gate stops.
    pub fn serve_gated(&self, gated: &Gated, flags: &[&str]) -> Server {
        let export_url = self.export_url(gated.database.name());
        self.serve_urls(&gated.url, &gated.as_role(&export_url), flags)
    }

    fn serve_urls(&self, url: &str, export_url: &str, flags: &[&str]) -> Server {
        self.catch_up();
        let mut command = program(url);
        command.env("EXPORT_DATABASE_URL", export_url);
        // An export that its reader delays is still on its server when the test acts there.
        command.env("CMMS_SPOOL_SIZE", "0");
        let server = Server::spawn(command.arg("serve").args(flags));
        eventually("the program knows both standbys", || {
            roles(&server) == ["primary", "replica", "replica"]
        });
        server
    }

    /// Kills a server, as the system does when memory is short, and waits until all of its processes have noticed: until then,
    /// one may still answer.
    pub fn kill(&self, node: Node) {
        let pid_file = self
            .servers
            .directory
            .join(node.to_string())
            .join("data/postmaster.pid");
        let pid_file = fs::read_to_string(pid_file).expect("it runs");
        let pid = pid_file.lines().next().and_then(|pid| pid.parse().ok());
        let pid = Pid::from_raw(pid.expect("a number"));
        let backends = children(pid);
        kill(pid, Signal::SIGKILL).expect("ours");
        eventually("it is gone, and so are its processes", || {
            let is_gone = |pid: &Pid| kill(*pid, None).is_err();
            is_gone(&pid) && backends.iter().all(is_gone)
        });
    }

    /// Stops a server, with all of its connections.
    pub fn stop(&self, node: Node) {
        self.servers.tell("stop", node, "stopped");
    }

    /// Starts a server that was stopped or killed, and waits until it is ready.
    pub fn start(&self, node: Node) {
        self.servers.tell("start", node, "started");
    }

    /// Promotes a standby.
    pub fn promote(&mut self, node: Node) {
        self.spoil();
        let promoted = self.ask(node, "select pg_promote()::text as value");
        assert_eq!(promoted.as_deref(), Some("true"));
    }

    /// Pauses the replay on standbys.
    pub fn pause(&self, standbys: &[Node]) {
        for standby in standbys {
            self.run(*standby, "select pg_wal_replay_pause()");
            eventually("replay is paused", || {
                let state = self.ask(*standby, "select pg_get_wal_replay_pause_state() as value");
                state.as_deref() == Some("paused")
            });
        }
    }

    /// Resumes the replay.
    pub fn resume(&self, standbys: &[Node]) {
        for standby in standbys {
            self.run(*standby, "select pg_wal_replay_resume()");
        }
    }

    /// Waits until the standbys have caught up with the primary.
    pub fn catch_up(&self) {
        self.follow(Node::Primary, &Node::STANDBYS);
    }

    /// Waits until some servers have caught up with another one.
    pub fn follow(&self, primary: Node, standbys: &[Node]) {
        let position = self.ask(primary, "select pg_current_wal_lsn()::text as value");
        let position = position.expect("it takes writes");
        for standby in standbys {
            eventually(&format!("{standby} has caught up"), || {
                self.has_replayed(*standby, &position)
            });
        }
    }

    /// Whether a standby has replayed all up to a position.
    fn has_replayed(&self, standby: Node, position: &str) -> bool {
        let sql = format!("select (pg_last_wal_replay_lsn() >= '{position}')::text as value");
        self.ask(standby, &sql).as_deref() == Some("true")
    }

    /// Sets whether the standbys tell the primary which rows they still need.
    pub fn set_feedback(&self, on: bool) {
        for standby in Node::STANDBYS {
            self.run(
                standby,
                &format!("alter system set hot_standby_feedback = {on}"),
            );
            self.run(standby, "select pg_reload_conf()");
        }
        let sql = "select count(xmin)::text as value from pg_replication_slots";
        let told = if on { "2" } else { "0" };
        eventually("the primary has heard of it", || {
            self.ask(Node::Primary, sql).as_deref() == Some(told)
        });
    }

    /// Counts how often a standby has logged a conflict: it waited for a query, or cancelled one.
    pub fn conflicts(&self, standby: Node) -> usize {
        let log = self.log(standby);
        let said = ["recovery still waiting", "due to conflict with recovery"];
        said.map(|text| log.matches(text).count()).iter().sum()
    }

    /// The log of a server.
    fn log(&self, node: Node) -> String {
        let log = self.servers.directory.join(format!("{node}.log"));
        fs::read_to_string(log).expect("it logs")
    }

    fn run(&self, node: Node, sql: &str) {
        connect(&self.url(node, "postgres"))
            .batch_execute(sql)
            .expect("the SQL runs");
    }

    fn ask(&self, node: Node, sql: &str) -> Option<String> {
        value(&mut connect(&self.url(node, "postgres")), sql)
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        if !self.sound || std::thread::panicking() {
            self.servers.stop();
        } else if let Ok(mut idle) = IDLE.lock() {
            idle.push(Arc::clone(&self.servers));
        }
    }
}

/// What the program reports about its servers: the database's own first, then those for exports.
pub fn states(server: &Server) -> Vec<serde_json::Value> {
    let answer = ureq::get(server.url("/readyz"))
        .config()
        .http_status_as_error(false)
        .build()
        .call();
    let text = answer.expect("answers").body_mut().read_to_string();
    let json: serde_json::Value = serde_json::from_str(&text.expect("text")).unwrap_or_default();
    json["servers"].as_array().cloned().unwrap_or_default()
}

/// The role of each of them; empty if it is unreachable.
pub fn roles(server: &Server) -> Vec<String> {
    let role = |state: &serde_json::Value| state["role"].as_str().unwrap_or_default().to_owned();
    states(server).iter().map(role).collect()
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

fn value(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let row: Option<Value> = diesel::sql_query(sql)
        .get_result(connection)
        .optional()
        .expect("readable");
    row?.value
}
