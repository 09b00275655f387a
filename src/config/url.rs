//! URLs as etcd's flags accept them. The text is kept in the form etcd prints, because member ids are made of it.
//! Pure: nothing is resolved here.

use super::value::quote;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
    Unix,
    Unixs,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    pub fn is_unix(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }
}

/// One URL of a flag; compares and sorts by its text, as etcd does.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Url {
    /// Reads one URL; the error is etcd's text.
    pub fn parse(raw: &str) -> Result<Url, String> {
        let raw = raw.trim();
        let no_scheme = || format!("URL scheme must be http, https, unix, or unixs: {raw}");
        let Some((scheme, rest)) = raw.split_once(':') else { return Err(no_scheme()) };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            // Go reads no scheme where the first letter is a digit, and then stumbles over the colon.
            other if other.starts_with(|c: char| c.is_ascii_digit()) => {
                let reason = "first path segment in URL cannot contain colon";
                return Err(format!("parse {}: {reason} (did you mean http://{raw}?)", quote(raw)));
            }
            _ => return Err(no_scheme()),
        };
        let rest = rest.strip_prefix("//").unwrap_or("");
        if scheme.is_unix() {
            return Ok(Url { text: format!("{}://{rest}", scheme.name()), scheme, host: String::new(), port: 0 });
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (host, port) = split_host_port(authority)
            .ok_or_else(|| format!("URL address does not have the form \"host:port\": {raw}"))?;
        if !tail.is_empty() {
            return Err(format!("URL must not contain a path: {raw}"));
        }
        if let Some(c) = host.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._:%".contains(*c))) {
            return Err(format!("parse {}: invalid character {} in host name", quote(raw), quote(&c.to_string())));
        }
        let port = parse_port(port)
            .ok_or_else(|| format!("parse {}: invalid port {} after host", quote(raw), quote(&format!(":{port}"))))?;
        let text = format!("{}://{authority}", scheme.name());
        Ok(Url { text, scheme, host: host.into(), port })
    }

    /// As etcd prints it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Without brackets; empty for unix sockets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to bind or connect to, if the host is an IP address or `localhost`. For `0.0.0.0` Go listens on IPv6
    /// as well where it can; that is up to whoever binds.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().ok()?,
        };
        Some(SocketAddr::new(ip, self.port))
    }

    /// The same URL at another host.
    pub fn at_host(&self, ip: IpAddr, port: u16) -> Url {
        let text = format!("{}://{}", self.scheme.name(), SocketAddr::new(ip, port));
        Url { text, scheme: self.scheme, host: ip.to_string(), port }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Reads a list: sorted, without duplicates, never empty.
pub fn parse_list<'a>(raw: impl Iterator<Item = &'a str>) -> Result<Vec<Url>, String> {
    let mut urls = raw.map(Url::parse).collect::<Result<Vec<_>, _>>()?;
    urls.sort();
    urls.dedup();
    Ok(urls)
}

/// Texts joined by commas, as etcd prints lists.
pub fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::as_str).collect::<Vec<_>>().join(",")
}

/// Go's `net.SplitHostPort`: brackets around anything with a colon in it.
fn split_host_port(authority: &str) -> Option<(&str, &str)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return Some((host, tail.strip_prefix(':')?));
    }
    let (host, port) = authority.rsplit_once(':')?;
    if host.contains([':', '[', ']']) { None } else { Some((host, port)) }
}

fn parse_port(port: &str) -> Option<u16> {
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let form = |raw: &str| Err(format!("URL address does not have the form \"host:port\": {raw}"));
        for (raw, expect) in [
            ("http://localhost:2379", Ok("http://localhost:2379".to_string())),
            (" HTTP://10.0.0.1:1 ", Ok("http://10.0.0.1:1".into())),
            ("https://[::1]:2379", Ok("https://[::1]:2379".into())),
            ("http://:2379", Ok("http://:2379".into())),
            ("unix://tmp/sock", Ok("unix://tmp/sock".into())),
            ("http://localhost", form("http://localhost")),
            ("http://::1:2379", form("http://::1:2379")),
            ("http:localhost:1", form("http:localhost:1")),
            ("http://localhost:1/", Err("URL must not contain a path: http://localhost:1/".into())),
            ("ftp://h:1", Err("URL scheme must be http, https, unix, or unixs: ftp://h:1".into())),
            ("localhost:2379", Err("URL scheme must be http, https, unix, or unixs: localhost:2379".into())),
            ("", Err("URL scheme must be http, https, unix, or unixs: ".into())),
            ("http://h:abc", Err("parse \"http://h:abc\": invalid port \":abc\" after host".into())),
            ("http://h:65536", Err("parse \"http://h:65536\": invalid port \":65536\" after host".into())),
            ("http://u@h:1", Err("parse \"http://u@h:1\": invalid character \"@\" in host name".into())),
            (
                "127.0.0.1:2379",
                Err("parse \"127.0.0.1:2379\": first path segment in URL cannot contain colon \
                     (did you mean http://127.0.0.1:2379?)"
                    .into()),
            ),
        ] {
            assert_eq!(Url::parse(raw).map(|url| url.to_string()), expect, "{raw:?}");
        }
    }

    #[test]
    fn addresses() {
        let addr = |raw: &str| Url::parse(raw).unwrap().socket_addr().map(|addr| addr.to_string());
        assert_eq!(addr("http://localhost:2379").as_deref(), Some("127.0.0.1:2379"));
        assert_eq!(addr("http://[::]:1").as_deref(), Some("[::]:1"));
        assert_eq!(addr("http://example.com:1"), None);
        let moved = Url::parse("http://localhost:2380").unwrap().at_host("10.1.2.3".parse().unwrap(), 99);
        assert_eq!((moved.as_str(), moved.host(), moved.port()), ("http://10.1.2.3:99", "10.1.2.3", 99));
    }
}
