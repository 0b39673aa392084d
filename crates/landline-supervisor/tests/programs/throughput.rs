//! How much processor time a supervisor uses for output. It is no test: run it by hand with the
//! word `throughput`.

use landline_supervisor::protocol::{Order, Report, Start, Store};

use crate::{
    folder::Folder,
    server::{Server, script_start},
};

/// What the program writes.
const BYTES: u64 = 1 << 30;
/// The window of the output.
const WINDOW: u32 = 1 << 20;

pub(crate) fn measure() {
    let script = format!("head -c {BYTES} /dev/zero; read line");
    let folder = Folder::new();
    let memory = Start {
        window: WINDOW,
        ..script_start(&script)
    };
    let disk = folder.start(&script, Store::Disk);
    for (name, start) in [("memory", memory), ("disk", disk)] {
        let mut server = Server::with_start(start);
        let begin = std::time::Instant::now();
        let mut received = 0;
        while received < BYTES {
            match server.next() {
                Some(Report::Output { stream, bytes, .. }) => {
                    received += bytes.len() as u64;
                    server.order(&Order::OutputAck {
                        stream,
                        offset: received,
                        limit: received + u64::from(WINDOW),
                    });
                }
                Some(Report::Stored { offset, .. }) => received = received.max(offset),
                other => panic!("{other:?}"),
            }
        }
        println!(
            "{name}: {:.2} s, supervisor {:.2} s of processor time",
            begin.elapsed().as_secs_f64(),
            server.supervisor_ticks() as f64 / 100.0
        );
    }
}
