//! Before the service is ready, as while it waits for its database: only the liveness probe succeeds; other requests are told to retry.

use std::io;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpResponse, rt, web};
use tokio_util::sync::CancellationToken;

use crate::connections::server::{Timeouts, server};
use crate::connections::{Connections, raise_descriptor_limit};
use crate::monitoring::health;
use crate::problem::{Identity, Kind, Problem, identify};
use crate::route;
use crate::routes::configure;
use crate::service::base_path::BasePath;

const TIMEOUTS: Timeouts = Timeouts {
    keep_alive: Duration::from_secs(5),
    reader: Duration::from_secs(5),
    shutdown: Duration::from_secs(1),
};

/// Within this time, clients wait for the service; after it, they get an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The server that answers until the service does, if that takes long.
pub struct Starting {
    end: CancellationToken,
    thread: JoinHandle<io::Result<()>>,
}

impl Starting {
    /// Starts to answer.
    pub fn begin(
        listener: &TcpListener,
        name: &'static str,
        base_path: BasePath,
    ) -> io::Result<Self> {
        let identity = Identity { name, base_path };
        let listener = listener.try_clone()?;
        let end = CancellationToken::new();
        let ended = end.clone();
        let thread = thread::Builder::new().name("starting".into());
        let thread =
            thread.spawn(move || rt::System::new().block_on(answer(listener, identity, ended)))?;
        Ok(Self { end, thread })
    }

    /// Leaves the listener to the service. Clients that connect meanwhile wait.
    pub fn end(self) -> io::Result<()> {
        self.end.cancel();
        self.thread
            .join()
            .map_err(|_| io::Error::other("the thread that answers meanwhile has panicked"))?
    }
}

async fn answer(
    listener: TcpListener,
    identity: Identity,
    end: CancellationToken,
) -> io::Result<()> {
    if let Some(()) = end.run_until_cancelled(rt::time::sleep(PATIENCE)).await {
        tracing::info!("the start takes some time: meanwhile, /livez alone is answered");
        let connections = Connections::new(raise_descriptor_limit(), 0);
        let app = move || {
            let scope = web::scope(&identity.base_path.to_string())
                .configure(|config| configure(config, vec![route!(health::livez)]));
            actix_web::App::new()
                .app_data(identity.clone())
                .service(scope)
                .default_service(web::to(async || {
                    Err::<HttpResponse, _>(Problem::new(Kind::Starting))
                }))
                .wrap(from_fn(identify))
                .wrap(from_fn(close))
        };
        server(listener, &connections, TIMEOUTS, Some(end), app)?.await?;
    }
    Ok(())
}

/// Closes the connection behind the response: the next request is for the service.
async fn close<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    let head = response.response_mut().head_mut();
    head.set_connection_type(ConnectionType::Close);
    Ok(response)
}
