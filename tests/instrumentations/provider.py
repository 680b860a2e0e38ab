"""A server on this machine that answers as OpenAI, Anthropic, Bedrock and Gemini do, and keeps spans that it receives.

Usage is fixed, except that each call has one input token more than the one before: two calls are never alike.
"""

import base64
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ANSWER = ["Send", "it", "back", "within", "30", "days."]
SCHEMA = {"type": "object", "properties": {"parcel": {"type": "string"}}, "required": ["parcel"]}
TOOL = {"name": "track", "description": "Where a parcel is.", "parameters": SCHEMA}
BAD_MODELS = ("bad-model", "claude-bad", "gpt-4")


class Server(ThreadingHTTPServer):
    """The server; `call` names the calls that it answers now."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.call = ""
        self.truth: list[dict[str, Any]] = []
        """What was answered, in order: name of the call, path, status, model, and usage in the provider's form."""
        self.exports: list[tuple[str, str, bytes]] = []
        """Path, content type and body of export requests."""
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while n := int(self.rfile.readline(), 16):
                body += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(self.path.partition("?")[0])
        if path.startswith("/call/"):
            self.server.call = path.removeprefix("/call/")
            self._send(200, b"")
            return
        if path.endswith(("/v1/traces", "/v1/logs", "/v1/metrics")):
            if self.headers.get("Content-Encoding") == "gzip":
                body = zlib.decompress(body, 31)
            self.server.exports.append((path, self.headers["Content-Type"], body))
            self._send(200, b"", self.headers["Content-Type"])
            return
        request = json.loads(body) if body.startswith(b"{") else {"model": "gpt-4o-transcribe"}
        truth = {"call": self.server.call, "path": path, "status": 200}
        self.server.truth.append(truth)
        model = request.get("model") or (
            path.split("/")[2] if "/model/" in path else path.split("/")[-1].partition(":")[0]
        )
        truth["model"] = model
        if model in BAD_MODELS:
            truth["status"] = 400
            self._send(400, {"error": {"type": "invalid_request_error", "message": "no such model"}, "message": "none"})
            return
        answer = _answer(path, request, model, 1000 + len(self.server.truth))
        truth["usage"] = answer.pop("_usage")
        events = answer.pop("_events", None)
        if events is None:
            self._send(200, answer.pop("_bytes", answer), answer.pop("_type", "application/json"))
            return
        truth["stream"] = True
        self.send_response(200)
        is_bedrock = path.endswith("-stream")
        self.send_header("Content-Type", "application/vnd.amazon.eventstream" if is_bedrock else "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for event in events:
                self.wfile.write(event)
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            truth["cut"] = True
        self.close_connection = True

    def _send(self, status: int, body: Any, content_type: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _sse(*events: Any, typed: bool = False) -> Iterator[bytes]:
    for each in events:
        name = f"event: {each['type']}\n" if typed else ""
        yield f"{name}data: {each if isinstance(each, str) else json.dumps(each)}\n\n".encode()


def _wants_tool(request: dict[str, Any]) -> bool:
    has_result = any(
        mark in json.dumps(request) for mark in ('"tool"', "tool_result", "toolResult", "function_call_output")
    )
    return bool(request.get("tools") or request.get("toolConfig")) and not has_result


def _answer(path: str, request: dict[str, Any], model: str, n: int) -> dict[str, Any]:
    """Return the body of an answer, with its usage as `_usage`, and its events as `_events` if it is a stream."""
    is_long = "long" in json.dumps(request)
    words = [word + " " for word in ANSWER * (40 if is_long else 1)]
    if path.endswith("/chat/completions"):
        return _chat(request, model, n, words)
    if path.endswith("/responses"):
        return _responses(request, model, n, words)
    if path.endswith("/embeddings"):
        usage = {"prompt_tokens": n, "total_tokens": n}
        inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
        vector: Any = [0.1, 0.2, 0.3]
        if request.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(inputs))]
        return {"object": "list", "model": model, "data": data, "usage": usage, "_usage": usage}
    if path.endswith("/images/generations"):
        details = {"text_tokens": n, "image_tokens": 0}
        usage = {"input_tokens": n, "output_tokens": 1056, "total_tokens": n + 1056, "input_tokens_details": details}
        return {"created": 1, "data": [{"b64_json": "aGk="}], "usage": usage, "_usage": usage}
    if path.endswith("/audio/transcriptions"):
        usage = {"type": "tokens", "input_tokens": n, "output_tokens": 9, "total_tokens": n + 9}
        return {"text": "Hello.", "usage": usage, "_usage": usage}
    if path.endswith("/audio/speech"):
        return {"_bytes": b"ID3", "_type": "audio/mpeg", "_usage": {}}
    if path.endswith("/messages"):
        return _messages(request, model, n, words)
    if path.endswith(("/converse", "/converse-stream")):
        return _converse(request, n, words, is_stream=path.endswith("-stream"))
    return _gemini(request, model, n, words, is_stream="stream" in path)


def _chat(request: dict[str, Any], model: str, n: int, words: list[str]) -> dict[str, Any]:
    usage = {
        "prompt_tokens": n,
        "completion_tokens": 50,
        "total_tokens": n + 50,
        "prompt_tokens_details": {"cached_tokens": 800, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
    }
    head = {"id": f"chatcmpl-{n}", "created": 1, "model": f"{model}-2024-08-06", "service_tier": "default"}
    function = {"name": "track", "arguments": '{"parcel": "P1"}'}
    call = {"id": f"call_{n}", "type": "function", "function": function}
    reason, uses_tool = "stop", _wants_tool(request)
    if uses_tool:
        reason, function["name"] = "tool_calls", request["tools"][0]["function"]["name"]
    if not request.get("stream"):
        message = {"content": None, "tool_calls": [call]} if uses_tool else {"content": "".join(words)}
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
        return head | {"object": "chat.completion", "choices": [choice], "usage": usage, "_usage": usage}

    def chunk(delta: Any, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return head | {"object": "chat.completion.chunk", "choices": [choice]}

    deltas = [{"tool_calls": [{"index": 0, **call}]}] if uses_tool else [{"content": word} for word in words]
    chunks = [chunk({"role": "assistant", "content": ""}), *map(chunk, deltas), chunk({}, reason)]
    reports = (request.get("stream_options") or {}).get("include_usage")
    if reports:
        chunks.append(head | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
    return {"_usage": usage if reports else {}, "_events": _sse(*chunks, "[DONE]")}


def _responses(request: dict[str, Any], model: str, n: int, words: list[str]) -> dict[str, Any]:
    usage = {
        "input_tokens": n,
        "output_tokens": 50,
        "total_tokens": n + 50,
        "input_tokens_details": {"cached_tokens": 800, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 20},
    }
    text = {"type": "output_text", "text": "".join(words), "annotations": []}
    item: dict[str, Any] = {"type": "message", "id": f"msg_{n}", "role": "assistant", "content": [text]}
    if _wants_tool(request):
        name = request["tools"][0].get("name", "track")
        item = {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": name}
        item["arguments"] = '{"parcel": "P1"}'
    item["status"] = "completed"
    head = {"id": f"resp_{n}", "object": "response", "created_at": 1, "model": f"{model}-2024-08-06"}
    options = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "service_tier": "default"}
    body = {**head, "status": "completed", "output": [item], "usage": usage, **options}
    if not request.get("stream"):
        return body | {"_usage": usage}
    opened = body | {"status": "in_progress", "output": [], "usage": None}
    item_keys = {"output_index": 0, "item_id": item["id"], "content_index": 0, "logprobs": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    events = [
        {"type": "response.created", "response": opened},
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}},
        {"type": "response.content_part.added", "part": part, **item_keys},
        *({"type": "response.output_text.delta", "delta": word, **item_keys} for word in words),
        {"type": "response.output_text.done", "text": text["text"], **item_keys},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": body},
    ]
    if item["type"] == "function_call":
        events = [events[0], events[1], *events[-2:]]
    numbered = (event | {"sequence_number": i} for i, event in enumerate(events))
    return {"_usage": usage, "_events": _sse(*numbered, typed=True)}


def _messages(request: dict[str, Any], model: str, n: int, words: list[str]) -> dict[str, Any]:
    counts = {"input_tokens": n - 900, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 200}
    usage = {**counts, "output_tokens": 50, "service_tier": "standard"}
    block: dict[str, Any] = {"type": "text", "text": "".join(words)}
    if uses_tool := _wants_tool(request):
        block = {"type": "tool_use", "id": f"toolu_{n}", "name": request["tools"][0]["name"], "input": {"parcel": "P1"}}
    reason = "tool_use" if uses_tool else "end_turn"
    head = {"id": f"msg_{n}", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
    if not request.get("stream"):
        return head | {"content": [block], "stop_reason": reason, "usage": usage, "_usage": usage}
    deltas: list[Any] = [{"type": "text_delta", "text": word} for word in words]
    if uses_tool:
        deltas = [{"type": "input_json_delta", "partial_json": '{"parcel": "P1"}'}]
    empty = block | ({"input": {}} if uses_tool else {"text": ""})
    message = head | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    last = {"output_tokens": 50}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": last},
        {"type": "message_stop"},
    ]
    return {"_usage": usage, "_events": _sse(*events, typed=True)}


def _converse(request: dict[str, Any], n: int, words: list[str], *, is_stream: bool) -> dict[str, Any]:
    usage = {"inputTokens": n - 900, "outputTokens": 50, "totalTokens": n + 250}
    usage |= {"cacheReadInputTokens": 900, "cacheWriteInputTokens": 200}
    use = {"toolUseId": f"tooluse_{n}", "name": "track"}
    uses_tool = _wants_tool(request)
    reason, metrics = ("tool_use" if uses_tool else "end_turn"), {"latencyMs": 5}
    if not is_stream:
        block = {"toolUse": use | {"input": {"parcel": "P1"}}} if uses_tool else {"text": "".join(words)}
        output = {"message": {"role": "assistant", "content": [block]}}
        return {"output": output, "stopReason": reason, "usage": usage, "metrics": metrics, "_usage": usage}
    deltas: list[Any] = [{"text": word} for word in words]
    start = [{"start": {"toolUse": use}, "contentBlockIndex": 0}] if uses_tool else []
    if uses_tool:
        deltas = [{"toolUse": {"input": '{"parcel": "P1"}'}}]
    events = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockStart", each) for each in start),
        *(("contentBlockDelta", {"delta": delta, "contentBlockIndex": 0}) for delta in deltas),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": reason}),
        ("metadata", {"usage": usage, "metrics": metrics}),
    ]
    return {"_usage": usage, "_events": (_aws_event(*event) for event in events)}


def _aws_event(kind: str, payload: dict[str, Any]) -> bytes:
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def _gemini(request: dict[str, Any], model: str, n: int, words: list[str], *, is_stream: bool) -> dict[str, Any]:
    usage = {"promptTokenCount": n, "cachedContentTokenCount": 800, "candidatesTokenCount": 30}
    usage |= {"thoughtsTokenCount": 20, "totalTokenCount": n + 50}

    def body(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
        known = {"modelVersion": f"{model}-001", "responseId": f"gemini-{n}"}
        return {"candidates": [candidate], **known, "usageMetadata": usage}

    if not is_stream:
        return body("".join(words), finishReason="STOP") | {"_usage": usage}
    return {"_usage": usage, "_events": _sse(*map(body, words), body("", finishReason="STOP"))}
