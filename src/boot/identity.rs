//! Member and cluster ids as etcd computes them. Pure; every member must come to the same numbers, so nothing but the
//! URLs and the token may go in.

use crate::config::Bootstrap;
use sha1::{Digest, Sha1};

/// The ids of a new cluster as one member sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub member_id: u64,
    pub cluster_id: u64,
    /// All first members, by name.
    pub members: Vec<(String, u64)>,
}

/// The ids of a first start. `name` is in `bootstrap.members`: the configuration was checked.
pub fn of_bootstrap(name: &str, bootstrap: &Bootstrap) -> Identity {
    let members: Vec<(String, u64)> = bootstrap
        .members
        .iter()
        .map(|(name, urls)| {
            let urls: Vec<&str> = urls.iter().map(|url| url.as_str()).collect();
            (name.clone(), member_id(&urls, &bootstrap.token, None))
        })
        .collect();
    let ids: Vec<u64> = members.iter().map(|(_, id)| *id).collect();
    let own = members.iter().find(|(other, _)| other == name).map(|(_, id)| *id);
    Identity {
        member_id: own.expect("a checked configuration names this member"),
        cluster_id: cluster_id(&ids),
        members,
    }
}

/// The id of a member: the start of SHA-1 over its sorted peer URLs, the token, and, for a member added at run time
/// (with an empty token), the decimal Unix second of the addition.
pub fn member_id(peer_urls: &[&str], token: &str, added_unix_s: Option<u64>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort_unstable();
    let mut text = urls.concat();
    text.push_str(token);
    if let Some(second) = added_unix_s {
        text.push_str(&second.to_string());
    }
    first_eight(text.as_bytes())
}

/// The id of a cluster: the start of SHA-1 over the sorted ids of its first members. It never changes afterwards.
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut ids = member_ids.to_vec();
    ids.sort_unstable();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
    first_eight(&bytes)
}

fn first_eight(bytes: &[u8]) -> u64 {
    let digest = Sha1::digest(bytes);
    let (start, _) = digest.split_first_chunk::<8>().expect("a SHA-1 digest has 20 bytes");
    u64::from_be_bytes(*start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Url;

    #[test]
    fn golden_ids_of_etcd() {
        let member = member_id(&["http://localhost:2380"], "etcd-cluster", None);
        assert_eq!(member, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id(&[member]), 0xcdf8_1819_4e3a_8c32);
        let url = Url::parse("http://localhost:2380").unwrap();
        let bootstrap =
            Bootstrap { members: [("default".to_string(), vec![url])].into(), token: "etcd-cluster".into() };
        let identity = of_bootstrap("default", &bootstrap);
        assert_eq!((identity.member_id, identity.cluster_id), (0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32));
        assert_eq!(identity.members, [("default".to_string(), 0x8e9e_05c5_2164_694d)]);
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let (a, b) = ("http://10.0.0.1:2380", "http://10.0.0.2:2380");
        assert_eq!(member_id(&[a, b], "t", None), member_id(&[b, a], "t", None));
        assert_ne!(member_id(&[a], "t", None), member_id(&[a], "u", None));
        assert_ne!(member_id(&[a], "", Some(1)), member_id(&[a], "", Some(2)));
        assert_eq!(cluster_id(&[1, 2]), cluster_id(&[2, 1]));
        assert_ne!(cluster_id(&[1]), cluster_id(&[1, 2]));
    }
}
