//! An inner node of the key index: children, the live keys below each, and between them the shortest keys that separate.

use super::Node;
use crate::apply::mvcc::limits::{INNER_CHILDREN_MAX, LEAF_ENTRIES_MAX};
use crate::apply::mvcc::log::Log;
use std::sync::Arc;

/// Separators up to this length are part of the node: comparing one touches no other memory, copying no reference count.
const INLINE_BYTES: usize = 62;

/// A lower bound of the keys in a subtree.
#[derive(Clone)]
pub(super) enum Separator {
    Inline(u8, [u8; INLINE_BYTES]),
    Shared(Arc<[u8]>),
}

impl Separator {
    pub fn new(key: &[u8]) -> Separator {
        if key.len() > INLINE_BYTES {
            return Separator::Shared(Arc::from(key));
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..key.len()].copy_from_slice(key);
        Separator::Inline(key.len() as u8, bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Separator::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Separator::Shared(bytes) => bytes,
        }
    }
}

#[derive(Clone)]
pub(super) struct Child {
    /// Not below the subtree's keys; of a node's first child it is never looked at.
    pub separator: Separator,
    pub live: u64,
    pub node: Node,
}

impl Child {
    pub fn new(separator: Separator, node: Node) -> Child {
        Child { separator, live: node.live(), node }
    }

    pub fn add_live(&mut self, delta: i64) {
        self.live = self.live.checked_add_signed(delta).expect("live count");
    }
}

#[derive(Clone)]
pub(super) struct Inner {
    pub children: Vec<Child>,
}

impl Inner {
    pub fn live(&self) -> u64 {
        self.children.iter().map(|child| child.live).sum()
    }

    /// The child whose subtree holds `key` if anything does.
    pub fn child_of(&self, key: &[u8]) -> usize {
        self.children[1..].partition_point(|child| child.separator.as_bytes() <= key)
    }

    /// Puts the right half of a split child in its place; answers the right half of this node if it was full.
    pub fn insert_after(&mut self, index: usize, separator: Separator, node: Node) -> Option<(Separator, Inner)> {
        self.children[index].live = self.children[index].node.live();
        let child = Child::new(separator, node);
        if self.children.len() < INNER_CHILDREN_MAX {
            if self.children.len() == self.children.capacity() {
                self.children.reserve_exact(2);
            }
            self.children.insert(index + 1, child);
            return None;
        }
        let at = if index + 1 == self.children.len() { index + 1 } else { self.children.len() / 2 };
        let mut right = Inner { children: self.children.split_off(at) };
        if index < at && !right.children.is_empty() {
            self.children.insert(index + 1, child);
        } else {
            right.children.insert(index + 1 - at, child);
        }
        Some((right.children[0].separator.clone(), right))
    }

    /// After a removal below child `index`: drops an empty subtree or joins small neighbours. May leave no
    /// child at all: then the parent drops this node.
    pub fn merge_around(&mut self, log: &Log, index: usize) {
        if self.children[index].node.len() == 0 {
            self.children.remove(index);
            return;
        }
        let left = index.saturating_sub(1);
        for left in [index, left] {
            if left + 1 < self.children.len() && self.mergeable(left) {
                self.merge(log, left);
                return;
            }
        }
    }

    fn mergeable(&self, left: usize) -> bool {
        // Not up to the brim, or the next insertion would split again.
        let max = match self.children[left].node {
            Node::Leaf(_) => LEAF_ENTRIES_MAX * 3 / 4,
            Node::Inner(_) => INNER_CHILDREN_MAX * 3 / 4,
        };
        self.children[left].node.len() + self.children[left + 1].node.len() <= max
    }

    fn merge(&mut self, log: &Log, left: usize) {
        let right = self.children.remove(left + 1);
        let target = &mut self.children[left];
        match (&mut target.node, right.node) {
            (Node::Leaf(target), Node::Leaf(source)) => target.merge(log, &source),
            (Node::Inner(target), Node::Inner(source)) => {
                let mut moved = source.children.clone();
                // The first separator of a node may be anything; here it becomes one between two children.
                moved[0].separator = right.separator;
                Arc::make_mut(target).children.append(&mut moved);
            }
            _ => unreachable!("siblings have the same height"),
        }
        target.live += right.live;
    }
}

const _: () = assert!(INNER_CHILDREN_MAX >= 4 && LEAF_ENTRIES_MAX >= 4);
