// The yardstick of bench_kv and bench_discovery: Go's clientv3 at the same cases.
//
//	etcd_go HOST:PORT CASE N
//	etcd_go HOST:PORT told N PUTS    from a put to the event at the last of N watches, for bench_discovery
//
// Debian: apt-get install golang-go golang-etcd-server-dev; GO111MODULE=off GOPATH=/usr/share/gocode go build etcd_go.go
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const keys, listKeys = 1000, 10000

type result struct {
	Client     string  `json:"client"`
	Case       string  `json:"case"`
	PerSecond  float64 `json:"per_s"`
	P50us      float64 `json:"p50_us"`
	P99us      float64 `json:"p99_us"`
	CPUusPerOp float64 `json:"cpu_us_per_op"`
	RSSkib     int64   `json:"rss_kib"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd_go:", err)
		os.Exit(1)
	}
}

func usage() (cpu float64, rss int64) {
	var r syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6, peak()
}

// peak is what was resident at most, in KiB. Not getrusage's: that counts from the process that forked us.
func peak() (kib int64) {
	text, err := os.ReadFile("/proc/self/status")
	must(err)
	for _, line := range strings.Split(string(text), "\n") {
		if _, err := fmt.Sscanf(line, "VmHWM: %d", &kib); err == nil {
			break
		}
	}
	return kib
}

// measure runs op n times, so many in parallel, and prints what it cost.
func measure(name string, n, parallel int, op func(i int)) {
	took := make([]float64, n)
	before, _ := usage()
	began := time.Now()
	var all sync.WaitGroup
	for w := 0; w < parallel; w++ {
		all.Add(1)
		go func(w int) {
			defer all.Done()
			for i := w; i < n; i += parallel {
				start := time.Now()
				op(i)
				took[i] = time.Since(start).Seconds()
			}
		}(w)
	}
	all.Wait()
	seconds := time.Since(began).Seconds()
	after, rss := usage()
	sort.Float64s(took)
	must(json.NewEncoder(os.Stdout).Encode(result{"go-clientv3", name, float64(n) / seconds, took[n/2] * 1e6,
		took[n*99/100] * 1e6, (after - before) * 1e6 / float64(n), rss}))
}

// told puts an instance's node and waits until each of the watches has its event.
func told(client *clientv3.Client, watches, puts int) {
	ctx := context.Background()
	var heard sync.WaitGroup
	for i := 0; i < watches; i++ {
		events := client.Watch(ctx, "/bench/services/echo/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-events
		go func() {
			for reply := range events {
				must(reply.Err())
				heard.Add(-len(reply.Events))
			}
		}()
	}
	took := make([]float64, puts)
	var before float64
	for i := -10; i < puts; i++ { // the first are not counted
		if i == 0 {
			before, _ = usage()
		}
		node := fmt.Sprintf(`{"net":"tcp","addr":"10.0.0.%d:8080","bn":"","weight":%d,"zone":"eu-1"}`, (i+10)%10, i+11)
		heard.Add(watches)
		start := time.Now()
		_, err := client.Put(ctx, fmt.Sprintf("/bench/services/echo/instance-%06d", (i+10)%10), node)
		must(err)
		heard.Wait()
		if i >= 0 {
			took[i] = time.Since(start).Seconds()
		}
	}
	after, _ := usage()
	sort.Float64s(took)
	must(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"case": "told", "client": "go-clientv3",
		"watchers": watches, "p50_us": took[puts/2] * 1e6, "p99_us": took[puts*99/100] * 1e6,
		"cpu_us_per_put": (after - before) * 1e6 / float64(puts)}))
}

func main() {
	if len(os.Args) != 4 && (len(os.Args) != 5 || os.Args[2] != "told") {
		must(fmt.Errorf("usage: etcd_go HOST:PORT CASE N | HOST:PORT told N PUTS"))
	}
	n, err := strconv.Atoi(os.Args[3])
	must(err)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, DialTimeout: 3 * time.Second})
	must(err)
	defer client.Close()
	if len(os.Args) == 5 {
		puts, err := strconv.Atoi(os.Args[4])
		must(err)
		told(client, n, puts)
		return
	}
	ctx, value := context.Background(), strings.Repeat("v", 200)
	put := func(key string, size int) {
		_, err := client.Put(ctx, key, value[:size])
		must(err)
	}
	name := os.Args[2]
	if name == "list" {
		for i := 0; i < listKeys; i++ {
			put(fmt.Sprintf("/bench/listed/k%06d", i), 200)
		}
	} else {
		for i := 0; i < keys; i++ {
			put(fmt.Sprintf("/bench/k%06d", i), 100)
		}
	}
	doPut := func(i int) { put(fmt.Sprintf("/bench/k%06d", i%keys), 100) }
	doGet := func(i int) {
		_, err := client.Get(ctx, fmt.Sprintf("/bench/k%06d", i%keys))
		must(err)
	}
	switch name {
	case "seq_put":
		measure(name, n, 1, doPut)
	case "seq_get":
		measure(name, n, 1, doGet)
	case "put64":
		measure(name, n, 64, doPut)
	case "get64":
		measure(name, n, 64, doGet)
	case "watch":
		events := client.Watch(ctx, "/bench/watched/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-events
		measure(name, n, 1, func(i int) {
			put(fmt.Sprintf("/bench/watched/k%06d", i%keys), 100)
			<-events
		})
	case "list":
		measure(name, n, 1, func(int) {
			reply, err := client.Get(ctx, "/bench/listed/", clientv3.WithPrefix())
			must(err)
			if len(reply.Kvs) != listKeys {
				must(fmt.Errorf("listed %d", len(reply.Kvs)))
			}
		})
	default:
		must(fmt.Errorf("%s: no such case", name))
	}
}
