package main

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// checkErrors wants the exact errors; none of these requests may change the store.
func checkErrors(s *suite) {
	s.put("there", "v")
	before := s.revision()
	errorsOfClient(s)
	errorsOnTheWire(s)
	errorsOfTxn(s)
	errorsOfSize(s)
	s.equal("refused requests make no revision", before, s.revision())
	s.equal("refused requests change nothing", "there=v", pairs(read(s, prefix, clientv3.WithPrefix())))
}

func errorsOfClient(s *suite) {
	_, err := s.client.Put(s.ctx, "", "v")
	s.errorIs("put of the empty key", rpctypes.ErrEmptyKey, err)
	_, err = s.client.Get(s.ctx, "")
	s.errorIs("get of the empty key", rpctypes.ErrEmptyKey, err)
	_, err = s.client.Delete(s.ctx, "")
	s.errorIs("delete of the empty key", rpctypes.ErrEmptyKey, err)
	_, err = s.client.Get(s.ctx, k("there"), clientv3.WithRev(s.revision()+1))
	s.errorIs("get of a future revision", rpctypes.ErrFutureRev, err)
	_, err = s.client.Get(s.ctx, k("there"), clientv3.WithRev(1<<62), clientv3.WithSerializable())
	s.errorIs("serializable get of a far future revision", rpctypes.ErrFutureRev, err)
	_, err = s.client.Compact(s.ctx, s.revision()+1)
	s.errorIs("compaction of a future revision", rpctypes.ErrFutureRev, err)
	_, err = s.client.Put(s.ctx, k("absent"), "", clientv3.WithIgnoreValue())
	s.errorIs("ignore-value of an absent key", rpctypes.ErrKeyNotFound, err)
	_, err = s.client.Put(s.ctx, k("there"), "v", clientv3.WithIgnoreValue())
	s.errorIs("ignore-value with a value", rpctypes.ErrValueProvided, err)
	_, err = s.client.Put(s.ctx, k("there"), "v", clientv3.WithIgnoreLease(), clientv3.WithLease(7))
	s.errorIs("ignore-lease with a lease", rpctypes.ErrLeaseProvided, err)
	_, err = s.client.Put(s.ctx, k("there"), "v", clientv3.WithLease(0x7eeeeeee))
	s.errorIs("put with an unknown lease", rpctypes.ErrLeaseNotFound, err)
}

func errorsOnTheWire(s *suite) {
	key := []byte(k("there"))
	_, err := s.kv.Put(s.ctx, &pb.PutRequest{})
	s.statusIs("wire: put of the empty key", rpctypes.ErrGRPCEmptyKey, err)
	_, err = s.kv.Range(s.ctx, &pb.RangeRequest{RangeEnd: key})
	s.statusIs("wire: range from the empty key", rpctypes.ErrGRPCEmptyKey, err)
	_, err = s.kv.DeleteRange(s.ctx, &pb.DeleteRangeRequest{RangeEnd: []byte{0}})
	s.statusIs("wire: delete from the empty key", rpctypes.ErrGRPCEmptyKey, err)
	_, err = s.kv.Put(s.ctx, &pb.PutRequest{Key: key, Value: []byte("v"), IgnoreValue: true})
	s.statusIs("wire: ignore_value with a value", rpctypes.ErrGRPCValueProvided, err)
	_, err = s.kv.Put(s.ctx, &pb.PutRequest{Key: key, Lease: 7, IgnoreLease: true})
	s.statusIs("wire: ignore_lease with a lease", rpctypes.ErrGRPCLeaseProvided, err)
	_, err = s.kv.Put(s.ctx, &pb.PutRequest{Key: key, Lease: 0x7eeeeeee})
	s.statusIs("wire: unknown lease", rpctypes.ErrGRPCLeaseNotFound, err)
	_, err = s.kv.Put(s.ctx, &pb.PutRequest{Key: []byte(k("absent")), IgnoreLease: true})
	s.statusIs("wire: ignore_lease of an absent key", rpctypes.ErrGRPCKeyNotFound, err)
	_, err = s.kv.Range(s.ctx, &pb.RangeRequest{Key: key, SortOrder: 9})
	s.statusIs("wire: unknown sort order", rpctypes.ErrGRPCInvalidSortOption, err)
	_, err = s.kv.Range(s.ctx, &pb.RangeRequest{Key: key, SortTarget: 9})
	s.statusIs("wire: unknown sort target", rpctypes.ErrGRPCInvalidSortOption, err)
	_, err = s.kv.Range(s.ctx, &pb.RangeRequest{Key: key, Revision: 1 << 62})
	s.statusIs("wire: future revision", rpctypes.ErrGRPCFutureRev, err)
	err = s.client.ActiveConnection().Invoke(s.ctx, "/etcdserverpb.KV/NoSuchMethod", &pb.PutRequest{}, &pb.PutResponse{})
	s.codeIs("wire: unknown method", codes.Unimplemented, err)
	err = s.client.ActiveConnection().Invoke(s.ctx, "/nobody.Service/Method", &pb.PutRequest{}, &pb.PutResponse{})
	s.codeIs("wire: unknown service", codes.Unimplemented, err)
}

func (s *suite) txnError(name string, expected error, compares []clientv3.Cmp, success, failure []clientv3.Op) {
	_, err := s.client.Txn(s.ctx).If(compares...).Then(success...).Else(failure...).Commit()
	s.errorIs("txn: "+name, expected, err)
}

func errorsOfTxn(s *suite) {
	a, ab := clientv3.OpPut(k("a"), "1"), clientv3.OpPut(k("ab"), "2")
	ops := func(list ...clientv3.Op) []clientv3.Op { return list }
	nest := func(list ...clientv3.Op) clientv3.Op { return clientv3.OpTxn(nil, list, nil) }
	s.txnError("same key put twice", rpctypes.ErrDuplicateKey, nil, ops(a, a), nil)
	s.txnError("same key put twice in the else branch", rpctypes.ErrDuplicateKey, nil, nil, ops(a, a))
	s.txnError("put and delete of a key", rpctypes.ErrDuplicateKey, nil, ops(a, clientv3.OpDelete(k("a"))), nil)
	s.txnError("put inside a deleted range", rpctypes.ErrDuplicateKey, nil, ops(ab, clientv3.OpDelete(k("a"), clientv3.WithPrefix())), nil)
	s.txnError("put again in a nested transaction", rpctypes.ErrDuplicateKey, nil, ops(a, nest(a)), nil)
	s.txnError("put twice in two nested transactions", rpctypes.ErrDuplicateKey, nil, ops(nest(a), nest(a)), nil)
	s.txnError("nested put inside an outer deleted range", rpctypes.ErrDuplicateKey, nil,
		ops(clientv3.OpDelete(k("a"), clientv3.WithPrefix()), nest(ab)), nil)
	s.txnError("outer put inside a nested deleted range", rpctypes.ErrDuplicateKey, nil,
		ops(nest(clientv3.OpDelete(k("a"), clientv3.WithPrefix())), ab), nil)
	s.txnError("empty key in a put", rpctypes.ErrEmptyKey, nil, ops(clientv3.OpPut("", "v")), nil)
	s.txnError("empty key in the branch not taken", rpctypes.ErrEmptyKey, nil, nil, ops(clientv3.OpGet("")))
	s.txnError("empty key in a nested transaction", rpctypes.ErrEmptyKey, nil, ops(nest(clientv3.OpDelete(""))), nil)
	s.txnError("empty key in a compare", rpctypes.ErrEmptyKey, []clientv3.Cmp{clientv3.Compare(clientv3.Version(""), "=", 0)}, nil, nil)
	s.txnError("future revision", rpctypes.ErrFutureRev, nil, ops(clientv3.OpGet(k("there"), clientv3.WithRev(1<<62))), nil)
	s.txnError("future revision beside a put", rpctypes.ErrFutureRev, nil, ops(a, clientv3.OpGet(k("there"), clientv3.WithRev(1<<62))), nil)
	s.txnError("unknown lease", rpctypes.ErrLeaseNotFound, nil, ops(clientv3.OpPut(k("a"), "1", clientv3.WithLease(0x7eeeeeee))), nil)
	s.txnError("ignore-value of an absent key", rpctypes.ErrKeyNotFound, nil, ops(clientv3.OpPut(k("a"), "", clientv3.WithIgnoreValue())), nil)
	s.txnError("good put, then a bad one", rpctypes.ErrLeaseNotFound, nil,
		ops(a, clientv3.OpPut(k("b"), "1", clientv3.WithLease(0x7eeeeeee))), nil)
	_, err := s.kv.Txn(s.ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{}}})
	s.statusIs("txn: an operation without content", rpctypes.ErrGRPCKeyNotFound, err)

	many := func(count int) (list []clientv3.Op) {
		for i := range count {
			list = append(list, clientv3.OpGet(k(fmt.Sprintf("many%03d", i))))
		}
		return list
	}
	compares := make([]clientv3.Cmp, 129)
	for i := range compares {
		compares[i] = clientv3.Compare(clientv3.Version(k("there")), "=", 1)
	}
	s.txnError("129 operations", rpctypes.ErrTooManyOps, nil, many(129), nil)
	s.txnError("129 operations in the else branch", rpctypes.ErrTooManyOps, nil, nil, many(129))
	s.txnError("129 compares", rpctypes.ErrTooManyOps, compares, nil, nil)
	s.txnError("a nested transaction gets what its parent left", rpctypes.ErrTooManyOps, nil, append(many(64), nest(many(64)...)), nil)
}

func errorsOfSize(s *suite) {
	// The limit of 1.5 MiB is on the encoded request, the transport's limit is 512 KiB above it.
	_, err := s.client.Put(s.ctx, k("big"), strings.Repeat("v", 1<<20+1<<19))
	s.errorIs("a request above the limit", rpctypes.ErrRequestTooLarge, err)
	_, err = s.kv.Put(s.ctx, &pb.PutRequest{Key: []byte(k("big")), Value: make([]byte, 1<<20+1<<19)})
	s.statusIs("wire: a request above the limit", rpctypes.ErrGRPCRequestTooLarge, err)
	_, err = s.kv.Put(s.ctx, &pb.PutRequest{Key: []byte(k("big")), Value: make([]byte, 3<<20)})
	s.codeIs("wire: a message above the transport's limit", codes.ResourceExhausted, err)
}
