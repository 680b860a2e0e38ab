"""The context of an answer from documents: those that it cites, or the passages that overlap with it most."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from barograph_server.streams.evaluator.checks.claims import claims_of_answer
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.checks.passages import MAX_PASSAGE_CHARS, Passage, PassageIndex

MAX_CONTEXT_CHARS = 8_000
"""Characters of documents in the context of one answer, without ids and marks."""
CONTEXT_RULES = (1, MAX_CONTEXT_CHARS, MAX_PASSAGE_CHARS)
"""Part of the version of judges with documents: raise the first number when contexts are selected differently."""
OMISSION = "[…]"
"""Stands for a part of a document that is not in the context."""


class DocumentContext:
    """Selects the context of answers from documents. Several threads may share it."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        """Prepare the documents.

        Args:
            documents: the text of each document by its id.

        Raises:
            AnswerCheckError: ids differ in case only, or documents are too long.
        """
        self._texts = dict(documents)
        self._documents = DocumentSet(documents)
        self._index = PassageIndex(documents)
        self._with_text = {passage.document_id for passage in self._index.passages}

    def select(self, question: str, answer: str) -> str:
        """Return the context of an answer; empty if no document overlaps with question and answer.

        It has the documents that the answer cites, whole if they fit into `MAX_CONTEXT_CHARS`, else the passages of
        them that overlap most with question and answer. If the answer cites none, it has such passages of all
        documents. Documents are in the order of their ids, passages in that of the document.

        Raises:
            AnswerCheckError: the answer cites so many documents that some have no passage in the context.
        """
        cited = self._cited(answer)
        if cited and sum(len(self._texts[each]) for each in cited) <= MAX_CONTEXT_CHARS:
            return _joined((each, self._texts[each]) for each in sorted(cited))
        weights = self._index.overlaps(question, answer)
        passages = self._index.passages
        candidates = [i for i, passage in enumerate(passages) if passage.document_id in cited] if cited else [*weights]
        ranked = sorted(candidates, key=lambda index: (-weights.get(index, 0.0), index))
        chosen = self._fitting([*self._best_of_each(ranked), *ranked] if cited else ranked)
        missing = cited - {passages[index].document_id for index in chosen}
        if missing:
            raise AnswerCheckError(f"the answer cites {len(cited)} documents, of which {len(missing)} do not fit")
        by_document = groupby((passages[index] for index in sorted(chosen)), lambda passage: passage.document_id)
        return _joined((each, "".join(self._parts(each, own))) for each, own in by_document)

    def _cited(self, answer: str) -> set[str]:
        """Return the documents that an answer cites, except for those without text."""
        names = {claim.document_id for claim in claims_of_answer(answer, self._documents).claims}
        cited = (self._documents.id_of(name) for name in names if name is not None)
        return {each for each in cited if each is not None} & self._with_text

    def _best_of_each(self, ranked: list[int]) -> list[int]:
        """Return the first passage of each document, so that a long document does not displace the others."""
        best: dict[str, int] = {}
        for index in ranked:
            best.setdefault(self._index.passages[index].document_id, index)
        return list(best.values())

    def _fitting(self, ranked: list[int]) -> set[int]:
        chosen: set[int] = set()
        left = MAX_CONTEXT_CHARS
        for index in ranked:
            length = len(self._index.passages[index].text)
            if index not in chosen and length <= left:
                chosen.add(index)
                left -= length
        return chosen

    def _parts(self, document_id: str, passages: Iterable[Passage]) -> Iterator[str]:
        end = 0
        for passage in passages:
            if passage.start > end:
                yield f"\n{OMISSION}\n"
            yield passage.text
            end = passage.end
        if end < len(self._texts[document_id]):
            yield f"\n{OMISSION}\n"


def _joined(texts: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"[{document_id}]\n{text.strip()}" for document_id, text in texts)
