//! SIGTERM in the middle of everything: writes under way, connections that say nothing or half of something.

use crate::ledger::Ledger;
use crate::server::{PATIENCE, PLANS, Server, Setup, TempDir};
use nix::sys::signal::Signal;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

const WRITERS: usize = 8;
/// Acks before the signal: all writers are in the middle of work.
const ACKS: u64 = 100;

#[test]
fn an_end_under_load_loses_nothing_and_waits_for_nobody() {
    for plan in PLANS {
        let dir = TempDir::new("ending");
        let mut server = Server::start(dir.path(), Setup::with(plan));
        let ledger = Ledger::new(WRITERS);
        let silent: Vec<TcpStream> =
            [&b""[..], b"GET /health HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"]
                .iter()
                .map(|said| {
                    let mut stream = TcpStream::connect(("127.0.0.1", server.client_port)).unwrap();
                    stream.write_all(said).unwrap();
                    stream
                })
                .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (ledger, mut client) = (Arc::clone(&ledger), server.client());
                std::thread::spawn(move || ledger.write_with(writer, &mut client))
            })
            .collect();
        wait_for_acks(&ledger, ACKS, &server);
        assert_eq!(server.end(Signal::SIGTERM).signal(), Some(15), "{plan:?}\n{}", server.log());
        drop(silent);
        let log = server.log();
        assert!(log.contains("closed etcd server"), "{plan:?}: not to its end:\n{log}");
        server = server.restart();
        assert!(!server.log().contains("cut off a write"), "{plan:?}: an orderly end leaves a whole log");
        // The writers, told to go away, have come again; a kill is what ends them.
        wait_for_acks(&ledger, ledger.acks.load(SeqCst) + ACKS, &server);
        server.kill();
        for writer in writers {
            writer.join().unwrap();
        }
        ledger.check(&server.restart());
    }
}

fn wait_for_acks(ledger: &Ledger, acks: u64, server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while ledger.acks.load(SeqCst) < acks {
        assert!(Instant::now() < deadline, "no progress\n{}", server.log());
        std::thread::yield_now();
    }
}
