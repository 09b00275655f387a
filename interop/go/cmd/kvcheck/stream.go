package main

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// checkStream compares the streamed range of etcd 3.7 with the ordinary one.
func checkStream(s *suite) {
	// More keys than the first chunk holds, and more bytes than one chunk may have.
	for i := range 40 {
		s.put(fmt.Sprintf("s%02d", i), strings.Repeat("v", 64<<10))
	}
	pinned := s.revision()
	s.put("s00", "new")
	for _, c := range []struct {
		name string
		opts []clientv3.OpOption
	}{
		{"prefix", options(clientv3.WithPrefix())},
		{"limit inside the first chunk", options(clientv3.WithPrefix(), clientv3.WithLimit(3))},
		{"limit behind the first chunk", options(clientv3.WithPrefix(), clientv3.WithLimit(37))},
		{"keys only", options(clientv3.WithPrefix(), clientv3.WithKeysOnly())},
		{"count only", options(clientv3.WithPrefix(), clientv3.WithCountOnly())},
		{"past revision", options(clientv3.WithPrefix(), clientv3.WithRev(pinned))},
		{"serializable", options(clientv3.WithPrefix(), clientv3.WithSerializable())},
		{"range", options(clientv3.WithRange(k("s2")))},
	} {
		whole, err := s.client.Get(s.ctx, k("s"), c.opts...)
		s.must(err)
		streamed, err := s.streamed(k("s"), c.opts...)
		if err != nil {
			s.fail(c.name, "an answer", err)
			continue
		}
		s.equal(c.name+": keys and values", pairs(whole.Kvs), pairs(streamed.Kvs))
		s.equal(c.name+": count and more", fmt.Sprint(whole.Count, whole.More), fmt.Sprint(streamed.Count, streamed.More))
		s.equal(c.name+": header", whole.Header.String(), streamed.Header.String())
	}
	streamErrors(s)
}

func streamErrors(s *suite) {
	_, err := s.streamed("")
	s.errorIs("an empty key", rpctypes.ErrEmptyKey, err)
	_, err = s.streamed(k("s"), clientv3.WithRev(s.revision()+100))
	s.errorIs("a future revision", rpctypes.ErrFutureRev, err)
	_, err = s.streamed(k("s"), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	s.statusIs("an order", status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders"), err)
	_, err = s.streamed(k("s"), clientv3.WithPrefix(), clientv3.WithMinModRev(2))
	s.statusIs("a filter", status.Error(codes.Unimplemented, "RangeStream does not support revision filters"), err)
}

func (s *suite) streamed(key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	parts, err := s.client.GetStream(s.ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	return clientv3.GetStreamToGetResponse(parts)
}
