//! `cmms-export serve`: the service, with its spool.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use actix_web::web::ServiceConfig;
use clap::error::ErrorKind;
use cmms_export::benchmark::{self, Benchmarks};
use cmms_export::cli::{Global, OpenToAll, Serve, Users};
use cmms_export::database::{
    Connected, Start, connect_for_exports, data_dir, datasets_file, missing_roles,
    wait_for_database,
};
use cmms_export::datasets;
use diesel_export::dataset::Catalog;
use diesel_export::db::servers::Rules;
use diesel_export::spool::Spool;
use diesel_export_actix::{Application, Authorize, ForwardedUser, Settings};

use super::access::read_rules;
use super::{
    Outcome, in_time_zone, print_line, replica_rules, require_own_database, seed_private,
    stop_cluster, usage_error,
};

/// What this program adds to the service.
const APPLICATION: Application = Application {
    name: "cmms-export",
    version: env!("CARGO_PKG_VERSION"),
    commit: option_env!("CMMS_BUILD_COMMIT"),
    description: "Exports the tasks of a CMMS, its assets, locations and users to CSV and to Excel workbooks",
    token_variable: "CMMS_AUTH_TOKEN",
    sections: &[benchmark::SECTION],
    static_files: benchmark::static_files,
    routes: benchmark::routes,
    demonstration: "<p><strong>Demonstration data.</strong> These tasks are made up, and live in a private database. To export your own, \
        start with <code>DATABASE_URL=postgresql://user:password@host/database cmms-export serve</code>.</p>",
    no_rows: "<p class=\"quiet\">To try it out, <code>cmms-export seed</code> fills the database with made-up data.</p>",
    tables_missing: "Tell the database administrator: cmms-export export says what is there instead, and what to do.",
};

/// The same for the datasets of a file. The benchmark measures the program's own.
const OF_A_FILE: Application = Application {
    description: "Exports tables of a PostgreSQL database to CSV and to Excel workbooks",
    sections: &[],
    static_files: Vec::new,
    routes: Vec::new,
    no_rows: "",
    tables_missing: "Tell whoever looks after it: cmms-export datasets check says what is there instead.",
    ..APPLICATION
};

pub(crate) fn serve(global: &Global, options: &Serve) -> Outcome {
    let listener = listen(global, options)?;
    let file = options.exports.datasets.datasets.as_deref();
    if file.is_some() {
        require_own_database(global, "--datasets (CMMS_DATASETS)");
    }
    let rules = replica_rules(&options.exports.replicas);
    let address = listener.local_addr()?;
    let starting = diesel_export_actix::Starting::begin(
        &listener,
        APPLICATION.name,
        options.base_path.clone(),
    )?;
    // With replicas, the service starts without it.
    if let (Some(url), Some(patience)) = (global.database_url(), options.wait_for_database)
        && !rules.have_replicas()
    {
        wait_for_database(url, patience)?;
    }
    let connections = options.max_exports.into();
    let (mut connected, catalog) = match file {
        Some(path) => {
            let (connected, datasets) = datasets_file::open(path, global, connections)?;
            (connected, datasets.catalog().clone())
        }
        None => {
            let start = Start::Anyway;
            let connected = connect_for_exports(global, connections, &rules, start, |_| ())?;
            (connected, datasets::catalog())
        }
    };
    in_time_zone(&mut connected, &options.exports.print.time_zone)
        .unwrap_or_else(|error| usage_error(ErrorKind::ValueValidation, error));
    seed_private(&connected)?;
    if connected.private_cluster.is_some() {
        tracing::warn!(
            "a private database with made-up tasks is served: set DATABASE_URL to serve your own"
        );
    }
    let authorize = authorize(options, &connected, &catalog, rules.have_replicas())?;
    let settings = Settings {
        authorize,
        ..settings(global, options, &connected, catalog, rules)?
    };
    let benchmarks = Arc::new(Benchmarks::new(
        options.allow_benchmarks,
        (connected.database.clone(), connected.url.clone()),
        settings.limits,
        data_dir(global).ok().as_deref(),
    ));
    let running = Arc::clone(&benchmarks);
    let has_benchmark = file.is_none();
    let configure = move |config: &mut ServiceConfig| {
        if has_benchmark {
            benchmark::configure(config, &benchmarks);
        }
    };
    starting.end()?;
    // The last line of the start: after it, nothing can fail any more.
    let ready = || {
        print_line(&format!(
            "cmms-export is at http://{address}{}/",
            options.base_path
        ))
    };
    let database = connected.database.clone();
    let served = diesel_export_actix::serve(listener, database, settings, configure, ready);
    running.stop(None);
    served?;
    stop_cluster(connected)
}

/// Returns where to listen: before anything else, so that an address that is taken is reported at once.
fn listen(global: &Global, options: &Serve) -> Result<TcpListener, Box<dyn std::error::Error>> {
    let handed_over = diesel_export_actix::handed_over_listener()
        .map_err(|error| format!("what systemd handed over (LISTEN_FDS): {error}"))?;
    let address = match &handed_over {
        Some(listener) => listener.local_addr()?,
        None => options.bind,
    };
    if let Err(error) = options.check(address) {
        let kind = match error {
            OpenToAll::NoToken(_) | OpenToAll::NoProof => ErrorKind::MissingRequiredArgument,
            OpenToAll::ShortToken => ErrorKind::InvalidValue,
        };
        usage_error(kind, error);
    }
    if options.auth_token.is_short() {
        tracing::warn!(
            "the token is short enough to be guessed: `openssl rand -hex 32` makes a better one"
        );
    }
    if options.require_database && global.database_url().is_none_or(str::is_empty) {
        usage_error(
            ErrorKind::MissingRequiredArgument,
            "--require-database (CMMS_REQUIRE_DATABASE) without --database-url (DATABASE_URL): no database of made-up data is \
             started in its place",
        );
    }
    match handed_over {
        Some(listener) => Ok(listener),
        None => Ok(TcpListener::bind(address)
            .map_err(|error| format!("cannot listen on {address}: {error}"))?),
    }
}

/// Returns who may see what, if a proxy says who the users are.
fn authorize(
    options: &Serve,
    connected: &Connected,
    catalog: &Catalog,
    have_replicas: bool,
) -> Result<Option<Authorize>, String> {
    let Users {
        user_header,
        groups_header,
        access_file,
    } = options.users.clone();
    let Some(user_header) = user_header else {
        return Ok(None);
    };
    let read = |path: &Path| {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let rules = read_rules(path, catalog)?;
        let missing = match missing_roles(connected, &rules.roles()) {
            Err(error) if error.is_unavailable() && have_replicas => {
                tracing::warn!(%error, "whether the roles of the access file are there is not known");
                Vec::new()
            }
            missing => missing.map_err(|error| failed(&error))?,
        };
        match missing.is_empty() {
            true => Ok(rules),
            false => Err(failed(&format_args!(
                "no such roles, or not granted to the role of DATABASE_URL: {}",
                missing.join(", ")
            ))),
        }
    };
    let rules = access_file.as_deref().map(read).transpose()?;
    let forwarded = ForwardedUser::new(user_header, groups_header);
    Ok(Some(forwarded.authorize(rules)))
}

fn settings(
    global: &Global,
    options: &Serve,
    connected: &Connected,
    catalog: Catalog,
    rules: Rules,
) -> Result<Settings, String> {
    Ok(Settings {
        base_path: options.base_path.clone(),
        catalog: Arc::new(catalog),
        has_pages: true,
        limits: options.exports.limits(),
        rules,
        max_exports: options.max_exports.into(),
        max_downloads: options.max_downloads.into(),
        max_queued: options.max_queued.into(),
        keep_exports: options.keep_exports,
        spool: spool(global, options)?,
        reader_timeout: options.reader_timeout,
        keep_alive: options.keep_alive,
        shutdown_timeout: options.shutdown_timeout,
        compression: options.compression,
        allowed_hosts: options.allowed_host.clone(),
        allowed_origins: options.allowed_origin.clone(),
        trusted_proxies: options.trusted_proxy.clone(),
        authorize: None,
        auth_token: options.auth_token.get().map(str::to_owned),
        database_url: connected.url.clone(),
        facts: connected.facts(),
        is_demonstration: connected.private_cluster.is_some(),
        application: if options.exports.datasets.datasets.is_some() {
            OF_A_FILE
        } else {
            APPLICATION
        },
    })
}

/// The spool: in the configured directory, or in the data directory. If that is not writable, as on a read-only system with a database
/// elsewhere, it is in the system's directory for temporary files, or there is none.
fn spool(global: &Global, options: &Serve) -> Result<Option<Arc<Spool>>, String> {
    let size = options.spool_size;
    if size == 0 {
        return Ok(None);
    }
    let open = |directory: &Path| {
        let spool = Spool::open(directory, size)
            .map_err(|error| format!("the spool cannot be in {}: {error}", directory.display()))?;
        tracing::info!(directory = %directory.display(), bytes = size, "the spool is ready");
        Ok(spool)
    };
    if let Some(directory) = &options.spool_dir {
        return open(directory).map(Some);
    }
    let usual = match data_dir(global) {
        Ok(directory) => open(&directory.join("spool")),
        Err(error) => Err(format!("there is no place for the spool: {error}")),
    };
    let Err(error) = usual else {
        return usual.map(Some);
    };
    if global.database_url().is_none() {
        return Err(error);
    }
    let temporary = std::env::temp_dir();
    match open(&temporary) {
        Ok(spool) => {
            tracing::warn!(error, "the spool is in {} instead", temporary.display());
            Ok(Some(spool))
        }
        Err(second) => {
            tracing::warn!(
                error,
                second,
                "there is no spool: exports wait for their readers"
            );
            Ok(None)
        }
    }
}
