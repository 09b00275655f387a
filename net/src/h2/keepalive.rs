//! PING in both directions: is a silent peer still there, and does it ask the same of us too often. Owned by the
//! connection. The rules are grpc-go's, so that clients tuned against its servers keep working. Without a clock nothing
//! here acts: a day of pings on an idle connection and a flood differ in time alone.

use super::error::ConnectionError;

/// PINGs a client may send too early before it is sent away, count: one over it ends the connection. grpc-go's number.
pub const MAX_PING_STRIKES: u32 = 2;

/// Milliseconds that have to pass between two PINGs while no stream is open, two hours: a client has no reason to probe
/// then. grpc-go's number.
pub const IDLE_PING_MIN_MS: u64 = 2 * 60 * 60 * 1000;

/// Opaque data of our probes.
pub const PROBE: [u8; 8] = *b"\0\0\0alive";

/// What the owner wants of its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Milliseconds between two PINGs of a peer with open streams, at least.
    pub ping_min_ms: u64,
    /// Milliseconds of silence after which the peer is probed.
    pub interval_ms: u64,
    /// Milliseconds of silence after a probe after which the peer counts as gone.
    pub timeout_ms: u64,
}

/// What time asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Nothing,
    Probe,
    /// The probe was not answered: nobody is there to be told anything.
    Gone,
}

#[derive(Debug)]
pub struct Keepalive {
    rules: Option<Rules>,
    /// 0 until the owner passes the time.
    now_ms: u64,
    last_heard_ms: u64,
    probe_sent_ms: Option<u64>,
    last_ping_ms: Option<u64>,
    strikes: u32,
    /// We sent HEADERS or DATA since the peer's last PING: it may be measuring its link, that is no strike.
    spoke: bool,
}

impl Keepalive {
    pub fn new(rules: Option<Rules>) -> Self {
        Keepalive {
            rules,
            now_ms: 0,
            last_heard_ms: 0,
            probe_sent_ms: None,
            last_ping_ms: None,
            strikes: 0,
            spoke: false,
        }
    }

    /// HEADERS or DATA left, or were put where they leave from.
    #[inline]
    pub fn spoke(&mut self) {
        self.spoke = true;
    }

    /// Bytes came.
    #[inline]
    pub fn heard(&mut self) {
        self.last_heard_ms = self.now_ms;
        self.probe_sent_ms = None;
    }

    pub fn on_time(&mut self, now_ms: u64) -> Due {
        if self.now_ms == 0 {
            self.last_heard_ms = now_ms;
        }
        self.now_ms = now_ms;
        let Some(rules) = self.rules else { return Due::Nothing };
        match self.probe_sent_ms {
            Some(sent_ms) if now_ms.saturating_sub(sent_ms) >= rules.timeout_ms => Due::Gone,
            Some(_) => Due::Nothing,
            None if now_ms.saturating_sub(self.last_heard_ms) >= rules.interval_ms => {
                self.probe_sent_ms = Some(now_ms);
                Due::Probe
            }
            None => Due::Nothing,
        }
    }

    /// The peer's PING.
    pub fn on_ping(&mut self, has_streams: bool) -> Result<(), ConnectionError> {
        let Some(rules) = self.rules.filter(|_| self.now_ms != 0) else { return Ok(()) };
        let last_ms = self.last_ping_ms.replace(self.now_ms);
        if std::mem::take(&mut self.spoke) {
            self.strikes = 0;
            return Ok(());
        }
        let apart_ms = if has_streams { rules.ping_min_ms } else { IDLE_PING_MIN_MS };
        if last_ms.is_some_and(|last_ms| self.now_ms < last_ms.saturating_add(apart_ms)) {
            self.strikes += 1;
        }
        // The text is what grpc clients look for before they slow down.
        if self.strikes > MAX_PING_STRIKES { Err(ConnectionError::calm("too_many_pings")) } else { Ok(()) }
    }
}
