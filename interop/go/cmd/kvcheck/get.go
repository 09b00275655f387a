package main

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func read(s *suite, key string, opts ...clientv3.OpOption) []*mvccpb.KeyValue {
	answer, err := s.client.Get(s.ctx, key, opts...)
	s.must(err)
	return answer.Kvs
}

// getData makes rows whose five sort orders all differ and have no ties. It returns the revision before it.
//
//	key  value  create  mod  version
//	g1   e      +1      +12  3
//	g2   a      +2      +6   2
//	g3   d      +3      +11  5
//	g4   b      +4      +4   1
//	g5   c      +5      +15  4
func getData(s *suite) int64 {
	base := s.revision()
	for _, write := range strings.Fields("g1=x g2=x g3=x g4=b g5=x g2=a g1=x g3=x g3=x g3=x g3=d g1=e g5=x g5=x g5=c") {
		key, value, _ := strings.Cut(write, "=")
		s.put(key, value)
	}
	return base
}

// getCase is one read below the prefix: what it asks, what must come back.
type getCase struct {
	name  string
	key   string
	opts  []clientv3.OpOption
	want  string
	count int64
	more  bool
}

func checkGet(s *suite) {
	base := getData(s)
	for _, list := range [][]getCase{getRanges(), getSorts(), getFilters(base), getRevisions(base)} {
		for _, c := range list {
			getOne(s, c)
		}
	}
	getRows(s, base)
	getUnsortedTarget(s)
	getWholeStore(s)
}

func getOne(s *suite, c getCase) {
	answer, err := s.client.Get(s.ctx, k(c.key), c.opts...)
	if err != nil {
		s.fail(c.name, c.want, err)
		return
	}
	s.equal(c.name, fmt.Sprintf("%s | count %d more %v", c.want, c.count, c.more),
		fmt.Sprintf("%s | count %d more %v", keys(answer.Kvs), answer.Count, answer.More))
	// A serializable read of one member that has applied everything must not differ.
	local, err := s.client.Get(s.ctx, k(c.key), append([]clientv3.OpOption{clientv3.WithSerializable()}, c.opts...)...)
	if err != nil {
		s.fail(c.name+", serializable", c.want, err)
		return
	}
	s.holds(c.name+", serializable", proto.Equal((*pb.RangeResponse)(answer), (*pb.RangeResponse)(local)), local)
}

func options(opts ...clientv3.OpOption) []clientv3.OpOption { return opts }

func getRanges() []getCase {
	all := "g1 g2 g3 g4 g5"
	return []getCase{
		{"one key", "g1", nil, "g1", 1, false},
		{"an absent key", "g9", nil, "", 0, false},
		{"a key that is only a prefix of others", "g", nil, "", 0, false},
		{"prefix", "g", options(clientv3.WithPrefix()), all, 5, false},
		{"prefix without a match", "h", options(clientv3.WithPrefix()), "", 0, false},
		{"from key", "g3", options(clientv3.WithFromKey()), "g3 g4 g5", 3, false},
		{"from a key between keys", "g30", options(clientv3.WithFromKey()), "g4 g5", 2, false},
		{"half open range", "g2", options(clientv3.WithRange(k("g4"))), "g2 g3", 2, false},
		{"range with bounds between keys", "g15", options(clientv3.WithRange(k("g35"))), "g2 g3", 2, false},
		{"range whose end is before its start", "g4", options(clientv3.WithRange(k("g2"))), "", 0, false},
		{"range whose end is its start", "g2", options(clientv3.WithRange(k("g2"))), "", 0, false},
		{"limit below the count", "g", options(clientv3.WithPrefix(), clientv3.WithLimit(2)), "g1 g2", 5, true},
		{"limit of the count", "g", options(clientv3.WithPrefix(), clientv3.WithLimit(5)), all, 5, false},
		{"limit above the count", "g", options(clientv3.WithPrefix(), clientv3.WithLimit(6)), all, 5, false},
		{"limit zero is no limit", "g", options(clientv3.WithPrefix(), clientv3.WithLimit(0)), all, 5, false},
		{"count only", "g", options(clientv3.WithPrefix(), clientv3.WithCountOnly()), "", 5, false},
		{"count only of one key", "g1", options(clientv3.WithCountOnly()), "", 1, false},
		{"count only with a limit", "g", options(clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithLimit(2)), "", 5, false},
		{"keys only", "g", options(clientv3.WithPrefix(), clientv3.WithKeysOnly()), all, 5, false},
		{"keys only with a limit", "g", options(clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(3)), "g1 g2 g3", 5, true},
	}
}

func getSorts() []getCase {
	sorted := func(target clientv3.SortTarget, order clientv3.SortOrder, limit int64) []clientv3.OpOption {
		return options(clientv3.WithPrefix(), clientv3.WithSort(target, order), clientv3.WithLimit(limit))
	}
	orders := []struct {
		name      string
		target    clientv3.SortTarget
		ascending string
	}{
		{"key", clientv3.SortByKey, "g1 g2 g3 g4 g5"},
		{"value", clientv3.SortByValue, "g2 g4 g5 g3 g1"},
		{"create revision", clientv3.SortByCreateRevision, "g1 g2 g3 g4 g5"},
		{"mod revision", clientv3.SortByModRevision, "g4 g2 g3 g1 g5"},
		{"version", clientv3.SortByVersion, "g4 g2 g1 g5 g3"},
	}
	var cases []getCase
	for _, o := range orders {
		up := strings.Fields(o.ascending)
		down := make([]string, len(up))
		for i, key := range up {
			down[len(up)-1-i] = key
		}
		cases = append(cases,
			getCase{"by " + o.name + " ascending", "g", sorted(o.target, clientv3.SortAscend, 0), o.ascending, 5, false},
			getCase{"by " + o.name + " descending", "g", sorted(o.target, clientv3.SortDescend, 0), strings.Join(down, " "), 5, false},
			getCase{"by " + o.name + " ascending, limit", "g", sorted(o.target, clientv3.SortAscend, 2), strings.Join(up[:2], " "), 5, true},
			getCase{"by " + o.name + " descending, limit", "g", sorted(o.target, clientv3.SortDescend, 2), strings.Join(down[:2], " "), 5, true},
		)
	}
	return append(cases,
		getCase{"first key", "g", clientv3.WithFirstKey(), "g1", 5, true},
		getCase{"last key", "g", clientv3.WithLastKey(), "g5", 5, true},
		getCase{"newest change", "g", clientv3.WithLastRev(), "g5", 5, true},
		getCase{"oldest creation", "g", clientv3.WithFirstCreate(), "g1", 5, true},
	)
}

func getFilters(base int64) []getCase {
	with := func(more ...clientv3.OpOption) []clientv3.OpOption {
		return append(options(clientv3.WithPrefix()), more...)
	}
	return []getCase{
		{"min mod revision is inclusive", "g", with(clientv3.WithMinModRev(base + 11)), "g1 g3 g5", 5, false},
		{"max mod revision is inclusive", "g", with(clientv3.WithMaxModRev(base + 6)), "g2 g4", 5, false},
		{"min and max mod revision", "g", with(clientv3.WithMinModRev(base+6), clientv3.WithMaxModRev(base+11)), "g2 g3", 5, false},
		{"min create revision is inclusive", "g", with(clientv3.WithMinCreateRev(base + 4)), "g4 g5", 5, false},
		{"max create revision is inclusive", "g", with(clientv3.WithMaxCreateRev(base + 2)), "g1 g2", 5, false},
		{"min and max create revision", "g", with(clientv3.WithMinCreateRev(base+2), clientv3.WithMaxCreateRev(base+3)), "g2 g3", 5, false},
		{"filters of both kinds", "g", with(clientv3.WithMinCreateRev(base+3), clientv3.WithMaxModRev(base+11)), "g3 g4", 5, false},
		{"a filter, then the limit", "g", with(clientv3.WithMinModRev(base+11), clientv3.WithLimit(2)), "g1 g3", 5, true},
		{"a filter that leaves nothing", "g", with(clientv3.WithMaxModRev(base)), "", 5, false},
		{"a filter with an order", "g", with(clientv3.WithMinModRev(base+11), clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend)),
			"g5 g3 g1", 5, false},
		{"a filter with keys only", "g", with(clientv3.WithMinModRev(base+11), clientv3.WithKeysOnly()), "g1 g3 g5", 5, false},
		{"a filter with count only", "g", with(clientv3.WithMinModRev(base+11), clientv3.WithCountOnly()), "", 5, false},
	}
}

func getRevisions(base int64) []getCase {
	at := func(after int64, more ...clientv3.OpOption) []clientv3.OpOption {
		return append(options(clientv3.WithPrefix(), clientv3.WithRev(base+after)), more...)
	}
	return []getCase{
		{"before the first key", "g", at(0), "", 0, false},
		{"at the first key", "g", at(1), "g1", 1, false},
		{"at a revision in between", "g", at(3), "g1 g2 g3", 3, false},
		{"at the newest revision", "g", at(15), "g1 g2 g3 g4 g5", 5, false},
		{"at a revision with a limit", "g", at(3, clientv3.WithLimit(1)), "g1", 3, true},
		{"at a revision, count only", "g", at(4, clientv3.WithCountOnly()), "", 4, false},
		{"at a revision, by mod revision descending", "g",
			at(6, clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend)), "g2 g5 g4 g3 g1", 5, false},
		{"revision zero is the newest", "g1", options(clientv3.WithRev(0)), "g1", 1, false},
		{"a negative revision is the newest", "g1", options(clientv3.WithRev(-1)), "g1", 1, false},
	}
}

func getRows(s *suite, base int64) {
	for _, c := range []struct{ key, want string }{
		{"g1", "g1=e create+1 mod+12 version 3 lease 0"},
		{"g2", "g2=a create+2 mod+6 version 2 lease 0"},
		{"g3", "g3=d create+3 mod+11 version 5 lease 0"},
		{"g4", "g4=b create+4 mod+4 version 1 lease 0"},
		{"g5", "g5=c create+5 mod+15 version 4 lease 0"},
	} {
		s.equal("the whole row of "+c.key, c.want, row(s.one(c.key), base))
	}
	past := read(s, k("g3"), clientv3.WithRev(base+9))
	s.holds("a past row is found", len(past) == 1, past)
	if len(past) == 1 {
		s.equal("the whole past row", "g3=x create+3 mod+9 version 3 lease 0", row(past[0], base))
	}
	blank := read(s, k("g1"), clientv3.WithKeysOnly())
	s.holds("keys only finds the key", len(blank) == 1, blank)
	if len(blank) == 1 {
		s.equal("keys only leaves out the value alone", "g1= create+1 mod+12 version 3 lease 0", row(blank[0], base))
	}
	answer, err := s.client.Get(s.ctx, k("g1"), clientv3.WithRev(base+1))
	s.must(err)
	s.equal("the header has the newest revision, not the one asked for", base+15, answer.Header.Revision)
}

// getUnsortedTarget: without an order a target other than the key sorts, but only the first limit + 1 keys: one more
// than asked for is fetched to know whether there are more, and it is cut off after the sort, not before.
func getUnsortedTarget(s *suite) {
	request := &pb.RangeRequest{
		Key: []byte(k("g")), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(k("g"))), Limit: 3,
		SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_NONE,
	}
	answer, err := s.kv.Range(s.ctx, request)
	s.must(err)
	s.equal("a target without an order sorts the first limit + 1 keys", "g2 g4 g3", keys(answer.Kvs))
	s.equal("and counts all", "5 true", fmt.Sprint(answer.Count, answer.More))
	request.SortTarget = pb.RangeRequest_KEY
	answer, err = s.kv.Range(s.ctx, request)
	s.must(err)
	s.equal("the key target without an order", "g1 g2 g3", keys(answer.Kvs))
}

func getWholeStore(s *suite) {
	all, err := s.kv.Range(s.ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true})
	s.must(err)
	s.holds("key and range_end of one zero byte are the whole store", all.Count >= 5, all.Count)
	from, err := s.client.Get(s.ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	s.must(err)
	s.equal("so is reading from the first key", all.Count, from.Count)
	empty, err := s.client.Get(s.ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	s.must(err)
	s.equal("and the empty prefix", all.Count, empty.Count)
}
