package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// generator makes the requests of one session from a seed. It knows nothing of the answers but the newest revision, so
// that most revisions it asks for are near what exists.
type generator struct {
	random   *rand.Rand
	revision int64
	keys     []string
	skip     map[string]bool // methods
}

func newGenerator(seed, session uint64, skip map[string]bool) *generator {
	g := &generator{random: rand.New(rand.NewPCG(seed, session)), keys: keys, skip: skip}
	if session%4 == 3 {
		// Enough to fill more than one node of an index, and for orders with many ties.
		g.keys = nil
		for i := range 200 {
			g.keys = append(g.keys, fmt.Sprintf("b/%03d", i))
		}
	}
	return g
}

func (g *generator) one(in int) bool { return g.random.IntN(in) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.random.IntN(len(from))] }

// keys are few, so that requests meet: neighbours, prefixes of each other, the ends of the key space.
var keys = []string{
	"a", "a\x00", "a\x00\x00", "aa", "ab", "b", "b/1", "b/2", "b/3", "b0", "c", "c\xff", "d", "\x00", "\x00\x00", "\x01",
	"\xff", "\xff\xff", "e", "f", "g", "h", "i", "j",
}

// batch is either one request that changes something or up to `most` that do not.
func (g *generator) batch(most int) []operation {
	if g.one(2) {
		return []operation{g.write()}
	}
	count := 1 + g.random.IntN(most)
	batch := make([]operation, count)
	for i := range batch {
		batch[i] = g.read()
	}
	return batch
}

func (g *generator) write() operation {
	var op operation
	switch n := g.random.IntN(100); {
	case n < 45:
		op = operation{method: "Put", request: g.put()}
	case n < 60:
		op = operation{method: "DeleteRange", request: g.deleteRange()}
	case n < 96:
		op = operation{method: "Txn", request: g.txn(3)}
	default:
		op = operation{method: "Compact", request: g.compaction()}
	}
	return g.disturb(op)
}

func (g *generator) read() operation {
	var op operation
	switch n := g.random.IntN(100); {
	case n < 82:
		op = operation{method: "Range", request: g.rangeRequest()}
	case n < 94 && !g.skip["RangeStream"]:
		op = operation{method: "RangeStream", request: g.rangeRequest()}
	case n < 98 && !g.skip["HashKV"]:
		op = operation{method: "HashKV", request: &pb.HashKVRequest{Revision: g.pastRevision()}}
	default:
		op = operation{method: pick(g, "NoSuchMethod", "NoSuchService"), request: g.rangeRequest()}
	}
	return g.disturb(op)
}

func (g *generator) key() []byte {
	switch {
	case g.one(150):
		return nil
	case g.one(100):
		return bytes.Repeat([]byte("long"), 100)
	}
	return []byte(pick(g, g.keys...))
}

func (g *generator) rangeEnd(key []byte) []byte {
	switch g.random.IntN(8) {
	case 0, 1, 2:
		return nil
	case 3:
		return []byte{0}
	case 4:
		return prefixEnd(key)
	case 5:
		return key
	case 6:
		return append(bytes.Clone(key), 0)
	}
	return g.key()
}

func prefixEnd(key []byte) []byte {
	end := bytes.Clone(key)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

func (g *generator) value() []byte {
	switch g.random.IntN(12) {
	case 0:
		return nil
	case 1:
		return bytes.Repeat([]byte{byte(g.random.IntN(256))}, g.random.IntN(3000))
	}
	return []byte(pick(g, "u", "v", "w", "value", "\x00"))
}

// pastRevision is mostly 0 (the newest), else near the newest, else odd.
func (g *generator) pastRevision() int64 {
	switch n := g.random.IntN(30); {
	case n < 15:
		return 0
	case n < 25:
		return max(0, g.revision-g.random.Int64N(8))
	case n < 27:
		return max(0, g.revision-g.random.Int64N(200))
	case n == 27:
		return pick(g, g.revision+1, g.revision+2, g.revision+100)
	}
	return pick[int64](g, -1, -1, -2, 1, 2, math.MinInt64, math.MaxInt64)
}

// knownRevision is one that a key may well have.
func (g *generator) knownRevision() int64 {
	if g.one(10) {
		return pick[int64](g, -1, 0, 1, math.MaxInt64, math.MinInt64)
	}
	return max(0, g.revision-g.random.Int64N(40))
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	key := g.key()
	request := &pb.RangeRequest{
		Key: key, RangeEnd: g.rangeEnd(key), Revision: g.pastRevision(), Serializable: g.one(3),
		KeysOnly: g.one(5), CountOnly: g.one(8),
	}
	if g.one(3) {
		request.Key, request.RangeEnd = []byte{0}, []byte{0}
	}
	if g.one(3) {
		request.Limit = pick[int64](g, 1, 2, 3, 5, 12, 13, 100, -1, math.MaxInt64, math.MinInt64)
	}
	if g.one(3) {
		request.SortOrder = pb.RangeRequest_SortOrder(g.random.IntN(3))
		request.SortTarget = pb.RangeRequest_SortTarget(g.random.IntN(5))
	}
	if g.one(40) {
		request.SortOrder = pick[pb.RangeRequest_SortOrder](g, 3, -1, 99, math.MaxInt32)
	}
	if g.one(40) {
		request.SortTarget = pick[pb.RangeRequest_SortTarget](g, 5, -1, 99, math.MinInt32)
	}
	for _, bound := range []*int64{
		&request.MinModRevision, &request.MaxModRevision, &request.MinCreateRevision, &request.MaxCreateRevision,
	} {
		if g.one(12) {
			*bound = g.knownRevision()
		}
	}
	return request
}

func (g *generator) put() *pb.PutRequest {
	request := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.one(3)}
	switch g.random.IntN(12) {
	case 0:
		request.IgnoreValue = true
		if !g.one(6) {
			request.Value = nil
		}
	case 1:
		request.IgnoreLease = true
		if g.one(6) {
			request.Lease = 7
		}
	case 2:
		request.IgnoreValue, request.IgnoreLease, request.Value = true, true, nil
	}
	if g.one(30) {
		request.Lease = pick[int64](g, 1, -1, 7587862094700000000, math.MinInt64)
	}
	return request
}

func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	key := g.key()
	request := &pb.DeleteRangeRequest{Key: key, PrevKv: g.one(2)}
	if g.one(3) {
		request.RangeEnd = g.rangeEnd(key)
	}
	return request
}

func (g *generator) compaction() *pb.CompactionRequest {
	revision := g.revision - g.random.Int64N(60)
	if g.one(5) {
		revision = g.pastRevision()
	}
	return &pb.CompactionRequest{Revision: max(revision, -2), Physical: g.one(3)}
}

func (g *generator) compare() *pb.Compare {
	key := g.key()
	c := &pb.Compare{
		Key: key, Result: pb.Compare_CompareResult(g.random.IntN(4)), Target: pb.Compare_CompareTarget(g.random.IntN(5)),
	}
	if g.one(4) {
		c.RangeEnd = g.rangeEnd(key)
	}
	if g.one(40) {
		c.Result = pick[pb.Compare_CompareResult](g, 4, -1, 99)
	}
	if g.one(40) {
		c.Target = pick[pb.Compare_CompareTarget](g, 5, -1, 99)
	}
	kind := c.Target
	if g.one(20) {
		kind = pb.Compare_CompareTarget(g.random.IntN(6))
	}
	switch kind {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: pick[int64](g, 0, 1, 2, 3, -1)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.knownRevision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.knownRevision()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: pick[int64](g, 0, 1, -1)}
	}
	return c
}

func (g *generator) txn(depth int) *pb.TxnRequest {
	request := &pb.TxnRequest{}
	for range g.random.IntN(3) {
		request.Compare = append(request.Compare, g.compare())
	}
	readsOnly := g.one(5)
	request.Success = g.branch(depth, readsOnly)
	request.Failure = g.branch(depth, readsOnly)
	switch {
	case depth == 3 && g.one(60):
		// About as many operations as are allowed: 128.
		for range 126 + g.random.IntN(4) {
			request.Success = append(request.Success, rangeOp(&pb.RangeRequest{Key: []byte("a"), Serializable: g.one(2)}))
		}
	case depth == 3 && g.one(60):
		for range 126 + g.random.IntN(4) {
			request.Compare = append(request.Compare, g.compare())
		}
	}
	if depth == 3 && g.one(40) {
		// Deeper than a library may follow; 128 is about where the budget ends.
		for range pick(g, 20, 48, 49, 50, 51, 100, 126, 127, 128, 129) {
			op := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: request}}
			request = &pb.TxnRequest{Success: []*pb.RequestOp{op}}
		}
	}
	if depth == 3 && len(g.keys) > len(keys) && g.one(4) {
		for range 60 {
			put := &pb.PutRequest{Key: g.key(), Value: g.value()}
			request.Success = append(request.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
	}
	boundDeletes(request)
	return request
}

func (g *generator) branch(depth int, readsOnly bool) (ops []*pb.RequestOp) {
	for range g.random.IntN(4) {
		n := g.random.IntN(20)
		switch {
		case readsOnly || n < 5:
			ops = append(ops, rangeOp(g.rangeRequest()))
		case n < 13:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}})
		case n < 16:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteRange()}})
		case n < 19 && depth > 0:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}})
		case g.one(6):
			ops = append(ops, &pb.RequestOp{})
		}
	}
	return ops
}

func rangeOp(request *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: request}}
}

// boundDeletes keeps transactions away that etcd's check for overlapping writes does not see, and that end badly: a put of a
// key that a delete without upper bound took away before. Where the put keeps value or lease, a Go etcd panics; where the
// store is compacted at just that revision, it loses the key. What such transactions do otherwise is in the scripts.
func boundDeletes(request *pb.TxnRequest) {
	puts := false
	visit(request, func(op *pb.RequestOp) { puts = puts || op.GetRequestPut() != nil })
	visit(request, func(op *pb.RequestOp) {
		if del := op.GetRequestDeleteRange(); puts && del != nil && bytes.Equal(del.RangeEnd, []byte{0}) {
			del.RangeEnd = nil
		}
	})
}

func visit(request *pb.TxnRequest, look func(*pb.RequestOp)) {
	for _, ops := range [][]*pb.RequestOp{request.Success, request.Failure} {
		for _, op := range ops {
			look(op)
			if nested := op.GetRequestTxn(); nested != nil {
				visit(nested, look)
			}
		}
	}
}

// disturb makes some requests such as no client library writes them.
func (g *generator) disturb(op operation) operation {
	if g.one(20) {
		g.addUnknown(op.request.ProtoReflect())
	}
	if !g.one(40) {
		return op
	}
	var extra []byte
	switch g.random.IntN(8) {
	case 0: // a known field number with another wire type
		extra = protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)
	case 1:
		extra = protowire.AppendFixed64(protowire.AppendTag(nil, 3, protowire.Fixed64Type), 5)
	case 2: // a group
		extra = protowire.AppendTag(nil, 20, protowire.StartGroupType)
		extra = protowire.AppendVarint(protowire.AppendTag(extra, 1, protowire.VarintType), 5)
		extra = protowire.AppendTag(extra, 20, protowire.EndGroupType)
	case 3: // the same request again: fields are overwritten, lists grow
		extra, _ = proto.Marshal(op.request)
		if op.method == "Txn" {
			extra = g.twofold()
		}
	case 4: // cut short
		extra = []byte{0x0a, 0x05, 'a'}
	case 5: // field number 0
		extra = []byte{0x00, 0x01}
	case 6: // a varint of eleven bytes
		extra = append([]byte{0x98, 0x06}, bytes.Repeat([]byte{0xff}, 11)...)
	case 7:
		extra = make([]byte, 1+g.random.IntN(12))
		for i := range extra {
			extra[i] = byte(g.random.IntN(256))
		}
	}
	op.extra = extra
	return op
}

// twofold is an operation or a comparison of a transaction that says two things where only one can be meant.
func (g *generator) twofold() []byte {
	number, parts := protowire.Number(2+g.random.IntN(2)), make([]byte, 0, 64)
	for range 2 {
		var part proto.Message
		switch g.random.IntN(4) {
		case 0:
			number, part = 1, &pb.Compare{Key: []byte("a"), TargetUnion: &pb.Compare_Version{Version: 1}}
		case 1:
			number, part = 1, &pb.Compare{Key: []byte("b"), Target: 3, TargetUnion: &pb.Compare_Value{Value: []byte("v")}}
		case 2:
			part = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: []byte(pick(g, "y", "z")), Value: []byte(pick(g, "", "v"))}}}
		case 3:
			part = rangeOp(&pb.RangeRequest{Key: []byte(pick(g, "a", "b")), RangeEnd: []byte(pick(g, "", "c"))})
		}
		encoded, _ := proto.Marshal(part)
		parts = append(parts, encoded...)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), parts)
}

// addUnknown puts a field from the future somewhere into a message.
func (g *generator) addUnknown(message protoreflect.Message) {
	var nested []protoreflect.Message
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				nested = append(nested, value.List().Get(i).Message())
			}
		case field.Message() != nil:
			nested = append(nested, value.Message())
		}
		return true
	})
	if len(nested) > 0 && !g.one(3) {
		g.addUnknown(nested[0])
		return
	}
	number := protowire.Number(pick(g, 15, 99, 1000, 536870911))
	var field []byte
	switch g.random.IntN(4) {
	case 0:
		field = protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), g.random.Uint64())
	case 1:
		field = protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), []byte("future"))
	case 2:
		field = protowire.AppendFixed32(protowire.AppendTag(nil, number, protowire.Fixed32Type), 1)
	case 3:
		field = protowire.AppendFixed64(protowire.AppendTag(nil, number, protowire.Fixed64Type), 1)
	}
	message.SetUnknown(field)
}
