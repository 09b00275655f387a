package main

import (
	"bytes"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func checkPut(s *suite) {
	putRevisions(s)
	putPrevious(s)
	putBytes(s)
	putIgnoreValue(s)
	putHeaders(s)
}

func putRevisions(s *suite) {
	base := s.revision()
	s.equal("the first put is the next revision", base+1, s.put("a", "1"))
	s.equal("a new key", "a=1 create+1 mod+1 version 1 lease 0", row(s.one("a"), base))
	s.equal("the second put is the next revision", base+2, s.put("a", "2"))
	s.equal("an overwritten key", "a=2 create+1 mod+2 version 2 lease 0", row(s.one("a"), base))
	s.equal("putting the same value makes a revision", base+3, s.put("a", "2"))
	s.equal("a key put again with its own value", "a=2 create+1 mod+3 version 3 lease 0", row(s.one("a"), base))
	s.put("b", "x")
	s.equal("another key counts its own versions", "b=x create+4 mod+4 version 1 lease 0", row(s.one("b"), base))
	_, err := s.client.Delete(s.ctx, k("a"))
	s.must(err)
	s.put("a", "3")
	s.equal("a key made anew starts at version 1", "a=3 create+6 mod+6 version 1 lease 0", row(s.one("a"), base))
}

func putPrevious(s *suite) {
	base := s.revision()
	answer, err := s.client.Put(s.ctx, k("prev"), "one", clientv3.WithPrevKV())
	s.must(err)
	s.holds("prev-kv of a new key is absent", answer.PrevKv == nil, answer.PrevKv)
	answer, err = s.client.Put(s.ctx, k("prev"), "two", clientv3.WithPrevKV())
	s.must(err)
	s.equal("prev-kv is the whole former row", "prev=one create+1 mod+1 version 1 lease 0", row(answer.PrevKv, base))
	answer, err = s.client.Put(s.ctx, k("prev"), "three")
	s.must(err)
	s.holds("prev-kv is absent when not asked for", answer.PrevKv == nil, answer.PrevKv)
}

func putBytes(s *suite) {
	s.put("empty", "")
	s.equal("an empty value", "empty=", pairs(read(s, k("empty"))))
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	s.put("bytes\x00\xff"+string(everyByte), string(everyByte))
	got := read(s, k("bytes\x00\xff"+string(everyByte)))
	s.holds("a key and value of every byte", len(got) == 1 && bytes.Equal(got[0].Value, everyByte), got)
	for _, size := range []int{16 << 10, 64 << 10, 1 << 20} {
		value := strings.Repeat("v", size)
		s.put("large", value)
		got = read(s, k("large"))
		s.holds("a large value", len(got) == 1 && string(got[0].Value) == value, size)
	}
	long := "long/" + strings.Repeat("k", 32<<10)
	s.put(long, "of a long key")
	s.equal("a key of 32 KiB", long+"=of a long key", pairs(read(s, k(long))))
	s.put("large", "small again")
}

func putIgnoreValue(s *suite) {
	base := s.revision()
	s.put("keep", "kept")
	_, err := s.client.Put(s.ctx, k("keep"), "", clientv3.WithIgnoreValue())
	s.must(err)
	s.equal("ignore-value keeps the value", "keep=kept create+1 mod+2 version 2 lease 0", row(s.one("keep"), base))
	_, err = s.client.Put(s.ctx, k("keep"), "new", clientv3.WithIgnoreLease())
	s.must(err)
	s.equal("ignore-lease without a lease", "keep=new create+1 mod+3 version 3 lease 0", row(s.one("keep"), base))
	_, err = s.client.Put(s.ctx, k("absent"), "", clientv3.WithIgnoreValue())
	s.errorIs("ignore-value of an absent key", rpctypes.ErrKeyNotFound, err)
	_, err = s.client.Put(s.ctx, k("absent"), "v", clientv3.WithIgnoreLease())
	s.errorIs("ignore-lease of an absent key", rpctypes.ErrKeyNotFound, err)
	s.equal("a refused put makes no revision", base+3, s.revision())
}

func putHeaders(s *suite) {
	answer, err := s.kv.Put(s.ctx, &pb.PutRequest{Key: []byte(k("header")), Value: []byte("v")})
	s.must(err)
	header := answer.Header
	s.holds("the header names the cluster", header.ClusterId != 0, header)
	s.holds("the header names the member", header.MemberId != 0, header)
	s.holds("the header has a term of at least 2", header.RaftTerm >= 2, header)
	ranged, err := s.kv.Range(s.ctx, &pb.RangeRequest{Key: []byte(k("header"))})
	s.must(err)
	s.equal("a read after it has the same header", header.String(), ranged.Header.String())
}
