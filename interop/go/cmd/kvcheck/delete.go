package main

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func checkDelete(s *suite) {
	for _, c := range []struct {
		name string
		key  string
		opts []clientv3.OpOption
		left string
	}{
		{"one key", "b", nil, "a c d da e"},
		{"a key that is a prefix of another", "d", nil, "a b c da e"},
		{"half open range", "b", options(clientv3.WithRange(k("d"))), "a d da e"},
		{"range with bounds between keys", "aa", options(clientv3.WithRange(k("dab"))), "a e"},
		{"prefix", "d", options(clientv3.WithPrefix()), "a b c e"},
		{"from key", "c", options(clientv3.WithFromKey()), "a b"},
		{"the empty range", "e", options(clientv3.WithRange(k("a"))), "a b c d da e"},
		{"an absent key", "x", nil, "a b c d da e"},
		{"everything below the prefix", "", options(clientv3.WithPrefix()), ""},
	} {
		deleteOne(s, c.name, c.key, c.opts, c.left)
	}
	deleteThenRead(s)
}

// deleteOne fills the prefix, deletes and compares what is left, what was counted and what prev-kv returned.
func deleteOne(s *suite, name, key string, opts []clientv3.OpOption, left string) {
	const all = "a b c d da e"
	for _, filled := range strings.Fields(all) {
		s.put(filled, "value of "+filled)
	}
	before := s.revision()
	var gone []string
	for _, candidate := range strings.Fields(all) {
		if !strings.Contains(" "+left+" ", " "+candidate+" ") {
			gone = append(gone, candidate+"=value of "+candidate)
		}
	}
	answer, err := s.client.Delete(s.ctx, k(key), append([]clientv3.OpOption{clientv3.WithPrevKV()}, opts...)...)
	if err != nil {
		s.fail(name, left, err)
		return
	}
	s.equal(name+": what is left", left, keys(read(s, k(""), clientv3.WithPrefix())))
	s.equal(name+": how many were deleted", int64(len(gone)), answer.Deleted)
	s.equal(name+": previous rows", strings.Join(gone, " "), pairs(answer.PrevKvs))
	expected := before
	if len(gone) > 0 {
		expected++
	}
	s.equal(name+": one revision, or none when nothing was deleted", expected, answer.Header.Revision)
	s.equal(name+": the store's revision", expected, s.revision())
	again, err := s.client.Delete(s.ctx, k(key), opts...)
	s.must(err)
	s.equal(name+": a second time deletes nothing", fmt.Sprint(0, expected), fmt.Sprint(again.Deleted, again.Header.Revision))
}

func deleteThenRead(s *suite) {
	base := s.revision()
	s.put("x", "1")
	s.put("x", "2")
	answer, err := s.client.Delete(s.ctx, k("x"))
	s.must(err)
	s.holds("prev-kv is absent when not asked for", len(answer.PrevKvs) == 0, answer.PrevKvs)
	s.equal("a deleted key is gone", "none", row(s.one("x"), base))
	for after, want := range []string{"", "x=1", "x=2", ""} {
		s.equal(fmt.Sprintf("the past stays readable, revision +%d", after), want,
			pairs(read(s, k("x"), clientv3.WithRev(base+int64(after)))))
	}
	deleted, err := s.client.Delete(s.ctx, k("x"), clientv3.WithPrevKV())
	s.must(err)
	s.holds("an absent key has no previous row", deleted.Deleted == 0 && len(deleted.PrevKvs) == 0, deleted)
}
