package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// operation is one request. Revisions above 0 in it count from the revision at which its session began, so that a
// script means the same on servers of any age. Extra bytes follow the encoded request as they are.
type operation struct {
	method  string
	request proto.Message
	extra   []byte
}

// method tells how a request of that name travels.
type method struct {
	path     string
	stream   bool
	reads    bool // changes nothing, so that any number may run at once
	request  func() proto.Message
	response func() proto.Message
}

var methods = map[string]method{
	"Range": {"/etcdserverpb.KV/Range", false, true,
		func() proto.Message { return &pb.RangeRequest{} }, func() proto.Message { return &pb.RangeResponse{} }},
	"RangeStream": {"/etcdserverpb.KV/RangeStream", true, true,
		func() proto.Message { return &pb.RangeRequest{} }, func() proto.Message { return &pb.RangeStreamResponse{} }},
	"Put": {"/etcdserverpb.KV/Put", false, false,
		func() proto.Message { return &pb.PutRequest{} }, func() proto.Message { return &pb.PutResponse{} }},
	"DeleteRange": {"/etcdserverpb.KV/DeleteRange", false, false,
		func() proto.Message { return &pb.DeleteRangeRequest{} }, func() proto.Message { return &pb.DeleteRangeResponse{} }},
	"Txn": {"/etcdserverpb.KV/Txn", false, false,
		func() proto.Message { return &pb.TxnRequest{} }, func() proto.Message { return &pb.TxnResponse{} }},
	"Compact": {"/etcdserverpb.KV/Compact", false, false,
		func() proto.Message { return &pb.CompactionRequest{} }, func() proto.Message { return &pb.CompactionResponse{} }},
	"HashKV": {"/etcdserverpb.Maintenance/HashKV", false, true,
		func() proto.Message { return &pb.HashKVRequest{} }, func() proto.Message { return &pb.HashKVResponse{} }},
	"NoSuchMethod": {"/etcdserverpb.KV/NoSuchMethod", false, true,
		func() proto.Message { return &pb.RangeRequest{} }, func() proto.Message { return &pb.RangeResponse{} }},
	"NoSuchService": {"/etcdserverpb.NoSuchService/Range", false, true,
		func() proto.Message { return &pb.RangeRequest{} }, func() proto.Message { return &pb.RangeResponse{} }},
}

func (op operation) String() string {
	text := fmt.Sprintf("%s {%s}", op.method, describe(op.request))
	if len(op.extra) > 0 {
		text += " followed by bytes " + hex.EncodeToString(op.extra)
	}
	return text
}

// wire is what is sent, with revisions counted from 0.
func (op operation) wire(base int64) ([]byte, error) {
	moved := proto.Clone(op.request)
	moveRevisions(moved.ProtoReflect(), base)
	bytes, err := proto.Marshal(moved)
	return append(bytes, op.extra...), err
}

// revisionFields are those that name a point in the store's history.
var revisionFields = map[protoreflect.FullName]bool{
	"etcdserverpb.RangeRequest.revision":            true,
	"etcdserverpb.RangeRequest.min_mod_revision":    true,
	"etcdserverpb.RangeRequest.max_mod_revision":    true,
	"etcdserverpb.RangeRequest.min_create_revision": true,
	"etcdserverpb.RangeRequest.max_create_revision": true,
	"etcdserverpb.Compare.create_revision":          true,
	"etcdserverpb.Compare.mod_revision":             true,
	"etcdserverpb.CompactionRequest.revision":       true,
	"etcdserverpb.HashKVRequest.revision":           true,
}

// farRevision and above are meant as they are: no history gets there.
const farRevision = 1 << 40

func moveRevisions(message protoreflect.Message, base int64) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case revisionFields[field.FullName()]:
			if revision := value.Int(); revision > 0 && revision < farRevision {
				message.Set(field, protoreflect.ValueOfInt64(revision+base))
			}
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				moveRevisions(value.List().Get(i).Message(), base)
			}
		case field.Message() != nil:
			moveRevisions(value.Message(), base)
		}
		return true
	})
}

// scriptLine is how an operation is kept. Wire stands for requests that text cannot hold (unknown fields).
type scriptLine struct {
	Method  string `json:"method"`
	Request string `json:"request,omitempty"`
	Wire    string `json:"wire,omitempty"`
	Extra   string `json:"extra,omitempty"`
}

type scriptFile struct {
	Operations []scriptLine `json:"operations"`
}

func writeScript(path string, script []operation) error {
	var file scriptFile
	for _, op := range script {
		line := scriptLine{Method: op.method, Extra: hex.EncodeToString(op.extra)}
		line.Request = describe(op.request)
		again := methods[op.method].request()
		if prototext.Unmarshal([]byte(line.Request), again) != nil || !proto.Equal(op.request, again) {
			bytes, err := proto.Marshal(op.request)
			if err != nil {
				return err
			}
			line.Wire = hex.EncodeToString(bytes)
		}
		file.Operations = append(file.Operations, line)
	}
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func readScript(path string) ([]operation, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file scriptFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	var script []operation
	for number, line := range file.Operations {
		op, err := line.operation()
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", number, err)
		}
		script = append(script, op)
	}
	return script, nil
}

func (line scriptLine) operation() (operation, error) {
	kind, known := methods[line.Method]
	if !known {
		return operation{}, fmt.Errorf("no method %q", line.Method)
	}
	op := operation{method: line.Method, request: kind.request()}
	var err error
	if op.extra, err = hex.DecodeString(line.Extra); err != nil {
		return op, err
	}
	if line.Wire == "" {
		return op, prototext.Unmarshal([]byte(line.Request), op.request)
	}
	bytes, err := hex.DecodeString(line.Wire)
	if err != nil {
		return op, err
	}
	return op, proto.Unmarshal(bytes, op.request)
}

// describe is one line of text; the library varies its blanks on purpose, which would make scripts change for nothing.
func describe(message proto.Message) string {
	text := prototext.MarshalOptions{EmitUnknown: true}.Format(message)
	return strings.ReplaceAll(text, "  ", " ")
}
