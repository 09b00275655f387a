package main

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func checkCompact(s *suite) {
	base := s.revision()
	s.put("k1", "one")
	s.put("k2", "two")
	s.put("k1", "one again")
	_, err := s.client.Delete(s.ctx, k("k2"))
	s.must(err)
	s.put("k3", "three")

	answer, err := s.client.Compact(s.ctx, base+3, clientv3.WithCompactPhysical())
	s.must(err)
	s.equal("compaction makes no revision", base+5, answer.Header.Revision)
	for after, want := range map[int64]string{3: "k1=one again k2=two", 4: "k1=one again", 5: "k1=one again k3=three"} {
		s.equal(fmt.Sprintf("revision +%d is still readable", after), want,
			pairs(read(s, k("k"), clientv3.WithPrefix(), clientv3.WithRev(base+after))))
	}
	s.equal("a survivor is unchanged", "k1=one again create+1 mod+3 version 2 lease 0", row(s.one("k1"), base))
	for _, after := range []int64{2, 1, 0} {
		_, err = s.client.Get(s.ctx, k("k1"), clientv3.WithRev(base+after))
		s.errorIs(fmt.Sprintf("revision +%d is compacted", after), rpctypes.ErrCompacted, err)
	}
	_, err = s.client.Get(s.ctx, k("k"), clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithSerializable())
	s.errorIs("so it is for a serializable read", rpctypes.ErrCompacted, err)
	_, err = s.client.Get(s.ctx, k("k"), clientv3.WithPrefix(), clientv3.WithRev(base+2), clientv3.WithCountOnly())
	s.errorIs("and for counting", rpctypes.ErrCompacted, err)
	_, err = s.client.Txn(s.ctx).Then(clientv3.OpGet(k("k1"), clientv3.WithRev(base+2))).Commit()
	s.errorIs("and in a transaction", rpctypes.ErrCompacted, err)
	_, err = s.client.Txn(s.ctx).Then(clientv3.OpPut(k("k4"), "v"), clientv3.OpGet(k("k1"), clientv3.WithRev(base+2))).Commit()
	s.errorIs("and beside a put", rpctypes.ErrCompacted, err)
	s.equal("which is then not done", base+5, s.revision())
	compactAgain(s, base)
}

func compactAgain(s *suite, base int64) {
	for _, after := range []int64{3, 2} {
		_, err := s.client.Compact(s.ctx, base+after)
		s.errorIs(fmt.Sprintf("compacting revision +%d again", after), rpctypes.ErrCompacted, err)
	}
	_, err := s.client.Compact(s.ctx, 0)
	s.errorIs("compacting revision zero", rpctypes.ErrCompacted, err)
	_, err = s.client.Compact(s.ctx, -1)
	s.errorIs("compacting a negative revision", rpctypes.ErrCompacted, err)
	_, err = s.client.Compact(s.ctx, base+6)
	s.errorIs("compacting a future revision", rpctypes.ErrFutureRev, err)
	_, err = s.client.Compact(s.ctx, base+5, clientv3.WithCompactPhysical())
	s.must(err)
	s.equal("the newest revision may be compacted", "k1=one again k3=three",
		pairs(read(s, k("k"), clientv3.WithPrefix(), clientv3.WithRev(base+5))))
	s.put("k1", "after")
	s.equal("life goes on", "k1=after create+1 mod+6 version 3 lease 0", row(s.one("k1"), base))
}
