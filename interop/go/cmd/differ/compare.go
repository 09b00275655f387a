package main

import (
	"bytes"
	"cmp"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// insertionSorted is up to how many rows Go's sort keeps equal ones in order: those answers are compared to the letter.
const insertionSorted = 12

// same compares two answers, after taking out what may differ: ids, and the order of equal rows.
func same(op operation, answers *[2]answer) bool {
	a, b := &answers[0], &answers[1]
	if a.code != b.code || a.text != b.text {
		return false
	}
	if a.code != codes.OK {
		return true
	}
	left, right := normal(op.request, a.message), normal(op.request, b.message)
	return proto.Equal(left, right)
}

func normal(request, response proto.Message) proto.Message {
	response = proto.Clone(response)
	blankIDs(response.ProtoReflect())
	settleTies(request, response)
	return response
}

var idFields = map[protoreflect.FullName]bool{
	"etcdserverpb.ResponseHeader.cluster_id": true,
	"etcdserverpb.ResponseHeader.member_id":  true,
	"etcdserverpb.ResponseHeader.raft_term":  true,
}

// blankIDs keeps only whether an id is there.
func blankIDs(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case idFields[field.FullName()]:
			message.Set(field, protoreflect.ValueOfUint64(1))
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				blankIDs(value.List().Get(i).Message())
			}
		case field.Message() != nil:
			blankIDs(value.Message())
		}
		return true
	})
}

func settleTies(request, response proto.Message) {
	switch response := response.(type) {
	case *pb.RangeResponse:
		if request, ok := request.(*pb.RangeRequest); ok {
			settleRange(request, response)
		}
	case *pb.TxnResponse:
		if request, ok := request.(*pb.TxnRequest); ok {
			settleTxn(request, response)
		}
	}
}

func settleTxn(request *pb.TxnRequest, response *pb.TxnResponse) {
	ops := request.Failure
	if response.Succeeded {
		ops = request.Success
	}
	for i, op := range ops {
		if i >= len(response.Responses) {
			return
		}
		if inner := op.GetRequestRange(); inner != nil {
			if got := response.Responses[i].GetResponseRange(); got != nil {
				settleRange(inner, got)
			}
		} else if inner := op.GetRequestTxn(); inner != nil {
			if got := response.Responses[i].GetResponseTxn(); got != nil {
				settleTxn(inner, got)
			}
		}
	}
}

// settleRange puts rows that compare equal into key order. Rows that tie with the last one of a cut answer may be any.
func settleRange(request *pb.RangeRequest, response *pb.RangeResponse) {
	if request.SortTarget == pb.RangeRequest_KEY || response.Count <= insertionSorted {
		return
	}
	rank := func(a, b *mvccpb.KeyValue) int {
		switch request.SortTarget {
		case pb.RangeRequest_VERSION:
			return cmp.Compare(a.Version, b.Version)
		case pb.RangeRequest_CREATE:
			return cmp.Compare(a.CreateRevision, b.CreateRevision)
		case pb.RangeRequest_MOD:
			return cmp.Compare(a.ModRevision, b.ModRevision)
		default:
			// Of blanked values nothing is known: then all rows tie.
			return bytes.Compare(a.Value, b.Value)
		}
	}
	rows := response.Kvs
	for start := 0; start < len(rows); {
		end := start + 1
		for end < len(rows) && rank(rows[start], rows[end]) == 0 {
			end++
		}
		tied := rows[start:end]
		if response.More && end == len(rows) {
			for i := range tied {
				tied[i] = &mvccpb.KeyValue{}
			}
		}
		slices.SortFunc(tied, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
		start = end
	}
}
