package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// suite counts checks. A failed check is printed and the run goes on; a failed request that later checks need
// ends its group, never the whole run.
type suite struct {
	ctx      context.Context
	client   *clientv3.Client
	kv       pb.KVClient    // the same connection without the client's own rules, for requests it would not send
	leases   pb.LeaseClient // likewise
	endpoint string
	verbose  bool
	group    string
	passed   int
	failed   int
}

// stopGroup is thrown by must.
type stopGroup struct{ error }

func (s *suite) runGroup(g group) {
	s.group = g.name
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case stopGroup:
			s.fail("the rest of the group was not run", nil, thrown.error)
		default:
			panic(thrown)
		}
	}()
	_, err := s.client.Delete(s.ctx, prefix, clientv3.WithPrefix())
	s.must(err)
	g.run(s)
}

func (s *suite) must(err error) {
	if err != nil {
		panic(stopGroup{err})
	}
}

func (s *suite) fail(name string, expected, got any) {
	s.failed++
	fmt.Printf("FAIL %s: %s\n  expected: %v\n       got: %v\n", s.group, name, expected, got)
}

func (s *suite) pass(name string) {
	s.passed++
	if s.verbose {
		fmt.Printf("ok   %s: %s\n", s.group, name)
	}
}

func (s *suite) equal(name string, expected, got any) {
	if reflect.DeepEqual(expected, got) {
		s.pass(name)
	} else {
		s.fail(name, expected, got)
	}
}

func (s *suite) holds(name string, condition bool, details ...any) {
	if condition {
		s.pass(name)
	} else {
		s.fail(name, "true", fmt.Sprint(details...))
	}
}

// errorIs wants exactly the typed error the client library makes of a server's code and text.
func (s *suite) errorIs(name string, expected, got error) {
	var want, have rpctypes.EtcdError
	if errors.As(expected, &want) && errors.As(got, &have) && want == have {
		s.pass(name)
		return
	}
	s.fail(name, describe(expected), describe(got))
}

// statusIs wants exactly these bytes on the wire: the gRPC code and the message.
func (s *suite) statusIs(name string, expected error, got error) {
	want, have := status.Convert(expected), status.Convert(got)
	if got != nil && want.Code() == have.Code() && want.Message() == have.Message() {
		s.pass(name)
		return
	}
	s.fail(name, describe(expected), describe(got))
}

func (s *suite) codeIs(name string, expected codes.Code, got error) {
	if status.Code(got) == expected {
		s.pass(name)
		return
	}
	s.fail(name, expected, describe(got))
}

func describe(err error) string {
	if err == nil {
		return "no error"
	}
	var typed rpctypes.EtcdError
	if errors.As(err, &typed) {
		return fmt.Sprintf("%v (%v)", err, typed.Code())
	}
	return fmt.Sprintf("%v (%v)", err, status.Code(err))
}

// k makes a key of this run.
func k(name string) string { return prefix + name }

// put writes and returns the new revision.
func (s *suite) put(name, value string, opts ...clientv3.OpOption) int64 {
	answer, err := s.client.Put(s.ctx, k(name), value, opts...)
	s.must(err)
	return answer.Header.Revision
}

// one reads a single key; nil when it is not there.
func (s *suite) one(name string) *mvccpb.KeyValue {
	answer, err := s.client.Get(s.ctx, k(name))
	s.must(err)
	if len(answer.Kvs) == 0 {
		return nil
	}
	return answer.Kvs[0]
}

// revision is the store's newest revision.
func (s *suite) revision() int64 {
	answer, err := s.client.Get(s.ctx, k("no such key"))
	s.must(err)
	return answer.Header.Revision
}

// keys lists what came back, prefix removed, in the order it came.
func keys(kvs []*mvccpb.KeyValue) string {
	found := make([]string, len(kvs))
	for i, kv := range kvs {
		found[i] = strings.TrimPrefix(string(kv.Key), prefix)
	}
	return strings.Join(found, " ")
}

// pairs is keys with values.
func pairs(kvs []*mvccpb.KeyValue) string {
	found := make([]string, len(kvs))
	for i, kv := range kvs {
		found[i] = strings.TrimPrefix(string(kv.Key), prefix) + "=" + string(kv.Value)
	}
	return strings.Join(found, " ")
}

// row is everything the store keeps about a key, as text, revisions counted from base.
func row(kv *mvccpb.KeyValue, base int64) string {
	if kv == nil {
		return "none"
	}
	return fmt.Sprintf("%s=%s create+%d mod+%d version %d lease %x", strings.TrimPrefix(string(kv.Key), prefix), kv.Value,
		kv.CreateRevision-base, kv.ModRevision-base, kv.Version, kv.Lease)
}
