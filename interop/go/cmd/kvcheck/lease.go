package main

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Leases of this run have ids of their own and lives far longer than the run: a random id or an expiry would make
// two runs differ.
const (
	leaseOne        = 0x5eed0001
	leaseTwo        = 0x5eed0002
	leaseTTLSeconds = 3600
)

// checkLease: what the key-value API shows of leases.
func checkLease(s *suite) {
	for _, id := range []int64{leaseOne, leaseTwo} {
		// Left over by a run that was cut off.
		_, _ = s.client.Revoke(s.ctx, clientv3.LeaseID(id))
		granted, err := s.leases.LeaseGrant(s.ctx, &pb.LeaseGrantRequest{ID: id, TTL: leaseTTLSeconds})
		s.must(err)
		s.equal("a lease is granted as asked", fmt.Sprintf("%x %d", id, leaseTTLSeconds), fmt.Sprintf("%x %d", granted.ID, granted.TTL))
	}
	_, err := s.leases.LeaseGrant(s.ctx, &pb.LeaseGrantRequest{ID: leaseOne, TTL: leaseTTLSeconds})
	s.statusIs("an id in use", rpctypes.ErrGRPCLeaseExist, err)
	_, err = s.leases.LeaseGrant(s.ctx, &pb.LeaseGrantRequest{TTL: 9_000_000_001})
	s.statusIs("a life that is too long", rpctypes.ErrGRPCLeaseTTLTooLarge, err)
	leaseAttach(s)
	leaseRevoke(s)
}

func leaseAttach(s *suite) {
	base := s.revision()
	s.put("l1", "a", clientv3.WithLease(leaseOne))
	s.equal("a key with a lease", "l1=a create+1 mod+1 version 1 lease 5eed0001", row(s.one("l1"), base))
	s.put("l1", "b", clientv3.WithIgnoreLease())
	s.equal("ignore-lease keeps it", "l1=b create+1 mod+2 version 2 lease 5eed0001", row(s.one("l1"), base))
	s.put("l1", "", clientv3.WithIgnoreValue(), clientv3.WithLease(leaseTwo))
	s.equal("ignore-value with a lease moves it", "l1=b create+1 mod+3 version 3 lease 5eed0002", row(s.one("l1"), base))
	answer := s.txn([]clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(k("l1")), "=", clientv3.LeaseID(leaseTwo))}, nil, nil)
	s.equal("compare with a lease", true, answer.Succeeded)
	keyOnly := read(s, k("l1"), clientv3.WithKeysOnly())
	s.holds("keys only finds it", len(keyOnly) == 1, keyOnly)
	if len(keyOnly) == 1 {
		s.equal("keys only leaves out the lease", "l1= create+1 mod+3 version 3 lease 0", row(keyOnly[0], base))
	}
	s.put("l1", "c")
	s.equal("a put without a lease detaches", "l1=c create+1 mod+4 version 4 lease 0", row(s.one("l1"), base))
	s.put("l2", "x", clientv3.WithLease(leaseTwo))
	s.put("l3", "y", clientv3.WithLease(leaseTwo))
	s.put("l4", "z", clientv3.WithLease(leaseOne))
	live, err := s.client.TimeToLive(s.ctx, leaseTwo, clientv3.WithAttachedKeys())
	s.must(err)
	s.equal("a lease knows its keys", 2, len(live.Keys))
	s.equal("and what it was granted", int64(leaseTTLSeconds), live.GrantedTTL)
}

func leaseRevoke(s *suite) {
	_, err := s.client.Revoke(s.ctx, 0x7eeeeeee)
	s.errorIs("revocation of an unknown lease", rpctypes.ErrLeaseNotFound, err)
	before := s.revision()
	_, err = s.client.Revoke(s.ctx, leaseTwo)
	s.must(err)
	s.equal("revocation deletes the attached keys", "l1 l4", keys(read(s, k("l"), clientv3.WithPrefix())))
	s.equal("in one revision", before+1, s.revision())
	_, err = s.client.Delete(s.ctx, k("l4"))
	s.must(err)
	_, err = s.client.Revoke(s.ctx, leaseOne)
	s.must(err)
	s.equal("revocation without keys makes no revision", before+2, s.revision())
	gone, err := s.client.TimeToLive(s.ctx, leaseOne)
	s.must(err)
	s.equal("an unknown lease lives -1 seconds", int64(-1), gone.TTL)
}
