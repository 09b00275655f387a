package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// answerLimit bounds the wait for one answer; only a server that hangs needs it.
	answerLimit = 30 * time.Second
	// readsAtOnce bounds how many requests that change nothing are under way together.
	readsAtOnce = 16
	// alignPuts bounds how far apart two stores may be: more means that the servers were not given for this.
	alignPuts = 5000
	// hashLimit and hashPause: how long and how often hashes that differ are asked for again.
	hashLimit = time.Second
	hashPause = 50 * time.Millisecond
	// messageLimitBytes is for answers; sessions are small.
	messageLimitBytes = 64 << 20
)

// passthrough hands bytes to gRPC as they are, so that a request may hold what no library would write.
type passthrough struct{}

func (passthrough) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (passthrough) Name() string                  { return "proto" }
func (passthrough) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// pair is the two servers. Index 0 is the reference.
type pair struct {
	conns [2]*grpc.ClientConn
	base  int64 // revision at which the session began, equal on both
}

// answer is what a server says to an operation.
type answer struct {
	code    codes.Code
	text    string
	message proto.Message
}

func (a answer) String() string {
	if a.code != codes.OK {
		return fmt.Sprintf("%v %q", a.code, a.text)
	}
	return "OK {" + describe(a.message) + "}"
}

// mismatch is a script whose last operation is answered differently.
type mismatch struct {
	script  []operation
	answers [2]answer
}

func (m *mismatch) String() string {
	return fmt.Sprintf("  %v\n    a: %v\n    b: %v\n", m.script[len(m.script)-1], m.answers[0], m.answers[1])
}

func dialPair(a, b string) (*pair, error) {
	p := &pair{}
	for i, url := range []string{a, b} {
		conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(url, "http://"),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(passthrough{}), grpc.MaxCallRecvMsgSize(messageLimitBytes),
				grpc.MaxCallSendMsgSize(messageLimitBytes)))
		if err != nil {
			return nil, err
		}
		p.conns[i] = conn
	}
	return p, nil
}

func (p *pair) close() {
	for _, conn := range p.conns {
		conn.Close()
	}
}

// send gives one operation to one server.
func (p *pair) send(i int, op operation) answer {
	kind := methods[op.method]
	wire, err := op.wire(p.base)
	if err != nil {
		return answer{code: codes.Internal, text: "differ: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	var bytes []byte
	message := kind.response()
	if kind.stream {
		message, err = p.receiveStream(ctx, i, kind, wire)
	} else if err = p.conns[i].Invoke(ctx, kind.path, &wire, &bytes); err == nil {
		err = proto.Unmarshal(bytes, message)
	}
	if err != nil {
		// Go's protobuf library puts one of two kinds of blanks into its texts, by build.
		return answer{code: status.Code(err), text: strings.ReplaceAll(status.Convert(err).Message(), "\u00a0", " ")}
	}
	return answer{message: message}
}

// receiveStream merges the messages of a streamed range, which is how clients read it.
func (p *pair) receiveStream(ctx context.Context, i int, kind method, wire []byte) (proto.Message, error) {
	stream, err := p.conns[i].NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, kind.path)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&wire); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	whole := &pb.RangeResponse{}
	for {
		var bytes []byte
		if err := stream.RecvMsg(&bytes); errors.Is(err, io.EOF) {
			return whole, nil
		} else if err != nil {
			return nil, err
		}
		part := &pb.RangeStreamResponse{}
		if err := proto.Unmarshal(bytes, part); err != nil {
			return nil, err
		}
		proto.Merge(whole, part.RangeResponse)
	}
}

// both sends to the two servers at once. A hash may differ while a compaction is under way in the background: with
// nothing left to keep, Go etcd hashes what happens to be in its file. So a difference must last.
func (p *pair) both(op operation) (answers [2]answer) {
	for deadline := time.Now().Add(hashLimit); ; time.Sleep(hashPause) {
		var wait sync.WaitGroup
		for i := range answers {
			wait.Go(func() { answers[i] = p.send(i, op) })
		}
		wait.Wait()
		if op.method != "HashKV" || same(op, &answers) || time.Now().After(deadline) {
			return answers
		}
	}
}

// alike tells whether both servers are at the same revision.
func (p *pair) alike() bool {
	answers := p.both(operation{method: "Range", request: &pb.RangeRequest{Key: []byte{0}}})
	return revisionOf(answers[0]) == revisionOf(answers[1])
}

// ask is both for requests of the machinery itself: they must succeed.
func (p *pair) ask(op operation) ([2]answer, error) {
	answers := p.both(op)
	for i, got := range answers {
		if got.code != codes.OK {
			return answers, fmt.Errorf("server %c: %v: %v", 'a'+i, op, got)
		}
	}
	return answers, nil
}

// reset empties both stores, brings them to the same revision and compacts there: whatever happened before, nothing of
// it can be seen any more.
func (p *pair) reset() error {
	p.base = 0
	filler := operation{method: "Put", request: &pb.PutRequest{Key: []byte("filler")}}
	answers, err := p.ask(filler)
	if err != nil {
		return err
	}
	revisions := [2]int64{revisionOf(answers[0]), revisionOf(answers[1])}
	if apart := revisions[0] - revisions[1]; max(apart, -apart) > alignPuts {
		return fmt.Errorf("the stores are %d revisions apart", apart)
	}
	for i := range revisions {
		for revisions[i] < revisions[1-i] {
			got := p.send(i, filler)
			if got.code != codes.OK {
				return fmt.Errorf("server %c: %v", 'a'+i, got)
			}
			revisions[i] = revisionOf(got)
		}
	}
	everything := operation{method: "DeleteRange", request: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}
	answers, err = p.ask(everything)
	if err != nil {
		return err
	}
	base := revisionOf(answers[0])
	if base != revisionOf(answers[1]) {
		return fmt.Errorf("revisions %d and %d after deleting everything", base, revisionOf(answers[1]))
	}
	_, err = p.ask(operation{method: "Compact", request: &pb.CompactionRequest{Revision: base, Physical: true}})
	p.base = base
	return err
}

func revisionOf(a answer) int64 {
	if with, ok := a.message.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return with.GetHeader().GetRevision()
	}
	return 0
}

// session runs one stretch of the stream. Requests that change something go one by one, those between them at once.
func (p *pair) session(g *generator, length int, clean bool) (*mismatch, error) {
	p.base = 0
	if clean {
		if err := p.reset(); err != nil {
			return nil, err
		}
	}
	var script []operation
	for len(script) < length {
		batch := g.batch(min(length-len(script), readsAtOnce))
		answers := p.sendBatch(batch)
		for n, op := range batch {
			script = append(script, op)
			if !same(op, &answers[n]) {
				return &mismatch{script, answers[n]}, nil
			}
			if revision := revisionOf(answers[n][0]); revision > 0 {
				g.revision = revision - p.base
			}
		}
	}
	if g.skip["HashKV"] {
		return nil, nil
	}
	last := operation{method: "HashKV", request: &pb.HashKVRequest{}}
	if answers := p.both(last); !same(last, &answers) {
		return &mismatch{append(script, last), answers}, nil
	}
	return nil, nil
}

func (p *pair) sendBatch(batch []operation) [][2]answer {
	answers := make([][2]answer, len(batch))
	var wait sync.WaitGroup
	for n, op := range batch {
		wait.Go(func() { answers[n] = p.both(op) })
	}
	wait.Wait()
	return answers
}

// replay runs a script from a clean state and returns the first difference.
func (p *pair) replay(script []operation) (*mismatch, error) {
	if err := p.reset(); err != nil {
		return nil, err
	}
	for n, op := range script {
		if answers := p.both(op); !same(op, &answers) {
			return &mismatch{script[:n+1], answers}, nil
		}
	}
	return nil, nil
}
