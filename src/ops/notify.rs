//! Tells the service manager how the server is (sd_notify): a datagram to the socket that `NOTIFY_SOCKET` names. Without
//! one, or when it cannot be reached, nothing happens: a server must not fail because nobody listens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Clients are served.
    Ready,
    /// The orderly end has begun.
    Stopping,
}

pub fn notify(state: State) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Some(name) = socket.to_str()
    {
        send(name, state);
    }
}

/// `@name` is a socket in the abstract namespace, anything else a path.
fn send(name: &str, state: State) {
    let text = match state {
        State::Ready => "READY=1\n",
        State::Stopping => "STOPPING=1\n",
    };
    let address = match name.strip_prefix('@') {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(text.as_bytes(), &address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_it_on_both_kinds_of_sockets() {
        let name = format!("etcd-notify-{}", std::process::id());
        let abstract_socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let path = std::env::temp_dir().join(&name);
        let path_socket = UnixDatagram::bind(&path).unwrap();
        for (address, socket) in [(format!("@{name}"), &abstract_socket), (path.display().to_string(), &path_socket)] {
            send(&address, State::Ready);
            send(&address, State::Stopping);
            let mut buf = [0; 64];
            for expect in ["READY=1\n", "STOPPING=1\n"] {
                let len = socket.recv(&mut buf).unwrap();
                assert_eq!(&buf[..len], expect.as_bytes());
            }
        }
        std::fs::remove_file(path).unwrap();
        send("/nobody/listens/here", State::Ready);
    }
}
