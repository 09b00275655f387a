//! The remembered header blocks must never give one request another's headers.

use std::sync::Arc;

use net::grpc::RequestHead;
use net::grpc::server::{Connection, Event};
use net::h2::hpack::{put_indexed, put_literal, put_literal_indexed_name};

use super::pair::config;
use super::wire::{data, headers, hello};

/// Whole unary request on `id` with this header block; returns its head.
fn call(server: &mut Connection, id: u32, block: &[u8]) -> Arc<RequestHead> {
    server.handle_bytes(&headers(id, block, 0x4));
    server.handle_bytes(&data(id, b"\0\0\0\0\0", 0x1));
    match server.poll_event() {
        Some(Event::Unary { head, .. }) => head,
        other => panic!("{other:?}, failure {:?}", server.failure()),
    }
}

/// `:method POST`, `:scheme http`, path, content type.
fn start(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    put_indexed(&mut block, 3);
    put_indexed(&mut block, 6);
    put_literal_indexed_name(&mut block, 4, path.as_bytes());
    put_literal_indexed_name(&mut block, 31, b"application/grpc");
    block
}

fn with_indexing(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    for text in [name, value] {
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}

#[test]
fn an_equal_block_is_not_decoded_again() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    let (mut put, range) = (start("/Put"), start("/Range"));
    put_literal(&mut put, b"token", b"alice");
    let first = call(&mut server, 1, &put);
    let other = call(&mut server, 3, &range);
    assert!(Arc::ptr_eq(&first, &call(&mut server, 5, &put)));
    assert!(Arc::ptr_eq(&other, &call(&mut server, 7, &range)));
    assert_eq!((first.header("token"), other.header("token")), (Some("alice"), None));
}

/// The hole: the same bytes name another token once the dynamic table has moved.
#[test]
fn the_same_bytes_after_a_table_change_are_decoded_again() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    let mut alice = start("/Put");
    with_indexing(&mut alice, "token", "alice");
    assert_eq!(call(&mut server, 1, &alice).header("token"), Some("alice"));
    // By index 62, the newest entry; changes nothing, so it is remembered.
    let mut newest = start("/Put");
    newest.push(0x80 | 62);
    let first = call(&mut server, 3, &newest);
    assert!(Arc::ptr_eq(&first, &call(&mut server, 5, &newest)));
    assert_eq!(first.header("token"), Some("alice"));
    // Another entry becomes the newest, through a call, through trailers, through a refused request.
    let mut bob = start("/Put");
    with_indexing(&mut bob, "token", "bob");
    call(&mut server, 7, &bob);
    assert_eq!(call(&mut server, 9, &newest).header("token"), Some("bob"));
    let mut carol = Vec::new();
    with_indexing(&mut carol, "token", "carol");
    server.handle_bytes(&headers(11, &start("/Put"), 0x4));
    server.handle_bytes(&headers(11, &carol, 0x5));
    assert_eq!(call(&mut server, 13, &newest).header("token"), Some("carol"));
    let mut malformed = Vec::new();
    with_indexing(&mut malformed, "token", "dave");
    server.handle_bytes(&headers(15, &malformed, 0x5));
    assert_eq!(call(&mut server, 17, &newest).header("token"), Some("dave"));
}

/// A block that changes the table is a different request each time, even when it is byte for byte the same.
#[test]
fn a_block_that_changes_the_table_is_never_remembered() {
    let mut server = Connection::new(config());
    server.handle_bytes(&hello());
    let mut block = start("/Put");
    with_indexing(&mut block, "token", "alice");
    let first = call(&mut server, 1, &block);
    let second = call(&mut server, 3, &block);
    assert!(!Arc::ptr_eq(&first, &second));
    // Both entries are in the table: index 63 is the first one.
    let mut older = start("/Put");
    older.push(0x80 | 63);
    assert_eq!(call(&mut server, 5, &older).header("token"), Some("alice"));
    // An eviction by size update counts as a change as well.
    let mut shrink = vec![0x20];
    shrink.extend_from_slice(&start("/Put"));
    call(&mut server, 7, &shrink);
    server.handle_bytes(&headers(9, &older, 0x4));
    assert!(server.failure().is_some(), "index 63 is gone");
}
