//! HTTP/2: frames, HPACK, streams and flow control.
