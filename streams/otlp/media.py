"""Images, sound and files in messages: recognized by the forms of the common APIs, and replaced by a mark.

Forms: data URLs anywhere (OpenAI's `image_url`, `input_image`, `file`), `source` of Anthropic and Bedrock,
`inline_data` of Gemini, `input_audio` of OpenAI, parts `blob` of the GenAI conventions and `binary` of pydantic-ai.
"""

import re
from typing import Any

_TYPES = ("mime_type", "mimeType", "media_type", "mediaType", "format")
_DATA = ("data", "bytes", "content", "file_data")
_ENCODED = ("blob", "base64", "binary")
"""Types of parts whose content is encoded whatever their media type."""
_URLS = ("url", "image_url", "image", "file_data", "data")
_INNER = frozenset(("source", "inline_data", "inlineData", "input_audio", "audio", "video", "document", "file", *_URLS))
_KEYS = frozenset((*_TYPES, *_INNER, *_URLS))
_NAME = r"[a-zA-Z0-9][a-zA-Z0-9.+-]{0,60}"
_MEDIA_TYPE = re.compile(rf"{_NAME}(?:/{_NAME})?")
_URL = re.compile(rf"data:({_NAME}/{_NAME})?(?:;[a-zA-Z0-9._=-]{{1,80}}){{0,4}};base64,([a-zA-Z0-9+/_=-]*)")
_RUN = re.compile(r"[a-zA-Z0-9+/]{1000,}={0,2}")
"""Text has no such words. Only JSON that was cut off, and is no tree any more, is searched for them."""


def mark_of(part: dict[str, Any]) -> str | None:
    """Return the mark of a part of a message, such as `<image/png 30000 bytes>`; None if it is no medium."""
    return None if _KEYS.isdisjoint(part) else _mark_of(part)


def _mark_of(part: dict[str, Any], kind: str | None = None, depth: int = 0) -> str | None:
    """Return the mark of a part, or of a part of it; `kind` is the media type of the part around it."""
    for name in _URLS:
        url = part.get(name)
        if isinstance(url, str) and (match := _URL.match(url)):
            return _mark(match[1], match[2])
    named = next((name for name in _TYPES if isinstance(part.get(name), str)), "")
    kind = part.get(named, kind)
    if kind is not None and (part.get("type") in _ENCODED or not kind.startswith("text/")):
        names = _DATA[:2] if named in ("", "format") else _DATA
        data = next((part[name] for name in names if isinstance(part.get(name), str)), None)
        if data is not None:
            return _mark(kind, data)
    inner = (part[name] for name in _INNER & part.keys() if isinstance(part[name], dict)) if depth < 2 else ()
    return next((mark for each in inner if (mark := _mark_of(each, kind, depth + 1))), None)


def replace_media(text: str, *, with_marks: bool = True) -> str:
    """Replace the encoded media in a text by their marks, or remove them."""
    if "base64," in text:
        text = _URL.sub(lambda match: _mark(match[1], match[2]) if with_marks else "", text)
    if text[:1] in ("[", "{") and len(text) >= 1000:
        text = _RUN.sub(lambda match: _mark(None, match[0]) if with_marks else "", text)
    return text


def _mark(media_type: str | None, data: str) -> str:
    name = media_type if media_type and _MEDIA_TYPE.fullmatch(media_type) else "media"
    return f"<{name} {len(data.rstrip('=')) * 3 // 4} bytes>"
