//! Where a server is: the forms users write after `--endpoints`, resolved to addresses.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`, not resolved yet.
    Tcp(String),
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As the user wrote it; reports show this.
    pub text: String,
    pub address: Address,
}

/// An endpoint this client cannot talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    Tls(String),
    Port(String),
    Scheme(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::Tls(text) => write!(f, "endpoint {text} needs TLS, which this client does not speak yet"),
            EndpointError::Port(text) => write!(f, "endpoint {text} has no port; write it as host:port"),
            EndpointError::Scheme(text) => {
                write!(f, "endpoint {text} has an unknown scheme; write host:port, http://host:port or unix:path")
            }
        }
    }
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        let text = text.trim();
        if text.starts_with("https://") || text.starts_with("unixs:") {
            return Err(EndpointError::Tls(text.to_string()));
        }
        let address = if let Some(path) = text.strip_prefix("unix:") {
            Address::Unix(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
        } else {
            let rest = text.strip_prefix("http://").unwrap_or(text);
            if rest.contains("://") {
                return Err(EndpointError::Scheme(text.to_string()));
            }
            let host = rest.split('/').next().unwrap_or("");
            let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                return Err(EndpointError::Port(text.to_string()));
            }
            Address::Tcp(host.to_string())
        };
        Ok(Endpoint { text: text.to_string(), address })
    }

    /// The `:authority` of calls to this endpoint.
    pub fn authority(&self) -> &str {
        match &self.address {
            Address::Tcp(host) => host,
            Address::Unix(_) => "localhost",
        }
    }

    /// Every address the host's name stands for.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        match &self.address {
            Address::Tcp(host) => Ok(host.to_socket_addrs()?.collect()),
            Address::Unix(_) => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let tcp = |text: &str| Endpoint::parse(text).map(|e| e.address);
        assert_eq!(tcp(" 127.0.0.1:2379"), Ok(Address::Tcp("127.0.0.1:2379".into())));
        assert_eq!(tcp("http://[::1]:2379/"), Ok(Address::Tcp("[::1]:2379".into())));
        assert_eq!(tcp("unix:///tmp/a"), Ok(Address::Unix("/tmp/a".into())));
        assert_eq!(tcp("unix:a.sock"), Ok(Address::Unix("a.sock".into())));
        assert!(matches!(tcp("https://h:1"), Err(EndpointError::Tls(_))));
        assert!(matches!(tcp("host"), Err(EndpointError::Port(_))));
        assert!(matches!(tcp("ftp://h:1"), Err(EndpointError::Scheme(_))));
    }
}
