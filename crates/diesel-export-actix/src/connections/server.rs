//! The HTTP server: actix's, on connections of our own.

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use actix_http::{HttpService, Request};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Response, Server, Service};
use actix_web::rt::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::connections::Connections;
use crate::connections::connection::{Connection, REQUEST_TIMEOUT};

/// Time that a client may take to notice that its connection ends.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// More gain nothing: exports and the database take the time.
const MAX_WORKERS: usize = 16;

/// Threads for work that waits for disks and the database. Each holds some 200 KiB.
const BLOCKING_THREADS: usize = 128;

// A request that waits for one of a worker's threads is behind the other requests of that worker.
const _: () = assert!(BLOCKING_THREADS / MAX_WORKERS >= 8);

/// The server's timeouts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Keep-alive timeout.
    pub(crate) keep_alive: Duration,
    /// Timeout of a reader that receives nothing.
    pub(crate) reader: Duration,
    /// How long running requests may take to finish when the service is told to stop.
    pub(crate) shutdown: Duration,
}

/// Makes a server of the application that `app` makes for each thread. It runs when it is polled, until it is told to `stop`, or else by
/// a signal.
pub(crate) fn server<App, Factory, Body>(
    listener: TcpListener,
    connections: &Arc<Connections>,
    timeouts: Timeouts,
    stop: Option<CancellationToken>,
    app: impl Fn() -> App + Send + Clone + 'static,
) -> io::Result<Server>
where
    App: IntoServiceFactory<Factory, Request>,
    Factory: ServiceFactory<Request, Config = AppConfig> + 'static,
    Factory::Error: Into<actix_web::Error> + 'static,
    Factory::InitError: fmt::Debug,
    Factory::Response: Into<Response<Body>> + 'static,
    Factory::Service: 'static,
    <Factory::Service as Service<Request>>::Future: 'static,
    Body: MessageBody + 'static,
{
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_WORKERS);
    let mut builder = Server::build()
        .workers(threads)
        // Above our own limit, which makes room: if there are more, they arrive faster than they can be closed.
        .max_concurrent_connections((connections.limit + connections.limit / 8).div_ceil(threads))
        .worker_max_blocking_threads(BLOCKING_THREADS.div_ceil(threads))
        // In whole seconds, and not less than was asked for.
        .shutdown_timeout(timeouts.shutdown.as_secs_f64().ceil() as u64);
    if let Some(stop) = stop {
        builder = builder.shutdown_signal(stop.cancelled_owned());
    }
    let stopping = builder.graceful_shutdown_signal();
    let connections = Arc::clone(connections);
    let server = builder.listen("http", listener, move || {
        let connections = Arc::clone(&connections);
        let stopping = stopping.clone();
        let app = app()
            .into_factory()
            .map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .keep_alive(timeouts.keep_alive)
            .client_request_timeout(REQUEST_TIMEOUT)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.client_socket());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: TcpStream| {
            let address = stream.peer_addr().ok();
            let connection = Connection::new(stream, &connections, timeouts.reader);
            async move { Ok((connection, address)) }
        })
        .and_then(http)
    })?;
    Ok(server.run())
}
