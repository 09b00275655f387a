//! Receive windows: what the peer may still send, and the WINDOW_UPDATEs that give back what was consumed.
//! Updates are batched: one is due when half the window was used, so small calls cost none.

/// One receive window, of a stream or of the connection.
#[derive(Clone, Copy, Debug)]
pub struct RecvWindow {
    size: u32,
    /// What the peer may still send.
    left: u32,
    /// Consumed by us and not given back yet.
    owed: u32,
}

impl RecvWindow {
    pub fn new(size: u32) -> Self {
        RecvWindow { size, left: size, owed: 0 }
    }

    /// Takes `len` received bytes off the window; false when the peer sent more than it was allowed to.
    #[must_use]
    pub fn receive(&mut self, len: u32) -> bool {
        if len > self.left {
            return false;
        }
        self.left -= len;
        self.owed += len;
        true
    }

    /// The increment to announce, once it is worth a frame.
    #[inline]
    pub fn update_due(&mut self) -> Option<u32> {
        if self.owed < self.size / 2 {
            return None;
        }
        let increment = std::mem::take(&mut self.owed);
        self.left += increment;
        assert!(self.left <= self.size);
        Some(increment)
    }
}
