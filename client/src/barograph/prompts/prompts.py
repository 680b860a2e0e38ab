"""The prompts of a serving process: a dictionary, kept current by a thread."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from barograph.contract.kinds import nearest
from barograph.prompts.cache_file import read_cache, write_cache
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.content import PRODUCTION
from barograph.prompts.errors import PromptError
from barograph.prompts.prompt import Prompt, PromptSource, fallback_prompt
from barograph.prompts.records import PROMPTS_TOPIC, PromptLabel, decode_prompt_record
from barograph.publisher import lifetime
from barograph.publisher.servers import find_bootstrap_servers
from barograph.topic_reader import PROBE_EVERY_S, TopicReader, check_sequence

STALE_S = 60.0
"""Default time after Kafka's last answer at which prompts become `stale`. The reader requests one every 5 s."""
MIN_STALE_S = 2 * PROBE_EVERY_S
"""Smallest such time: with less, prompts would become stale between two answers."""

_LOG = logging.getLogger("barograph.prompts")

_Key = tuple[str, int | str]
"""A prompt's name, and a version or a label."""


class Prompts:
    """All registered prompts, read from Kafka.

    `get` and `assign` never block, and no error of Kafka reaches the caller. While Kafka is unavailable, the last known
    versions and labels stay in force. Prompts may be shared between threads and used after a fork.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: str | None = None,
        topic_prefix: str = "",
        cache: str | os.PathLike[str] | None = None,
        fallback: Mapping[str, Any] | None = None,
        stale_s: float = STALE_S,
        kafka: Mapping[str, Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        reader: Callable[..., TopicReader] = TopicReader,
    ) -> None:
        """Start to follow the prompts. Until Kafka has answered, the cache file and the fallbacks serve.

        Args:
            bootstrap_servers: Kafka's addresses, by default those of a publisher.
            topic_prefix: Precedes the topic's name.
            cache: A local file for a start while Kafka is unavailable, which processes may share; none by default.
            fallback: Name → text, a list of messages with `role` and `content`, or a `Prompt`, if nothing else is
                known.
            stale_s: Time since Kafka's last answer after which prompts are `stale`; at least 10 (s).
            kafka: Further librdkafka settings, such as `security.protocol`.

        Raises:
            ValueError: No Kafka is found, `stale_s` is too small, or a fallback is malformed (`PromptError`).
        """
        if not stale_s >= MIN_STALE_S:
            raise ValueError(f"stale_s is {stale_s}; it must be at least {MIN_STALE_S:g}")
        self._topic = f"{topic_prefix}{PROMPTS_TOPIC}"
        self._fallbacks = {name: fallback_prompt(name, each) for name, each in (fallback or {}).items()}
        self._stale_s, self._monotonic = stale_s, monotonic
        self._current = threading.Event()
        self._current_at_s = float("-inf")
        self._has_changes = False
        self._has_unreadable_record = False
        self._reported: set[_Key] = set()
        self._cache = None if cache is None else Path(cache).absolute()
        self._cache_problem = ""
        self._source: PromptSource = "cache"
        self._catalogue = self._read_cache()
        self._prompts: dict[_Key, Prompt] = {}
        self._index()
        servers = bootstrap_servers or find_bootstrap_servers()
        self._reader = reader(
            {"bootstrap.servers": servers, **(kafka or {})},
            self._topic,
            "barograph-prompts",
            self._receive,
            self._tick,
            purpose="prompts",
            log=_LOG,
            on_current=self._confirm,
        )
        self._reader.start()
        lifetime.register(self)

    def get(self, name: str, *, label: str | None = None, version: int | None = None) -> Prompt:
        """Return a prompt, without I/O.

        Args:
            label: The label whose version is returned; `production` if neither label nor version is given.
            version: A version, instead of a label.

        Raises:
            PromptError: Nothing of that name, label or version is known, and the process has no fallback for the name.
            ValueError: Both a label and a version are given.
        """
        if version is None:
            key: _Key = (name, PRODUCTION if label is None else label)
        elif label is None:
            key = (name, version)
        else:
            raise ValueError(f"both label {label!r} and version {version} are given; give one")
        prompt = self._prompts.get(key)
        return prompt if prompt is not None else self._fall_back(key)

    def assign(self, name: str, *, unit: str | int, shares: Mapping[str, float]) -> Prompt:
        """Return the prompt of a unit in an A/B test, without I/O: the same unit and shares always get the same arm.

        Args:
            name: The prompt's name; units are assigned independently for each prompt.
            unit: Who or what is assigned, such as a user's id.
            shares: Version (as digits) or label → its share. The shares sum to 1.

        Raises:
            PromptError: The arm of the unit is not known, and the process has no fallback for the name.
            ValueError: The shares do not sum to 1, or the unit is empty.
        """
        text = str(unit)
        if unit is None or not text:
            raise ValueError("the unit is empty; pass what is assigned, such as a user's id")
        check_shares(shares)
        arm = choose_arm(name, text, shares)
        key: _Key = (name, int(arm) if arm.isdigit() else arm)
        prompt = self._prompts.get(key)
        return prompt if prompt is not None else self._fall_back(key)

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything has been read from Kafka, and return whether it has; for the start of a process."""
        return self._current.wait(timeout_s)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all known prompts, sorted; without fallbacks."""
        return tuple(sorted({name for name, _ in self._prompts}))

    def close(self, timeout_s: float = 1.0) -> int:
        """Stop following; prompts keep their last versions and labels. Idempotent."""
        self._reader.stop(timeout_s)
        lifetime.unregister(self)
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: read with a thread of its own. Until it has read, what the parent knew holds."""
        is_current = self._current.is_set()
        # A fork may copy an event whose lock another thread holds.
        self._current = threading.Event()
        if is_current:
            self._current.set()
        self._reader.restart_after_fork()

    # --- in the calling thread ----------------------------------------------------------------------------------------

    def _fall_back(self, key: _Key) -> Prompt:
        name = key[0]
        fallback = self._fallbacks.get(name)
        if fallback is None:
            raise PromptError(self._unknown(key))
        if self._current.is_set() and key not in self._reported:
            self._reported.add(key)
            _LOG.warning("the fallback serves: %s", self._unknown(key))
        return fallback

    def _unknown(self, key: _Key) -> str:
        """Say what is not known, and what to do."""
        name, requested = key
        known = sorted(str(each) for other, each in self._prompts if other == name)
        what = f"version {requested}" if isinstance(requested, int) else f"label {requested}"
        if not self._current.is_set():
            return (
                f"{what} of prompt {name} is not known: topic {self._topic} has not been read yet, and there is "
                f"{'nothing of it in the cache file' if self._cache else 'no cache file'} and no fallback. Call wait() "
                "when the process starts, and pass fallback= or cache=."
            )
        if not known:
            hint = f"; {nearest(name, self.names)}" if self.names else ""
            return (
                f"no prompt {name} is registered in topic {self._topic}{hint}. Register it with `barograph prompts "
                "register`."
            )
        remedy = (
            "Register it first"
            if isinstance(requested, int)
            else f"Set it with `barograph prompts label {name} VERSION {requested}`"
        )
        return f"prompt {name} has no {what}; it has {', '.join(known)}. {remedy}."

    # --- on the reader's thread ---------------------------------------------------------------------------------------

    def _receive(self, message: Any, _is_new: bool) -> None:
        value = message.value()
        if value is None:
            # A deleted record: what serving processes know stays in force.
            return
        try:
            record = decode_prompt_record(message.key(), value)
            if isinstance(record, PromptLabel):
                check_sequence(record.sequence, message)
        except ValueError as error:
            if not self._has_unreadable_record:
                self._has_unreadable_record = True
                _LOG.warning(
                    "an unreadable record in topic %s is ignored, as are further ones: offset %s: %s",
                    *(self._topic, message.offset(), error),
                )
            return
        if self._catalogue.add(record):
            self._has_changes = True

    def _confirm(self) -> None:
        """Everything that Kafka holds has been read."""
        self._current_at_s = self._monotonic()
        self._tick()
        self._current.set()

    def _tick(self) -> None:
        """Pass on changes, once everything has been read: labels of the past must not serve."""
        if self._current_at_s == float("-inf"):
            return
        source: PromptSource = "registry" if self._monotonic() - self._current_at_s < self._stale_s else "stale"
        if source == self._source and not self._has_changes:
            return
        is_changed = self._has_changes or self._source == "cache"
        self._source, self._has_changes = source, False
        self._index()
        if is_changed:
            self._write_cache()

    def _index(self) -> None:
        """Replace the dictionary in one step, so that a caller sees all of a change or nothing of it."""
        prompts: dict[_Key, Prompt] = {}
        for name in self._catalogue.names:
            for version in self._catalogue.versions(name):
                record = self._catalogue.version(name, version)
                assert record is not None
                prompts[name, version] = Prompt(content=record.content, version=version, source=self._source)
            for label, change in self._catalogue.labels(name).items():
                record = self._catalogue.version(name, change.version)
                if record is not None:
                    prompts[name, label] = Prompt(
                        content=record.content, version=change.version, label=label, source=self._source
                    )
        self._prompts = prompts

    def _read_cache(self) -> PromptCatalogue:
        if self._cache is not None:
            try:
                return read_cache(self._cache, self._topic) or PromptCatalogue()
            except (OSError, ValueError) as error:
                _LOG.warning("the cache file %s is ignored: %s", self._cache, error)
        return PromptCatalogue()

    def _write_cache(self) -> None:
        if self._cache is None:
            return
        try:
            write_cache(self._cache, self._topic, self._catalogue)
            self._cache_problem = ""
        except OSError as error:
            if str(error) != self._cache_problem:
                self._cache_problem = str(error)
                _LOG.warning("the cache file %s cannot be written: %s", self._cache, error)


# Each arm draws a number for each unit from a hash, and the arm with the smallest -ln(u) / share wins (weighted
# rendezvous hashing). The result depends on neither the order of the arms nor the other units. If one share grows or
# shrinks and the others keep their proportions, only units of that arm's difference move, and all of them to or from
# that arm.
TOLERANCE = 1e-6


def check_shares(shares: Mapping[str, float]) -> None:
    """Check that shares are numbers of at least 0 that sum to 1.

    Raises:
        ValueError: They are not.
    """
    for arm, share in shares.items():
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"the share of {arm!r} is {share!r}; write a number from 0 to 1")
    total = math.fsum(shares.values())
    if abs(total - 1) > TOLERANCE:
        raise ValueError(f"the shares sum to {total:g}; write shares that sum to 1")


def choose_arm(experiment: str, unit: str, shares: Mapping[str, float]) -> str:
    """Return the arm of a unit.

    Args:
        experiment: Makes the assignments of two experiments independent of each other.
        unit: Who or what is assigned, such as a user's id.
        shares: Arm → share; the sum is positive.
    """
    best, best_score = "", math.inf
    for arm in sorted(shares):
        if shares[arm] > 0:
            score = -math.log(_uniform(experiment, arm, unit)) / shares[arm]
            if score < best_score:
                best, best_score = arm, score
    return best


def _uniform(experiment: str, arm: str, unit: str) -> float:
    """Return a number in (0, 1) that looks uniform over units, the same on all machines."""
    text = "\0".join((experiment, arm, unit)).encode("utf-8", "surrogatepass")
    bits = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 12
    return (bits + 0.5) * 2.0**-52
