//! A panic of the program itself.

use serde_json::json;

use crate::support::client::{Download, End};
use crate::support::eventually;
use crate::support::gate::{self, Gated};

use super::{Case, PANIC};

#[test]
fn a_panic_breaks_the_export_off() {
    if !cfg!(feature = "fault-injection") {
        panic!(
            "run `make test`, or `cargo test --features fault-injection`: only then the program can be made to panic"
        );
    }
    let gated = Gated::new();
    for case in Case::all(&gated, PANIC) {
        // Buffered strategies, too, encode and send their rows one after the other.
        let early = case.row == 1;
        let nothing_sent = early || case.extension == "xlsx";
        let download = Download::start(&case.server.address, &case.path());
        if nothing_sent {
            assert_eq!(download.status, 500, "{}", case.name());
        } else {
            assert_eq!(download.status, 200, "{}", case.name());
            assert_eq!(download.finish().1, End::Broken, "{}", case.name());
        }
        case.is_recorded("failed", json!("internal"));
        // The next export would panic at the same row; one without rows is complete if the panic is not at 0.
        if !early {
            eventually("the permit is free", || {
                Download::start(&case.server.address, "/tasks.csv?location_id=-1").status == 200
            });
            // That download's own query may still be ending.
            eventually("no query is left", || {
                gate::running_queries(&gated.database) == 0
            });
        }
    }
}
