package main

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func checkHealth(s *suite) {
	health := healthpb.NewHealthClient(s.client.ActiveConnection())
	answer, err := health.Check(s.ctx, &healthpb.HealthCheckRequest{})
	s.must(err)
	s.equal("the server serves", healthpb.HealthCheckResponse_SERVING, answer.Status)
	_, err = health.Check(s.ctx, &healthpb.HealthCheckRequest{Service: "no such service"})
	s.codeIs("an unknown service is not found", codes.NotFound, err)
}

func checkCluster(s *suite) {
	members, err := s.client.MemberList(s.ctx)
	s.must(err)
	s.equal("one member", 1, len(members.Members))
	if len(members.Members) != 1 {
		return
	}
	member := members.Members[0]
	s.equal("it answers for itself", member.ID, members.Header.MemberId)
	s.holds("it has a name", member.Name != "", member)
	s.holds("it has client URLs", len(member.ClientURLs) > 0, member)
	s.holds("it has peer URLs", len(member.PeerURLs) > 0, member)
	s.equal("it is no learner", false, member.IsLearner)
	s.holds("the endpoint is one of its client URLs", strings.Contains(strings.Join(member.ClientURLs, " ")+" ", s.endpoint+" "), member)
	local, err := pb.NewClusterClient(s.client.ActiveConnection()).MemberList(s.ctx, &pb.MemberListRequest{Linearizable: false})
	s.must(err)
	s.equal("the local list is the same", fmt.Sprint(member), fmt.Sprint(local.Members[0]))
	status, err := s.client.Status(s.ctx, s.endpoint)
	s.must(err)
	s.equal("status: version", "3.7.1", status.Version)
	s.equal("status: storage version", "3.7.0", status.StorageVersion)
	s.equal("status: the member leads", member.ID, status.Leader)
	s.equal("status: it is no learner", false, status.IsLearner)
	s.equal("status: no errors", 0, len(status.Errors))
	s.equal("status: term as in the header", status.Header.RaftTerm, status.RaftTerm)
	s.holds("status: applied index", status.RaftAppliedIndex > 0 && status.RaftAppliedIndex <= status.RaftIndex,
		status.RaftAppliedIndex, status.RaftIndex)
	s.holds("status: database sizes", status.DbSize > 0 && status.DbSizeInUse > 0 && status.DbSizeInUse <= status.DbSize,
		status.DbSize, status.DbSizeInUse)
	s.equal("status: quota", int64(2<<30), status.DbSizeQuota)
	s.equal("status: no downgrade", false, status.DowngradeInfo.GetEnabled())
	alarms, err := s.client.AlarmList(s.ctx)
	s.must(err)
	s.equal("no alarms", 0, len(alarms.Alarms))
	clusterHash(s)
}

func clusterHash(s *suite) {
	s.put("hash", "v")
	first, err := s.client.HashKV(s.ctx, s.endpoint, 0)
	s.must(err)
	s.equal("a hash is of the newest revision", s.revision(), first.HashRevision)
	again, err := s.client.HashKV(s.ctx, s.endpoint, first.HashRevision)
	s.must(err)
	s.equal("the hash of the same revision is the same", first.Hash, again.Hash)
	s.put("hash", "w")
	past, err := s.client.HashKV(s.ctx, s.endpoint, first.HashRevision)
	s.must(err)
	s.equal("also after a write", first.Hash, past.Hash)
	newer, err := s.client.HashKV(s.ctx, s.endpoint, 0)
	s.must(err)
	s.holds("but not that of a newer one", newer.Hash != first.Hash, newer.Hash)
}

// printState is for comparing servers: after the same run on fresh servers the line must be the same.
func (s *suite) printState() error {
	hash, err := s.client.HashKV(s.ctx, s.endpoint, 0)
	if err != nil {
		return fmt.Errorf("FAIL no hash of the store: %w", err)
	}
	fmt.Printf("state revision=%d compact_revision=%d hash=%08x\n", hash.HashRevision, hash.CompactRevision, hash.Hash)
	return nil
}
