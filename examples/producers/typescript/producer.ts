// Publishes one prediction and waits until Kafka has it: node producer.js kafka:9092 [predictions]
import { Kafka, Partitioners } from "kafkajs";

/** The members of docs/events.md that this program knows; absent ones are left out. */
interface Prediction {
  model: string;
  version: string;
  id: string;
  /** Unix milliseconds. */
  at: number;
  features: Record<string, number | string | boolean | null>;
  context?: Record<string, string | null>;
  score?: number;
  latency_ms?: number;
  error?: string;
}

const [servers, topic = "predictions"] = process.argv.slice(2);
if (!servers) throw new Error("usage: node producer.js BOOTSTRAP_SERVERS [TOPIC]");

const kafka = new Kafka({ clientId: "producer-example", brokers: servers.split(",") });
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true });
const prediction: Prediction = {
  model: "flight-delay",
  version: "3",
  id: "typescript-1",
  at: Date.now(),
  // JSON.stringify writes NaN as null, which counts as a missing value.
  features: { temp: 71.6, carrier: "B6", wind_gust: null },
  context: { origin: "JFK" },
  score: 0.73,
  latency_ms: 12.3,
};

async function main(): Promise<void> {
  await producer.connect();
  try {
    // A server does not await this in the path of a request, and counts rejected promises.
    await producer.send({ topic, acks: -1, messages: [{ value: JSON.stringify(prediction) }] });
  } finally {
    await producer.disconnect();
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
