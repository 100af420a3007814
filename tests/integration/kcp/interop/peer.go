// kcp-go's end of test_kcp_interop.c:
//
//	peer server PORT walle|quick          echoes whatever comes; says "listening" first
//	peer client PORT walle|quick BYTES    sends so many bytes of pair.c's order (seed 3), wants them back, says "ok"
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/xtaci/kcp-go"
)

const seed = 3

func fail(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func setUp(session *kcp.UDPSession, kind string) {
	if kind == "quick" {
		session.SetNoDelay(1, 10, 2, 1)
		session.SetWindowSize(128, 128)
	}
}

func byteAt(at uint32) byte { return byte(((at + seed) * 2654435761) >> 11) }

func serve(address, kind string) {
	listener, err := kcp.ListenWithOptions(address, nil, 0, 0)
	fail(err)
	fmt.Println("listening")
	for {
		session, err := listener.AcceptKCP()
		fail(err)
		setUp(session, kind)
		go io.Copy(session, session)
	}
}

func send(session *kcp.UDPSession, total int) {
	piece := make([]byte, 0, 4000)
	for at := 0; at < total; at++ {
		piece = append(piece, byteAt(uint32(at)))
		if len(piece) == cap(piece) || at+1 == total {
			_, err := session.Write(piece)
			fail(err)
			piece = piece[:0]
		}
	}
}

func call(address, kind string, total int) {
	session, err := kcp.DialWithOptions(address, nil, 0, 0)
	fail(err)
	setUp(session, kind)
	go send(session, total)
	buffer := make([]byte, 65536)
	for received := 0; received < total; {
		n, err := session.Read(buffer)
		fail(err)
		for i := 0; i < n; i++ {
			if buffer[i] != byteAt(uint32(received+i)) {
				fail(fmt.Errorf("byte %d is wrong", received+i))
			}
		}
		received += n
	}
	fmt.Println("ok")
	select {} // it is killed: what is left to acknowledge shall be
}

func main() {
	address := "127.0.0.1:" + os.Args[2]
	if os.Args[1] == "server" {
		serve(address, os.Args[3])
	}
	total, err := strconv.Atoi(os.Args[4])
	fail(err)
	call(address, os.Args[3], total)
}
