//! Makes a download in a thread of its own: streamed, or first completely in the spool.

use std::sync::Arc;

use actix_web::rt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::connections::client_socket::ClientSocket;
use crate::download::body::{Body, Download};
use crate::download::compression::{Coding, CompressingSink};
use crate::download::handover::{Message, Sender, handover};
use crate::download::registry::Known;
use crate::download::supervisor::Supervisor;
use crate::download::{Delivery, Permits};
use crate::service::app::App;
use diesel_export::db::servers::Servers;
use diesel_export::spool::or_full;
use diesel_export::{self as export, ExportRun};

/// Starts an export in a thread of its own, and its supervisor.
pub(super) fn start(
    known: Known,
    permits: Permits,
    client: Option<ClientSocket>,
    delivery: Delivery,
    app: Arc<App>,
) -> Body {
    let (mut sender, receiver) = handover(
        known.run.record.id(),
        app.settings.spool.clone(),
        Arc::clone(&app.metrics),
        Arc::clone(&known.run.flow),
    );
    let download = Download {
        known: known.clone(),
        over: CancellationToken::new(),
        app: Arc::clone(&app),
        permit: Some(permits.download),
    };
    app.metrics.started();
    let run = Arc::clone(&known.run);
    let supervisor = Supervisor {
        known,
        client,
        sender: sender.end_sender(),
        app: Arc::clone(&app),
    };
    rt::spawn(supervisor.over(download.over.clone()).in_current_span());
    // A thread of its own, and not one of actix's blocking ones: those answer /readyz, and a long query holds this one long.
    run.spawn(permits.export, move |run| {
        let made = match &delivery {
            Delivery::Streamed(coding) => {
                stream(run, &app.servers, &mut sender, *coding).map(|()| Message::Whole)
            }
            Delivery::Whole(spool) => spool
                .unnamed()
                .map_err(|error| export::Error::Sink(or_full(error)))
                .and_then(|file| run.fill(&app.servers, file))
                .map(|(file, length)| Message::File(file, length)),
        };
        // Held until here, where the thread no longer needs the database, also if the client has disconnected long ago, but not until a
        // slow client has read everything. Dropped before the last message: a client that asks again as soon as a download has ended must
        // get a permit.
        run.release();
        sender.end(made.unwrap_or_else(|error| {
            run.record.breaks_off(&error);
            Message::Failed(error)
        }));
    });
    Body {
        receiver,
        next: None,
        download,
        unfinished: None,
    }
}

/// Hands an export over as it is made; it is compressed after it was recorded: the manifest describes the file itself.
fn stream(
    run: &ExportRun,
    servers: &Servers,
    sender: &mut Sender,
    coding: Option<Coding>,
) -> Result<(), export::Error> {
    let mut compressing = CompressingSink::new(sender, coding).map_err(export::Error::Sink)?;
    run.write(servers, &mut compressing)?;
    compressing.finish().map_err(export::Error::Sink)
}
