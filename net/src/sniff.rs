//! Which protocol a fresh connection speaks: HTTP/2 by prior knowledge, or HTTP/1.1. Pure, owned by whoever accepted the
//! connection. It must never wait for more bytes than the answer needs: the first byte that differs decides.

/// What every HTTP/2 client sends first (RFC 9113, 3.4). No HTTP/1.1 request can start like this: `PRI` is reserved.
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Looks at the first bytes of a connection, all of them from its beginning. `None`: so far this could be either, give it
/// again with more bytes. The bytes are not consumed: the chosen protocol gets them from the first on.
pub fn sniff(bytes: &[u8]) -> Option<Protocol> {
    let len = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..len] != HTTP2_PREFACE[..len] {
        Some(Protocol::Http1)
    } else if len == HTTP2_PREFACE.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_needs_its_last_byte() {
        for len in 0..HTTP2_PREFACE.len() {
            assert_eq!(sniff(&HTTP2_PREFACE[..len]), None, "{len} bytes");
        }
        assert_eq!(sniff(HTTP2_PREFACE), Some(Protocol::Http2));
        let mut longer = HTTP2_PREFACE.to_vec();
        longer.extend_from_slice(b"\0\0\0\x04\0\0\0\0\0");
        assert_eq!(sniff(&longer), Some(Protocol::Http2));
    }

    #[test]
    fn the_first_different_byte_decides() {
        for at in 0..HTTP2_PREFACE.len() {
            let mut bytes = HTTP2_PREFACE[..=at].to_vec();
            bytes[at] ^= 1;
            assert_eq!(sniff(&bytes), Some(Protocol::Http1), "byte {at}");
        }
        for text in ["G", "PO", "PRI /", "PUT / HTTP/1.1\r\n", "\r\n", "\u{16}\u{3}\u{1}"] {
            assert_eq!(sniff(text.as_bytes()), Some(Protocol::Http1), "{text:?}");
        }
    }
}
