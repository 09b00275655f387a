// Command reference is Go etcd, built from its ordinary module and run as an ordinary process. It takes etcd's own flags.
// Tests and comparisons start it wherever they need to know what etcd itself does.
//
// Nothing may be changed or added here: whatever this program does must be what the published etcd does.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
