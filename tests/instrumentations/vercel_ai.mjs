// The calls of the set-up `vercel-ai` of record.py: `node vercel_ai.mjs URL`.
import { createOpenAI } from "@ai-sdk/openai";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { embed, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const url = process.argv[2];
const sdk = new NodeSDK();
sdk.start();
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const common = { model: openai.chat("gpt-4o"), prompt: "Hello?", maxRetries: 0, experimental_telemetry: { isEnabled: true } };
const read = async (stream) => {
  for await (const _ of stream) {
  }
};
const track = tool({
  description: "Where a parcel is.",
  inputSchema: z.object({ parcel: z.string() }),
  execute: async () => "in Bern",
});
const calls = {
  plain: () => generateText(common),
  stream: () => read(streamText(common).textStream),
  cut: async () => {
    const abort = new AbortController();
    for await (const _ of streamText({ ...common, prompt: "A long answer?", abortSignal: abort.signal }).textStream) {
      abort.abort();
    }
  },
  error: () => generateText({ ...common, model: openai.chat("bad-model") }),
  agent: () => generateText({ ...common, tools: { track }, stopWhen: stepCountIs(3) }),
  responses: () => generateText({ ...common, model: openai.responses("gpt-4o") }),
  embeddings: () => embed({ ...common, model: openai.embedding("text-embedding-3-small"), value: "a" }),
};
for (const [name, call] of Object.entries(calls)) {
  await fetch(`${url}/call/${name}`, { method: "POST" });
  await call().catch((error) => console.error(`  ${name}: ${error.name}`));
}
await sdk.shutdown();
