// Command walread reads a write-ahead log with etcd's own reader and prints what it found as one line of JSON.
// It exits with status 1 and etcd's error when etcd refuses the log.
//
// It never writes to the directory it is given: with -boot the segments are copied first, because opening a log
// the way a starting server does zeroes the tail of the last segment.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

// hardState is the last hard state record of the log.
type hardState struct {
	Term   uint64 `json:"term"`
	Vote   string `json:"vote"`
	Commit uint64 `json:"commit"`
}

// marker names the snapshot the entries were read after; 0/0 is the start of the log.
type marker struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
}

// report is the line that is printed. Ids are hexadecimal strings, as etcd prints them.
type report struct {
	MemberID       string            `json:"member_id"`
	ClusterID      string            `json:"cluster_id"`
	HardState      hardState         `json:"hard_state"`
	Start          marker            `json:"start"`
	SnapshotCount  int               `json:"snapshot_count"`
	SegmentCount   int               `json:"segment_count"`
	EntryCount     int               `json:"entry_count"`
	FirstIndex     uint64            `json:"first_index"`
	LastIndex      uint64            `json:"last_index"`
	CountsByType   map[string]uint64 `json:"counts_by_type"`
	EntriesSHA256  string            `json:"entries_sha256"`
	OpenedAsServer bool              `json:"opened_as_server"`
}

func main() {
	dir := flag.String("dir", "", "the WAL directory, or a data directory that has one under member/wal")
	boot := flag.Bool("boot", false, "open a copy for writing, as a starting server does (a torn last record is then an error)")
	flag.Parse()
	if *dir == "" {
		fmt.Fprintln(os.Stderr, "walread: -dir is required")
		os.Exit(2)
	}
	found, err := read(walDir(*dir), *boot)
	if err != nil {
		fmt.Fprintf(os.Stderr, "walread: etcd refuses %s: %v\n", *dir, err)
		os.Exit(1)
	}
	line, err := json.Marshal(found)
	if err != nil {
		fmt.Fprintf(os.Stderr, "walread: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(string(line))
}

// walDir accepts both the log's own directory and the data directory above it.
func walDir(dir string) string {
	inner := filepath.Join(dir, "member", "wal")
	if info, err := os.Stat(inner); err == nil && info.IsDir() {
		return inner
	}
	return dir
}

func read(dir string, boot bool) (found *report, err error) {
	// etcd's reader panics on records it cannot parse at all; a refusal must be an error line, not a stack trace.
	defer func() {
		if broken := recover(); broken != nil {
			found, err = nil, fmt.Errorf("panic in etcd's reader: %v", broken)
		}
	}()
	segments, err := segmentNames(dir)
	if err != nil {
		return nil, err
	}
	if boot {
		copied, err := copySegments(dir, segments)
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(copied)
		dir = copied
	}
	snapshots, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot records: %w", err)
	}
	start, err := startOf(segments[0], snapshots)
	if err != nil {
		return nil, err
	}
	open := wal.OpenForRead
	if boot {
		open = wal.Open
	}
	log, err := open(zap.NewNop(), dir, start)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer log.Close()
	metadata, state, entries, err := log.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	// A server starts from its newest snapshot, so that way in must be open, too.
	if newest := len(snapshots); newest > 0 {
		if _, err := wal.Verify(zap.NewNop(), dir, snapshots[newest-1]); err != nil {
			return nil, fmt.Errorf("verify from the newest snapshot: %w", err)
		}
	}
	found, err = summarise(metadata, state, entries)
	if err != nil {
		return nil, err
	}
	found.Start = marker{Index: start.GetIndex(), Term: start.GetTerm()}
	found.SnapshotCount, found.SegmentCount, found.OpenedAsServer = len(snapshots), len(segments), boot
	return found, nil
}

func segmentNames(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no *.wal file in %s", dir)
	}
	sort.Strings(paths)
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = filepath.Base(path)
	}
	return names, nil
}

// startOf chooses the earliest point the remaining segments can be read from. Old segments are purged behind
// snapshots, so a log whose first segment does not begin at index 0 is read from its first snapshot record.
func startOf(firstSegment string, snapshots []*walpb.Snapshot) (*walpb.Snapshot, error) {
	var sequence, index uint64
	if _, err := fmt.Sscanf(firstSegment, "%016x-%016x.wal", &sequence, &index); err != nil {
		return nil, fmt.Errorf("segment name %q: %w", firstSegment, err)
	}
	if index == 0 {
		return &walpb.Snapshot{Index: proto.Uint64(0), Term: proto.Uint64(0)}, nil
	}
	for _, snapshot := range snapshots {
		if snapshot.GetIndex() >= index {
			return snapshot, nil
		}
	}
	return nil, fmt.Errorf("no snapshot record at or after index %d, where the first segment begins", index)
}

func copySegments(dir string, names []string) (string, error) {
	// Beside the original: a log can be larger than a small /tmp.
	copied, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), "walread-")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(copied, name)); err != nil {
			return "", errors.Join(err, os.RemoveAll(copied))
		}
	}
	return copied, nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

func summarise(metadata []byte, state *raftpb.HardState, entries []*raftpb.Entry) (*report, error) {
	var ids pb.Metadata
	if err := proto.Unmarshal(metadata, &ids); err != nil {
		return nil, fmt.Errorf("metadata record: %w", err)
	}
	found := &report{
		MemberID:   fmt.Sprintf("%x", ids.GetNodeID()),
		ClusterID:  fmt.Sprintf("%x", ids.GetClusterID()),
		HardState:  hardState{Term: state.GetTerm(), Vote: fmt.Sprintf("%x", state.GetVote()), Commit: state.GetCommit()},
		EntryCount: len(entries), CountsByType: map[string]uint64{},
	}
	digest := sha256.New()
	for i, entry := range entries {
		if i == 0 {
			found.FirstIndex = entry.GetIndex()
		}
		found.LastIndex = entry.GetIndex()
		found.CountsByType[entry.GetType().String()]++
		// term, index, type and length of data, each 8 bytes big endian, then the data.
		head := make([]byte, 0, 32)
		for _, number := range []uint64{entry.GetTerm(), entry.GetIndex(), uint64(entry.GetType()), uint64(len(entry.GetData()))} {
			head = binary.BigEndian.AppendUint64(head, number)
		}
		digest.Write(head)
		digest.Write(entry.GetData())
	}
	found.EntriesSHA256 = hex.EncodeToString(digest.Sum(nil))
	return found, nil
}
