// A recommender inside a Go HTTP service, with graceful shutdown.
//
//	go run ./service -work work/mine -listen 127.0.0.1:8080
//	curl -d '{"turns": [{"role": "user", "text": "something funny"}]}' http://127.0.0.1:8080/recommend
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"causerie"
)

const maxBody = 1 << 20

func main() {
	work := flag.String("work", "demo", "a work directory that `causerie run` finished")
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	if err := serve(*work, *listen); err != nil {
		log.Fatal(err)
	}
}

func serve(work, listen string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := causerie.SetLog(causerie.LogWarn, func(_ int, text string) { log.Print(text) }); err != nil {
		return err
	}
	config, err := causerie.NewConfig("")
	if err != nil {
		return err
	}
	defer config.Close()
	recommender, err := causerie.OpenRecommender(ctx, work, "", config)
	if err != nil {
		return err
	}
	defer recommender.Close()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	log.Printf("%s, %d items, on http://%s/recommend", causerie.Version(), recommender.Len(), listener.Addr())

	mux := http.NewServeMux()
	mux.HandleFunc("/recommend", func(w http.ResponseWriter, r *http.Request) { recommend(w, r, recommender) })
	server := &http.Server{Handler: readToItsEnd(mux), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Requests under way finish; then the recommender is closed.
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// readToItsEnd takes what a handler left of a body, within the limit: net/http closes a connection over unread bytes when
// the client asked for its close, which resets it, and the answer is lost on the way.
func readToItsEnd(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		// A body that breaks off has nobody to tell.
		_, _ = io.CopyN(io.Discard, r.Body, maxBody)
	})
}

// answer is what a client gets.
type answer struct {
	Items     []causerie.Recommendation `json:"items"`
	Partial   bool                      `json:"partial"`
	Truncated bool                      `json:"truncated"`
	Warnings  []string                  `json:"warnings,omitempty"`
}

func recommend(w http.ResponseWriter, r *http.Request, recommender *causerie.Recommender) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST a conversation", http.StatusMethodNotAllowed)
		return
	}
	// A key that is not known is an error: a mask that is misspelt is not passed over.
	var query causerie.Query
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&query); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// A client that goes away cancels its request.
	reply, err := recommender.Ask(r.Context(), query, 10)
	switch {
	case errors.Is(err, &causerie.Error{Code: causerie.Invalid}):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, &causerie.Error{Code: causerie.NotFound}):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer{reply.Items, reply.Partial, reply.Truncated, reply.Warnings}); err != nil {
			log.Print(err)
		}
	}
}
