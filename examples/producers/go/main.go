// Publishes one prediction and waits until Kafka has it: go run . kafka:9092 [predictions]
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Prediction has the members of docs/events.md that this program knows; absent ones are left out.
type Prediction struct {
	Model     string            `json:"model"`
	Version   string            `json:"version"`
	ID        string            `json:"id"`
	At        int64             `json:"at"` // Unix milliseconds
	Features  map[string]any    `json:"features"`
	Context   map[string]string `json:"context,omitempty"`
	Score     float64           `json:"score"`
	LatencyMS float64           `json:"latency_ms"`
	Error     string            `json:"error,omitempty"`
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: producer BOOTSTRAP_SERVERS [TOPIC]")
	}
	topic := "predictions"
	if len(os.Args) > 2 {
		topic = os.Args[2]
	}
	// franz-go writes with acks=all and idempotence by default.
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	value, err := json.Marshal(Prediction{
		Model:     "flight-delay",
		Version:   "3",
		ID:        "go-1",
		At:        time.Now().UnixMilli(),
		Features:  map[string]any{"temp": 71.6, "carrier": "B6", "wind_gust": nil},
		Context:   map[string]string{"origin": "JFK"},
		Score:     0.73,
		LatencyMS: 12.3,
	})
	if err != nil {
		log.Fatal(err) // NaN, for one, has no form in JSON: leave such a value out, or send null.
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// A server sends with client.Produce, which does not wait, and counts the errors of its callback.
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: value}).FirstErr(); err != nil {
		log.Fatal(err)
	}
}
