// Command goctl is Go's etcdctl, built from its ordinary module. What it prints is what ours has to print.
//
// Nothing may be changed or added here: whatever this program does must be what the published etcdctl does.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
