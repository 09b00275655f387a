//! The key index: a copy-on-write B-tree from key to the newest row of that key, with counts of live keys in every subtree.
//! Nodes are reference-counted: the writer changes a node in place while nobody else holds it and copies it otherwise, so a
//! published root never changes. Entries hold a position in the revision log, not the key: the key's bytes exist once.

mod inner;
mod leaf;

use super::log::{Log, LogWriter};
use inner::{Child, Inner, Separator};
use leaf::Leaf;
use std::sync::Arc;

/// The newest row of a key. Tombstones stay until they are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub position: u64,
    pub main: i64,
    pub live: bool,
}

#[derive(Clone)]
enum Node {
    Leaf(Leaf),
    Inner(Arc<Inner>),
}

#[derive(Clone)]
pub(super) struct Tree {
    root: Node,
}

/// What an insertion did below: the change of live keys, and the new right sibling if the node was full.
struct Inserted {
    live_delta: i64,
    split: Option<(Separator, Node)>,
}

struct Removed {
    live_delta: i64,
    found: bool,
}

impl Node {
    fn live(&self) -> u64 {
        match self {
            Node::Leaf(leaf) => leaf.live(),
            Node::Inner(inner) => inner.live(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.children.len(),
        }
    }

    fn upsert<F>(&mut self, log: &mut LogWriter, key: &[u8], make: F) -> Inserted
    where
        F: FnOnce(&mut LogWriter, Option<Head>) -> Head,
    {
        match self {
            Node::Leaf(leaf) => {
                let (live_delta, split) = leaf.upsert(log, key, make);
                let split = split.map(|(separator, right)| (separator, Node::Leaf(right)));
                Inserted { live_delta, split }
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let index = inner.child_of(key);
                let below = inner.children[index].node.upsert(log, key, make);
                inner.children[index].add_live(below.live_delta);
                let split = below.split.and_then(|(separator, node)| inner.insert_after(index, separator, node));
                let split = split.map(|(separator, right)| (separator, Node::Inner(Arc::new(right))));
                Inserted { live_delta: below.live_delta, split }
            }
        }
    }

    fn remove(&mut self, log: &Log, key: &[u8]) -> Removed {
        match self {
            Node::Leaf(leaf) => match leaf.search(log, key) {
                Err(_) => Removed { live_delta: 0, found: false },
                Ok(index) => {
                    let head = leaf.remove(index);
                    Removed { live_delta: -i64::from(head.live), found: true }
                }
            },
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let index = inner.child_of(key);
                let below = inner.children[index].node.remove(log, key);
                inner.children[index].add_live(below.live_delta);
                if below.found {
                    inner.merge_around(log, index);
                }
                below
            }
        }
    }

    /// Live keys before `key`.
    fn rank(&self, log: &Log, key: &[u8]) -> u64 {
        match self {
            Node::Leaf(leaf) => leaf.rank(log, key),
            Node::Inner(inner) => {
                let index = inner.child_of(key);
                inner.children[..index].iter().map(|child| child.live).sum::<u64>()
                    + inner.children[index].node.rank(log, key)
            }
        }
    }

    /// Calls `visit` for the heads of keys in [from, to) in key order until it answers false. `None` is no bound.
    fn visit(&self, log: &Log, from: Option<&[u8]>, to: Option<&[u8]>, visit: &mut dyn FnMut(Head) -> bool) -> bool {
        match self {
            Node::Leaf(leaf) => {
                let bound = |key: &[u8]| leaf.search(log, key).unwrap_or_else(|index| index);
                let start = from.map_or(0, bound);
                let end = to.map_or(leaf.len(), bound);
                (start..end).all(|index| visit(leaf.head(index)))
            }
            Node::Inner(inner) => {
                let first = from.map_or(0, |key| inner.child_of(key));
                let last = to.map_or(inner.children.len() - 1, |key| inner.child_of(key));
                (first..=last).all(|index| {
                    let from = if index == first { from } else { None };
                    let to = if index == last { to } else { None };
                    inner.children[index].node.visit(log, from, to, visit)
                })
            }
        }
    }
}

impl Tree {
    pub fn empty() -> Tree {
        Tree { root: Node::Leaf(Leaf::empty()) }
    }

    pub fn find(&self, log: &Log, key: &[u8]) -> Option<Head> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.search(log, key).ok().map(|index| leaf.head(index)),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)].node,
            }
        }
    }

    /// Sets the head of `key` to what `make` answers; it is given the head so far and appends the new row to the log.
    pub fn upsert<F>(&mut self, log: &mut LogWriter, key: &[u8], make: F)
    where
        F: FnOnce(&mut LogWriter, Option<Head>) -> Head,
    {
        let Some((separator, right)) = self.root.upsert(log, key, make).split else { return };
        let left = std::mem::replace(&mut self.root, Node::Leaf(Leaf::empty()));
        let children = vec![Child::new(Separator::new(&[]), left), Child::new(separator, right)];
        self.root = Node::Inner(Arc::new(Inner { children }));
    }

    pub fn remove(&mut self, log: &Log, key: &[u8]) -> bool {
        let removed = self.root.remove(log, key);
        while let Node::Inner(inner) = &self.root {
            self.root = match &inner.children[..] {
                [] => Node::Leaf(Leaf::empty()),
                [only] => only.node.clone(),
                _ => break,
            };
        }
        removed.found
    }

    /// Live keys in [from, to); `None` is no bound.
    pub fn count(&self, log: &Log, from: &[u8], to: Option<&[u8]>) -> u64 {
        let end = to.map_or_else(|| self.root.live(), |key| self.root.rank(log, key));
        end.saturating_sub(self.root.rank(log, from))
    }

    pub fn live(&self) -> u64 {
        self.root.live()
    }

    pub fn visit(&self, log: &Log, from: &[u8], to: Option<&[u8]>, mut visit: impl FnMut(Head) -> bool) {
        if to.is_none_or(|to| from < to) {
            self.root.visit(log, Some(from), to, &mut visit);
        }
    }

    /// Panics unless order, counts and fill are as they must be. For tests.
    pub fn check(&self, log: &Log) -> usize {
        fn walk(node: &Node, log: &Log, last: &mut Option<Vec<u8>>, entries: &mut usize) -> (usize, u64) {
            match node {
                Node::Leaf(leaf) => {
                    leaf.check(log, last);
                    *entries += leaf.len();
                    (1, leaf.live())
                }
                Node::Inner(inner) => {
                    assert!(!inner.children.is_empty() && inner.children.len() <= super::limits::INNER_CHILDREN_MAX);
                    let mut height = None;
                    for (index, child) in inner.children.iter().enumerate() {
                        if index > 0 {
                            assert!(last.as_deref().is_none_or(|last| last < child.separator.as_bytes()));
                        }
                        let before = last.clone();
                        let (below, live) = walk(&child.node, log, last, entries);
                        assert!(before != *last, "an empty subtree is removed");
                        assert_eq!(child.live, live);
                        assert_eq!(*height.get_or_insert(below), below);
                    }
                    (height.unwrap_or(0) + 1, inner.live())
                }
            }
        }
        let mut entries = 0;
        walk(&self.root, log, &mut None, &mut entries);
        entries
    }
}
