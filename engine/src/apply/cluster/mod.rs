//! The members of the cluster, as the log has made them. Written by apply alone. Ids of removed members are remembered
//! for ever: they are never accepted again.

mod member;

pub use member::Member;

use crate::pb::{membershippb, raftpb};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub id: u64,
    /// By member id, which is also the order they are listed in.
    members: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
    /// `major.minor.0` the members have agreed on; None until the leader has decided it the first time.
    version: Option<String>,
}

/// What a committed conf change did. `raft_change` is what consensus must do with it: an invalid change is handed to raft
/// with node id 0, which changes nothing, on every member alike.
#[derive(Debug, PartialEq)]
pub struct ConfChanged {
    pub raft_change: raftpb::ConfChange,
    pub result: Result<(), ConfChangeError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfChangeError {
    /// The context is not the JSON of a member.
    Malformed,
    MemberExists,
    MemberNotFound,
    MemberRemoved,
    PeerUrlExists,
}

impl Cluster {
    pub fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Ids of members that were removed.
    pub fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    pub fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Voters and learners as raft knows them.
    pub fn conf_state(&self) -> raftpb::ConfState {
        let of = |learner| self.members().filter(move |m| m.is_learner == learner).map(|m| m.id).collect();
        raftpb::ConfState { voters: of(false), learners: of(true), ..Default::default() }
    }

    pub fn apply_conf_change(&mut self, change: &raftpb::ConfChange) -> ConfChanged {
        let result = self.try_conf_change(change);
        let mut raft_change = change.clone();
        if result.is_err() {
            raft_change.node_id = 0;
        }
        ConfChanged { raft_change, result }
    }

    fn try_conf_change(&mut self, change: &raftpb::ConfChange) -> Result<(), ConfChangeError> {
        use raftpb::ConfChangeType as T;
        if self.removed.contains(&change.node_id) {
            return Err(ConfChangeError::MemberRemoved);
        }
        match T::try_from(change.r#type).map_err(|_| ConfChangeError::Malformed)? {
            kind @ (T::AddNode | T::AddLearnerNode) => {
                let (mut member, promote) = Member::from_json(&change.context).ok_or(ConfChangeError::Malformed)?;
                if promote {
                    let known = self.members.get_mut(&change.node_id).ok_or(ConfChangeError::MemberNotFound)?;
                    known.is_learner = false;
                    return Ok(());
                }
                if self.members.contains_key(&change.node_id) {
                    return Err(ConfChangeError::MemberExists);
                }
                if member.id != change.node_id {
                    return Err(ConfChangeError::Malformed);
                }
                self.check_peer_urls(&member)?;
                member.is_learner = kind == T::AddLearnerNode;
                self.members.insert(member.id, member);
            }
            T::RemoveNode => {
                self.members.remove(&change.node_id).ok_or(ConfChangeError::MemberNotFound)?;
                self.removed.insert(change.node_id);
            }
            T::UpdateNode => {
                let (member, _) = Member::from_json(&change.context).ok_or(ConfChangeError::Malformed)?;
                if !self.members.contains_key(&change.node_id) {
                    return Err(ConfChangeError::MemberNotFound);
                }
                self.check_peer_urls(&member)?;
                if let Some(known) = self.members.get_mut(&change.node_id) {
                    known.peer_urls = member.peer_urls;
                }
            }
        }
        Ok(())
    }

    fn check_peer_urls(&self, member: &Member) -> Result<(), ConfChangeError> {
        let clash =
            self.members().any(|m| m.id != member.id && m.peer_urls.iter().any(|u| member.peer_urls.contains(u)));
        if clash { Err(ConfChangeError::PeerUrlExists) } else { Ok(()) }
    }

    /// A member published its name and client URLs. Unknown and removed members are ignored, as etcd does.
    pub fn apply_attributes(&mut self, request: &membershippb::ClusterMemberAttrSetRequest) {
        if let Some(member) = self.members.get_mut(&request.member_id) {
            let attributes = request.member_attributes.clone().unwrap_or_default();
            (member.name, member.client_urls) = (attributes.name, attributes.client_urls);
        }
    }

    pub fn apply_version(&mut self, request: &membershippb::ClusterVersionSetRequest) {
        self.version = Some(request.ver.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: raftpb::ConfChangeType, id: u64, context: &str) -> raftpb::ConfChange {
        raftpb::ConfChange {
            r#type: kind as i32,
            node_id: id,
            context: context.to_owned().into(),
            ..Default::default()
        }
    }

    #[test]
    fn conf_changes() {
        use ConfChangeError as E;
        use raftpb::ConfChangeType as T;
        let one = r#"{"id":1,"peerURLs":["http://a:1"],"name":"a"}"#;
        let two = r#"{"id":2,"peerURLs":["http://b:1"],"isLearner":true}"#;
        let steps: &[(T, u64, &str, Result<(), E>)] = &[
            (T::AddNode, 1, one, Ok(())),
            (T::AddNode, 1, one, Err(E::MemberExists)),
            (T::AddNode, 3, r#"{"id":3,"peerURLs":["http://a:1"]}"#, Err(E::PeerUrlExists)),
            (T::AddNode, 3, "not json", Err(E::Malformed)),
            (T::AddLearnerNode, 2, two, Ok(())),
            (T::AddNode, 2, r#"{"id":2,"isPromote":true}"#, Ok(())),
            (T::UpdateNode, 2, r#"{"id":2,"peerURLs":["http://c:1"]}"#, Ok(())),
            (T::UpdateNode, 9, r#"{"id":9,"peerURLs":["http://d:1"]}"#, Err(E::MemberNotFound)),
            (T::RemoveNode, 2, "", Ok(())),
            (T::RemoveNode, 2, "", Err(E::MemberRemoved)),
            (T::AddNode, 2, two, Err(E::MemberRemoved)),
        ];
        let mut cluster = Cluster::new(7);
        for (kind, id, context, expect) in steps {
            let done = cluster.apply_conf_change(&change(*kind, *id, context));
            assert_eq!(&done.result, expect, "{kind:?} {id} {context}");
            assert_eq!(done.raft_change.node_id, if expect.is_ok() { *id } else { 0 });
        }
        assert_eq!(cluster.conf_state().voters, [1]);
        assert!(cluster.is_removed(2));
    }

    #[test]
    fn member_json_is_gos() {
        let member = Member {
            id: 0x8e9e05c52164694d,
            peer_urls: vec!["http://localhost:2380".into()],
            name: "default".into(),
            ..Member::default()
        };
        let json = r#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default"}"#;
        assert_eq!(member.to_json(), json);
        assert_eq!(Member::from_json(json.as_bytes()), Some((member, false)));
    }
}
