package main

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func checkTxn(s *suite) {
	txnCompares(s)
	txnRangeCompares(s)
	txnRawCompares(s)
	txnRevisions(s)
	txnOrder(s)
	txnNested(s)
	txnNestedCompares(s)
	txnOverlap(s)
	txnAnswers(s)
}

func (s *suite) txn(compares []clientv3.Cmp, success, failure []clientv3.Op) *clientv3.TxnResponse {
	answer, err := s.client.Txn(s.ctx).If(compares...).Then(success...).Else(failure...).Commit()
	s.must(err)
	return answer
}

// txnCompares tries every kind of compare with every operator against a smaller, the same and a larger number.
func txnCompares(s *suite) {
	base := s.revision()
	s.put("c", "m")
	s.put("c", "n")
	s.put("c", "m") // create +1, mod +3, version 3, lease 0
	kinds := []struct {
		name   string
		target func(string) clientv3.Cmp
		values [3]any
	}{
		{"value", clientv3.Value, [3]any{"l", "m", "n"}},
		{"version", clientv3.Version, [3]any{2, 3, 4}},
		{"create", clientv3.CreateRevision, [3]any{base, base + 1, base + 2}},
		{"mod", clientv3.ModRevision, [3]any{base + 2, base + 3, base + 4}},
		{"lease", func(key string) clientv3.Cmp { return clientv3.LeaseValue(key) },
			[3]any{clientv3.LeaseID(-1), clientv3.LeaseID(0), clientv3.LeaseID(1)}},
	}
	holds := map[string][3]bool{"=": {false, true, false}, "!=": {true, false, true}, ">": {true, false, false}, "<": {false, false, true}}
	for _, kind := range kinds {
		for _, operator := range []string{"=", "!=", ">", "<"} {
			for i, value := range kind.values {
				answer := s.txn([]clientv3.Cmp{clientv3.Compare(kind.target(k("c")), operator, value)}, nil, nil)
				s.equal(fmt.Sprintf("%s %s %v", kind.name, operator, value), holds[operator][i], answer.Succeeded)
			}
		}
	}
	for _, absent := range []struct {
		name    string
		compare clientv3.Cmp
		want    bool
	}{
		{"version = 0", clientv3.Compare(clientv3.Version(k("none")), "=", 0), true},
		{"version > 0", clientv3.Compare(clientv3.Version(k("none")), ">", 0), false},
		{"create = 0", clientv3.Compare(clientv3.CreateRevision(k("none")), "=", 0), true},
		{"create != 0", clientv3.Compare(clientv3.CreateRevision(k("none")), "!=", 0), false},
		{"mod = 0", clientv3.Compare(clientv3.ModRevision(k("none")), "=", 0), true},
		{"mod < 1", clientv3.Compare(clientv3.ModRevision(k("none")), "<", 1), true},
		{"lease = 0", clientv3.Compare(clientv3.LeaseValue(k("none")), "=", clientv3.LeaseID(0)), true},
		{"value = empty", clientv3.Compare(clientv3.Value(k("none")), "=", ""), false},
		{"value != empty", clientv3.Compare(clientv3.Value(k("none")), "!=", ""), false},
		{"value != x", clientv3.Compare(clientv3.Value(k("none")), "!=", "x"), false},
	} {
		s.equal("an absent key: "+absent.name, absent.want, s.txn([]clientv3.Cmp{absent.compare}, nil, nil).Succeeded)
	}
	yes, no := clientv3.Compare(clientv3.Version(k("c")), "=", 3), clientv3.Compare(clientv3.Version(k("c")), "=", 4)
	s.equal("no compare at all holds", true, s.txn(nil, nil, nil).Succeeded)
	s.equal("all compares must hold", false, s.txn([]clientv3.Cmp{yes, no}, nil, nil).Succeeded)
	s.equal("all compares hold", true, s.txn([]clientv3.Cmp{yes, yes}, nil, nil).Succeeded)
}

func txnRangeCompares(s *suite) {
	for _, key := range strings.Fields("r1 r2 r3") {
		s.put(key, "same")
	}
	s.put("r3", "same")
	version := clientv3.Version(k("r"))
	value := clientv3.Value(k("r"))
	for _, c := range []struct {
		name    string
		compare clientv3.Cmp
		want    bool
	}{
		{"all of a prefix", clientv3.Compare(value.WithPrefix(), "=", "same"), true},
		{"one of a prefix does not", clientv3.Compare(version.WithPrefix(), "=", 1), false},
		{"all of a range", clientv3.Compare(version.WithRange(k("r3")), "=", 1), true},
		{"a range without keys is one absent key", clientv3.Compare(clientv3.Version(k("q")).WithRange(k("r")), "=", 0), true},
		{"a range without keys has no value", clientv3.Compare(clientv3.Value(k("q")).WithRange(k("r")), "!=", "x"), false},
		{"from key", clientv3.Compare(clientv3.Version(k("r3")).WithRange("\x00"), "=", 2), true},
	} {
		s.equal("range compare: "+c.name, c.want, s.txn([]clientv3.Cmp{c.compare}, nil, nil).Succeeded)
	}
}

// txnRawCompares: a number of another kind than the target, or none at all, counts as zero or empty.
func txnRawCompares(s *suite) {
	s.put("raw", "")
	for _, c := range []struct {
		name    string
		compare *pb.Compare
		want    bool
	}{
		{"no number is zero", &pb.Compare{Target: pb.Compare_VERSION, Result: pb.Compare_GREATER}, true},
		{"a number of another kind is zero",
			&pb.Compare{Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1}}, false},
		{"no value is empty", &pb.Compare{Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL}, true},
	} {
		c.compare.Key = []byte(k("raw"))
		answer, err := s.kv.Txn(s.ctx, &pb.TxnRequest{Compare: []*pb.Compare{c.compare}})
		s.must(err)
		s.equal("raw compare: "+c.name, c.want, answer.Succeeded)
	}
}

func txnRevisions(s *suite) {
	base := s.revision()
	answer := s.txn(nil, []clientv3.Op{clientv3.OpPut(k("t1"), "a"), clientv3.OpPut(k("t2"), "b"), clientv3.OpDelete(k("none"))}, nil)
	s.equal("all writes of a transaction share one revision", base+1, answer.Header.Revision)
	s.equal("first of them", "t1=a create+1 mod+1 version 1 lease 0", row(s.one("t1"), base))
	s.equal("second of them", "t2=b create+1 mod+1 version 1 lease 0", row(s.one("t2"), base))
	s.equal("only reads: no revision", base+1, s.txn(nil, []clientv3.Op{clientv3.OpGet(k("t1"))}, nil).Header.Revision)
	s.equal("deleting nothing: no revision", base+1, s.txn(nil, []clientv3.Op{clientv3.OpDelete(k("none"))}, nil).Header.Revision)
	s.equal("the branch not taken writes nothing", base+1,
		s.txn(nil, nil, []clientv3.Op{clientv3.OpPut(k("t1"), "z")}).Header.Revision)
	taken := s.txn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(k("t1")), "=", 9)},
		[]clientv3.Op{clientv3.OpPut(k("t1"), "then")}, []clientv3.Op{clientv3.OpPut(k("t1"), "else")})
	s.equal("else: taken", false, taken.Succeeded)
	s.equal("else: written", "t1=else create+1 mod+2 version 2 lease 0", row(s.one("t1"), base))
	s.equal("the store's revision", base+2, s.revision())
}

func txnOrder(s *suite) {
	base := s.revision()
	answer := s.txn(nil, []clientv3.Op{
		clientv3.OpGet(k("o1")),
		clientv3.OpPut(k("o1"), "new", clientv3.WithPrevKV()),
		clientv3.OpGet(k("o1")),
		clientv3.OpDelete(k("o2"), clientv3.WithPrevKV()),
		clientv3.OpPut(k("o3"), "three"),
		clientv3.OpGet(k("o"), clientv3.WithPrefix()),
		clientv3.OpGet(k("o"), clientv3.WithPrefix(), clientv3.WithRev(base)),
	}, nil)
	s.equal("one answer for each operation", 7, len(answer.Responses))
	if len(answer.Responses) != 7 {
		return
	}
	r := answer.Responses
	s.equal("a read before the write", "", pairs(r[0].GetResponseRange().Kvs))
	s.holds("a new key has no previous row", r[1].GetResponsePut().PrevKv == nil, r[1])
	s.equal("a read after the write", "o1=new", pairs(r[2].GetResponseRange().Kvs))
	s.equal("its mod revision is the transaction's", base+1, r[2].GetResponseRange().Kvs[0].ModRevision)
	s.equal("nothing to delete", int64(0), r[3].GetResponseDeleteRange().Deleted)
	s.equal("a later read sees both", "o1=new o3=three", pairs(r[5].GetResponseRange().Kvs))
	s.equal("and counts both", int64(2), r[5].GetResponseRange().Count)
	s.equal("a read at a past revision does not", "", pairs(r[6].GetResponseRange().Kvs))

	answer = s.txn(nil, []clientv3.Op{
		clientv3.OpGet(k("o1")), clientv3.OpDelete(k("o"), clientv3.WithPrefix(), clientv3.WithPrevKV()), clientv3.OpGet(k("o1")),
	}, nil)
	s.equal("delete with prev-kv in a transaction", "o1=new o3=three", pairs(answer.Responses[1].GetResponseDeleteRange().PrevKvs))
	s.equal("a read after the delete", "", pairs(answer.Responses[2].GetResponseRange().Kvs))
}

func txnNested(s *suite) {
	s.put("n1", "1")
	base := s.revision()
	inner := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(k("n1")), "=", "1")},
		[]clientv3.Op{clientv3.OpPut(k("n2"), "inner"), clientv3.OpGet(k("n1"))},
		[]clientv3.Op{clientv3.OpPut(k("n2"), "inner else")})
	outer := s.txn(nil, []clientv3.Op{clientv3.OpPut(k("n3"), "outer"), inner, clientv3.OpGet(k("n2"))}, nil)
	s.equal("nested: one revision", base+1, outer.Header.Revision)
	nested := outer.Responses[1].GetResponseTxn()
	s.holds("nested: the inner transaction has an answer", nested != nil, outer.Responses[1])
	if nested == nil {
		return
	}
	s.equal("nested: inner compare held", true, nested.Succeeded)
	s.equal("nested: inner answers", 2, len(nested.Responses))
	s.equal("nested: inner read", "n1=1", pairs(nested.Responses[1].GetResponseRange().Kvs))
	s.equal("nested: outer read after it", "n2=inner", pairs(outer.Responses[2].GetResponseRange().Kvs))
	s.equal("nested: inner put and outer put share the revision", "n2=inner create+1 mod+1 version 1 lease 0", row(s.one("n2"), base))
	deep := clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(k("n4"), "deep")}, nil)}, nil)
	s.txn(nil, []clientv3.Op{deep}, nil)
	s.equal("nested three deep", "n4=deep", pairs(read(s, k("n4"))))
}

// txnNestedCompares: the compares of nested transactions are evaluated before anything is written.
func txnNestedCompares(s *suite) {
	answer := s.txn(nil, []clientv3.Op{
		clientv3.OpPut(k("w1"), "written"),
		clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(k("w1")), "=", 0)},
			[]clientv3.Op{clientv3.OpPut(k("w2"), "saw nothing")}, []clientv3.Op{clientv3.OpPut(k("w2"), "saw the write")}),
	}, nil)
	s.equal("nested compare before the outer put", true, answer.Responses[1].GetResponseTxn().GetSucceeded())
	s.equal("nested compare decided before the outer put", "w2=saw nothing", pairs(read(s, k("w2"))))
}

func txnOverlap(s *suite) {
	s.put("v1", "1")
	s.put("v2", "2")
	answer := s.txn(nil, []clientv3.Op{
		clientv3.OpDelete(k("v1")), clientv3.OpDelete(k("v"), clientv3.WithPrefix()), clientv3.OpDelete(k("v2")),
	}, nil)
	s.equal("overlapping deletes count what each one found", "1 1 0", fmt.Sprint(
		answer.Responses[0].GetResponseDeleteRange().Deleted, answer.Responses[1].GetResponseDeleteRange().Deleted,
		answer.Responses[2].GetResponseDeleteRange().Deleted))
	// The check for overlaps does not see a delete that is open to the end of the store.
	base := s.revision()
	answer = s.txn(nil, []clientv3.Op{clientv3.OpPut(k("v4"), "4"), clientv3.OpDelete(k("v4"), clientv3.WithFromKey())}, nil)
	s.equal("a put and a delete from its key on, w1 and w2 included", "3", fmt.Sprint(answer.Responses[1].GetResponseDeleteRange().Deleted))
	s.equal("leave no key", "", pairs(read(s, k("v4"))))
	s.equal("and make one revision", base+1, s.revision())
	_, err := s.client.Txn(s.ctx).Then(clientv3.OpPut(k("v1"), "then")).Else(clientv3.OpPut(k("v1"), "else")).Commit()
	s.equal("the same key in both branches is fine", nil, err)
	_, err = s.client.Txn(s.ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(k("v3"), "then")},
		[]clientv3.Op{clientv3.OpPut(k("v3"), "else")})).Commit()
	s.equal("also in both branches of a nested one", nil, err)
}

func txnAnswers(s *suite) {
	base := s.revision()
	answer := s.txn(nil, []clientv3.Op{clientv3.OpPut(k("h"), "1"), clientv3.OpGet(k("h")), clientv3.OpDelete(k("none"))}, nil)
	for i, inner := range []*pb.ResponseHeader{
		answer.Responses[0].GetResponsePut().GetHeader(), answer.Responses[1].GetResponseRange().GetHeader(),
		answer.Responses[2].GetResponseDeleteRange().GetHeader(),
	} {
		s.equal(fmt.Sprintf("the header of answer %d has a revision and nothing else", i+1),
			fmt.Sprint(base+1, 0, 0, 0), fmt.Sprint(inner.GetRevision(), inner.GetClusterId(), inner.GetMemberId(), inner.GetRaftTerm()))
	}
	s.holds("the outer header is whole", answer.Header.ClusterId != 0 && answer.Header.MemberId != 0 && answer.Header.RaftTerm != 0, answer.Header)
	local, err := s.client.Txn(s.ctx).Then(clientv3.OpGet(k("c"), clientv3.WithSerializable())).Commit()
	s.must(err)
	s.equal("a serializable transaction of reads", "c=m", pairs(local.Responses[0].GetResponseRange().Kvs))
	var many []clientv3.Op
	for i := range 128 {
		many = append(many, clientv3.OpPut(k(fmt.Sprintf("many%03d", i)), "v"))
	}
	s.equal("128 operations are allowed", 128, len(s.txn(nil, many, nil).Responses))
}
