//! A warm unary call allocates nothing in this crate but its body. Counted by the allocator of this test binary.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use net::grpc::server::{CallKind, Config, Connection, Event};
use net::h2::frame::{self, PREFACE, flag, kind};
use net::h2::hpack::{put_indexed, put_literal, put_literal_indexed_name};
use net::h2::keepalive::Rules;

/// Counts on this thread only: the test harness has threads of its own.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|n| n.set(n.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a constant-initialized thread-local only,
// which neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

fn call(out: &mut Vec<u8>, stream: u32, block: &[u8], message: &[u8]) {
    frame::put_headers(out, stream, block, false);
    let len = 5 + message.len();
    out.extend_from_slice(&frame::header(len, kind::DATA, flag::END_STREAM, stream));
    out.push(0);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// Allocations of a warm connection for `calls` calls that arrive at once, all answered.
fn allocations(calls: u32, message: &[u8], answer: &[u8]) -> usize {
    let keepalive = Some(Rules { ping_min_ms: 5_000, interval_ms: 7_200_000, timeout_ms: 20_000 });
    let classify = |_: &_| CallKind::Unary;
    let config =
        Config { max_message_bytes: 1 << 20, max_concurrent_streams: 1000, accept_http: true, keepalive, classify };
    let mut server = Connection::new(config);
    let mut block = Vec::new();
    put_indexed(&mut block, 3);
    put_indexed(&mut block, 6);
    put_literal_indexed_name(&mut block, 4, b"/pkg.Service/Method");
    put_literal(&mut block, b"content-type", b"application/grpc");
    let mut hello = PREFACE.to_vec();
    frame::put_settings(&mut hello, &[]);
    frame::put_window_update(&mut hello, 0, 1 << 30);
    server.handle_bytes(&hello);
    let (mut input, mut out, mut spare) = (Vec::new(), Vec::new(), Vec::new());
    let mut counted = 0;
    for round in 0..50 {
        input.clear();
        (0..calls).for_each(|n| call(&mut input, (round * calls + n) * 2 + 1, &block, message));
        let before = ALLOCATIONS.with(Cell::get);
        server.on_time(1_000 + u64::from(round));
        server.handle_bytes(&input);
        while let Some(event) = server.poll_event() {
            let Event::Unary { stream, message, .. } = event else { panic!("{event:?}") };
            server.set_tag(stream, 7);
            server.respond_unary(stream, answer.len(), |out| out.extend_from_slice(answer));
            drop(message);
        }
        // As the owner does it: one buffer is on its way while the next is filled.
        std::mem::swap(&mut out, &mut spare);
        out.clear();
        server.poll_transmit(&mut out, usize::MAX);
        assert!(out.len() > answer.len() * calls as usize);
        counted = ALLOCATIONS.with(Cell::get) - before;
    }
    counted
}

#[test]
fn a_warm_unary_call_allocates_its_body_alone() {
    assert!(allocations(1, b"hello", b"world") > 0, "the counter counts: a body is one allocation");
    for calls in [1, 10, 100] {
        // Together below what an outgoing buffer may keep (`MAX_IDLE_BUFFER_BYTES`).
        for (message, answer) in [(&b"hello"[..], &b"world"[..]), (&[7; 2000], &[8; 400])] {
            assert_eq!(allocations(calls, message, answer), calls as usize, "{calls} calls");
        }
        // An empty message has no body to keep.
        assert_eq!(allocations(calls, b"", b""), 0, "{calls} empty calls");
    }
}
