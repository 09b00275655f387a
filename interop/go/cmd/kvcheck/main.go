// Command kvcheck holds an etcd server against what the official Go client expects of the key-value API.
// Everything it checks was seen to hold on Go etcd 3.7.1 first; where a server differs, the server is wrong.
//
// It is deterministic: on a fresh server every run makes the same writes, so the last line it prints (revision and
// hash of the store) is the same for every correct server. It works below one key prefix and clears that first,
// so it may be run again on the same server. It compacts the whole store: never point it at data that matters.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// prefix sorts behind every other printable key, so that from-key reads see this program's keys only.
	prefix = "~kvcheck/"
	// sendLimitBytes lets requests leave that the server, not the client, has to refuse.
	sendLimitBytes = 64 << 20
	// runLimit bounds the whole run: a server that hangs is a failure, not a wait.
	runLimit = 2 * time.Minute
)

// group is one family of checks; each starts from an empty key prefix.
type group struct {
	name string
	run  func(*suite)
}

var groups = []group{
	{"health", checkHealth},
	{"put", checkPut},
	{"get", checkGet},
	{"stream", checkStream},
	{"delete", checkDelete},
	{"txn", checkTxn},
	{"errors", checkErrors},
	{"gzip", checkGzip},
	{"lease", checkLease},
	{"compact", checkCompact},
	{"cluster", checkCluster},
}

func main() {
	endpoint := flag.String("endpoint", "http://127.0.0.1:2379", "client URL of the server")
	only := flag.String("only", "", "comma separated names of the groups to run (default: all)")
	skip := flag.String("skip", "", "comma separated names of the groups to leave out")
	verbose := flag.Bool("v", false, "print every check")
	state := flag.Bool("state", false, "check and write nothing, print the state line alone")
	flag.Parse()
	if err := run(*endpoint, *only, *skip, *verbose, *state); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(endpoint, only, skip string, verbose, stateOnly bool) error {
	chosen, err := choose(only, skip)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints:          []string{endpoint},
		DialTimeout:        10 * time.Second,
		Context:            ctx,
		Logger:             zap.NewNop(),
		MaxCallSendMsgSize: sendLimitBytes,
	})
	if err != nil {
		return fmt.Errorf("FAIL no client for %s: %w", endpoint, err)
	}
	defer client.Close()

	s := &suite{
		ctx: ctx, client: client, endpoint: endpoint, verbose: verbose,
		kv: pb.NewKVClient(client.ActiveConnection()), leases: pb.NewLeaseClient(client.ActiveConnection()),
	}
	if stateOnly {
		return s.printState()
	}
	for _, g := range chosen {
		s.runGroup(g)
	}
	if s.failed > 0 {
		return fmt.Errorf("FAIL %d of %d checks", s.failed, s.passed+s.failed)
	}
	fmt.Printf("ok %d checks\n", s.passed)
	return s.printState()
}

func choose(only, skip string) ([]group, error) {
	wanted, unwanted := names(only), names(skip)
	var chosen []group
	known := map[string]bool{}
	for _, g := range groups {
		known[g.name] = true
		if (len(wanted) == 0 || wanted[g.name]) && !unwanted[g.name] {
			chosen = append(chosen, g)
		}
	}
	for _, list := range []map[string]bool{wanted, unwanted} {
		for name := range list {
			if !known[name] {
				return nil, fmt.Errorf("no group of checks is called %q", name)
			}
		}
	}
	return chosen, nil
}

func names(list string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Split(list, ",") {
		if name != "" {
			set[name] = true
		}
	}
	return set
}
