// s3door serves one empty bucket, "ledger", by the S3 protocol on a free port of loopback, and keeps it in memory.
//
// The library forgets Cache-Control; here it is kept, as S3 does, so that a test sees what was sent.
// It prints its address and ends when its standard input does: with the test that started it.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func keepCacheControl(next http.Handler) http.Handler {
	var kept sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			kept.Store(r.URL.Path, r.Header.Get("Cache-Control"))
		} else if value, found := kept.Load(r.URL.Path); found {
			w.Header().Set("Cache-Control", value.(string))
		}
		next.ServeHTTP(w, r)
	})
}

func main() {
	backend := s3mem.New()
	if err := backend.CreateBucket("ledger"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, http.Serve(listener, keepCacheControl(gofakes3.New(backend).Server())))
	os.Exit(1)
}
