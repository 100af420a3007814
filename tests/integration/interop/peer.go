// The peer of `run` that locks with Go's clientv3/concurrency.
//
//	peer hold KEY           waits for the lock, prints "locked", holds it until its input ends
//	peer try KEY            prints "locked" or "busy", at once
//	peer count KEY N FILE   N times: adds one to the number in FILE under the lock
package main

import (
	"context"
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func addOne(file string) {
	text, err := ioutil.ReadFile(file)
	check(err)
	number, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(err)
	time.Sleep(10 * time.Millisecond)
	check(ioutil.WriteFile(file, []byte(strconv.Itoa(number+1)), 0600))
}

func main() {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Getenv("ENDPOINT")}, DialTimeout: 10 * time.Second})
	check(err)
	session, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	check(err)
	ctx := context.Background()
	mutex := concurrency.NewMutex(session, os.Args[2])
	switch os.Args[1] {
	case "hold":
		check(mutex.Lock(ctx))
		fmt.Println("locked")
		io.Copy(ioutil.Discard, os.Stdin)
		check(mutex.Unlock(ctx))
	case "try":
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := mutex.Lock(short)
		cancel()
		if err == nil {
			fmt.Println("locked")
			check(mutex.Unlock(ctx))
		} else if err == context.DeadlineExceeded {
			fmt.Println("busy")
		} else {
			check(err)
		}
	case "count":
		times, err := strconv.Atoi(os.Args[3])
		check(err)
		for i := 0; i < times; i++ {
			check(mutex.Lock(ctx))
			addOne(os.Args[4])
			check(mutex.Unlock(ctx))
		}
	}
	check(session.Close())
	check(client.Close())
}
