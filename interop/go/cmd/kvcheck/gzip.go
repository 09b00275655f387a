package main

import (
	"context"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// answerSizes notes how large the last answer was on the wire, and how large it is.
type answerSizes struct{ wire, plain atomic.Int64 }

func (*answerSizes) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*answerSizes) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*answerSizes) HandleConn(context.Context, stats.ConnStats)                       {}

func (a *answerSizes) HandleRPC(_ context.Context, event stats.RPCStats) {
	if in, ok := event.(*stats.InPayload); ok {
		a.wire.Store(int64(in.CompressedLength))
		a.plain.Store(int64(in.Length))
	}
}

// checkGzip: etcd has gzip among its codecs, and answers a client that compresses in kind.
func checkGzip(s *suite) {
	sizes := &answerSizes{}
	target := strings.TrimPrefix(s.client.Endpoints()[0], "http://")
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStatsHandler(sizes))
	s.must(err)
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	value := []byte(strings.Repeat("compressible ", 8<<10))

	_, err = kv.Put(s.ctx, &pb.PutRequest{Key: []byte(k("gzip")), Value: value}, grpc.UseCompressor(gzip.Name))
	s.must(err)
	get := &pb.RangeRequest{Key: []byte(k("gzip"))}
	answer, err := kv.Range(s.ctx, get, grpc.UseCompressor(gzip.Name))
	s.must(err)
	s.holds("a compressed put arrived whole", len(answer.Kvs) == 1 && string(answer.Kvs[0].Value) == string(value), len(answer.Kvs))
	s.holds("the answer to a compressed request is compressed", sizes.wire.Load() < sizes.plain.Load()/10, sizes.wire.Load())
	_, err = kv.Range(s.ctx, get)
	s.must(err)
	s.holds("the answer to a plain request is plain", sizes.wire.Load() == sizes.plain.Load(), sizes.wire.Load())
	_, err = kv.Range(s.ctx, &pb.RangeRequest{}, grpc.UseCompressor(gzip.Name))
	s.equal("a refusal of a compressed request", "InvalidArgument etcdserver: key is not provided",
		status.Code(err).String()+" "+status.Convert(err).Message())

	// Far below the limits on the wire, far above when undone.
	bomb := &pb.PutRequest{Key: []byte(k("gzip")), Value: make([]byte, 16<<20)}
	_, err = kv.Put(s.ctx, bomb, grpc.UseCompressor(gzip.Name))
	s.equal("a message that grows beyond the limit", codes.ResourceExhausted.String()+
		" grpc: received message after decompression larger than max 2097152",
		status.Code(err).String()+" "+status.Convert(err).Message())
}
