// Command seed puts keys of one value size into a server and reads the last one back, so that a measurement of reads
// knows what it reads. With -count 1 the key is the name itself, otherwise the name with a nine digit number behind it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// parallel puts in flight: enough to fill the server's write batches.
	parallel = 256
	// runLimit bounds the whole run.
	runLimit = 10 * time.Minute
)

func main() {
	endpoint := flag.String("endpoint", "http://127.0.0.1:2379", "client URL of the server")
	key := flag.String("key", "seed", "name of the key, or of the keys")
	count := flag.Int("count", 1, "number of keys")
	size := flag.Int("size", 256, "bytes of each value")
	flag.Parse()
	if err := run(*endpoint, *key, *count, *size); err != nil {
		fmt.Fprintln(os.Stderr, "seed:", err)
		os.Exit(1)
	}
}

func run(endpoint, key string, count, size int) error {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, Context: ctx, Logger: zap.NewNop(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	name := func(i int) string {
		if count == 1 {
			return key
		}
		return fmt.Sprintf("%s%09d", key, i)
	}
	value := strings.Repeat("v", size)
	numbers, failures := make(chan int), make(chan error, parallel)
	var workers sync.WaitGroup
	for range min(parallel, count) {
		workers.Go(func() {
			for i := range numbers {
				if _, err := client.Put(ctx, name(i), value); err != nil {
					failures <- err
					cancel()
					return
				}
			}
		})
	}
	for i := 0; i < count && ctx.Err() == nil; i++ {
		select {
		case numbers <- i:
		case <-ctx.Done():
		}
	}
	close(numbers)
	workers.Wait()
	select {
	case err := <-failures:
		return err
	default:
	}
	got, err := client.Get(ctx, name(count-1))
	if err != nil {
		return err
	}
	if len(got.Kvs) != 1 || len(got.Kvs[0].Value) != size {
		return fmt.Errorf("%s is not what was put", name(count-1))
	}
	return nil
}
