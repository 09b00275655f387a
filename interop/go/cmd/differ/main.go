// Command differ sends one random stream of key-value requests to two etcd servers in lockstep and compares everything that
// comes back: every field, gRPC code and text, and the hash of the store. It is the test of "a client cannot tell".
//
// The stream is cut into sessions. Each session starts from an empty, compacted store with equal revisions on both sides, so
// that a difference can be replayed on the same two servers and shrunk to a short script. Scripts of differences found
// before are replayed first (-scripts).
//
// It deletes everything on both servers: never point it at data that matters.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// sessionOps is the length of one session: long enough for keys to gather a history, short enough to shrink quickly.
const sessionOps = 500

type options struct {
	seed       uint64
	ops        int
	mismatches int
	scripts    string
	save       string
	skip       map[string]bool
}

func main() {
	a := flag.String("a", "http://127.0.0.1:2379", "client URL of the first server (the reference)")
	b := flag.String("b", "http://127.0.0.1:2381", "client URL of the second server")
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the stream; 0 takes one from the clock")
	flag.IntVar(&o.ops, "ops", 50_000, "number of requests")
	flag.IntVar(&o.mismatches, "mismatches", 1, "end after that many differences")
	flag.StringVar(&o.scripts, "scripts", "", "folder of scripts (*.json) to replay first")
	flag.StringVar(&o.save, "save", "", "folder to write the script of a difference to")
	skip := flag.String("skip", "", "comma separated methods to leave out, for servers without them")
	flag.Parse()
	o.skip = map[string]bool{}
	for _, name := range strings.Split(*skip, ",") {
		o.skip[name] = true
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	failed, checks, err := run(*a, *b, o)
	switch {
	case err != nil:
		fmt.Println("differ:", err)
		os.Exit(2)
	case failed > 0:
		fmt.Printf("FAIL %d of %d checks\n", failed, checks)
		os.Exit(1)
	}
	fmt.Printf("ok %d checks\n", checks)
}

func run(a, b string, o options) (failed, checks int, err error) {
	p, err := dialPair(a, b)
	if err != nil {
		return 0, 0, err
	}
	defer p.close()
	// The first session of the stream comes before any script: only there has nothing been compacted yet.
	fmt.Printf("seed %d\n", o.seed)
	started, used := time.Now(), !p.alike()
	for number := 0; checks < o.ops && failed < o.mismatches; number++ {
		if number == 1 && o.scripts != "" {
			failed += replayAll(p, o.scripts, &checks)
			if failed >= o.mismatches {
				break
			}
		}
		length := min(sessionOps, o.ops-checks)
		found, err := p.session(newGenerator(o.seed, uint64(number), o.skip), length, used || number > 0)
		if err != nil {
			return failed, checks, fmt.Errorf("session %d: %w", number, err)
		}
		if found == nil {
			checks += length
		} else {
			checks += len(found.script)
			failed++
			report(p, o, number, found)
		}
	}
	elapsed := time.Since(started)
	fmt.Printf("%d requests to each server in %.1f s, %.0f/s\n", checks, elapsed.Seconds(), float64(checks)/elapsed.Seconds())
	return failed, checks, nil
}

func report(p *pair, o options, number int, found *mismatch) {
	fmt.Printf("difference in session %d of seed %d, request %d\n%s", number, o.seed, len(found.script), found)
	short, ok := p.shrink(found)
	if !ok {
		fmt.Println("it does not come again when the session is replayed; the whole session is the script")
	} else {
		fmt.Printf("shrunk to %d requests:\n%s", len(short.script), short)
	}
	for _, op := range short.script {
		fmt.Println("  ", op)
	}
	if o.save == "" {
		return
	}
	path := filepath.Join(o.save, fmt.Sprintf("found-%d-%d.json", o.seed, number))
	if err := writeScript(path, short.script); err != nil {
		fmt.Println("differ:", err)
	} else {
		fmt.Println("written to", path)
	}
}

// replayAll runs the scripts of a folder and returns how many of them show a difference.
func replayAll(p *pair, dir string, checks *int) (failed int) {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	sort.Strings(paths)
	for _, path := range paths {
		script, err := readScript(path)
		if err == nil {
			*checks += len(script)
			var found *mismatch
			if found, err = p.replay(script); found != nil {
				err = fmt.Errorf("difference at request %d\n%s", len(found.script), found)
			}
		}
		if err != nil {
			failed++
			fmt.Printf("%s: %v\n", path, err)
		}
	}
	fmt.Printf("%d scripts replayed, %d with a difference\n", len(paths), failed)
	return failed
}
