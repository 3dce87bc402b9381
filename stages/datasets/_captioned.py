"""Pictures with captions, groups and classes, as corpus, queries and qrels in whichever direction is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from stages.records import Document, Fault, Judgement, Note, Picture, Query, split_of, wrong_text
from stages.registry import Member
from stages.text import text_hash

Direction = Literal["text_to_image", "image_to_text", "both", "views", "classes"]


class Shown(NamedTuple):
    """A picture and what is known of it. One whose id comes again is the same picture with more captions."""

    file: str
    line: int
    id: Any
    picture: Picture
    captions: tuple[Any, ...] = ()
    group: Any = None  # pictures of one thing: a concept
    label: Any = None  # its class
    split: str | None = None  # null: by the stable hash of its group, or of its id


class Captioned(Member):
    """What every data set of pictures has: the direction, and how it is split. A subclass says what `shown` is."""

    direction: Direction = Field(
        "text_to_image",
        description="text_to_image: captions search pictures. image_to_text: pictures search captions. both: both, the corpus holding "
        "pictures and then captions. views: pictures search pictures, for SimCLR; of train a picture is its own positive, of "
        "dev and test the others of its group are. classes: pictures search the prompts of their classes, for zero-shot classification.",
    )
    prompt: str = Field(
        "a picture of {}", description="The prompt of a class, with {} for its name, where the direction is classes."
    )
    group_positives: bool = Field(
        False,
        description="Whether with views the others of a picture's group are positives in train too, which then learns from groups.",
    )
    dev: float = Field(
        0.1, ge=0, le=1, description="Share of groups in dev, where the data have no splits of their own."
    )
    test: float = Field(
        0.2, ge=0, le=1, description="Share of groups in test, where the data have no splits of their own."
    )

    column_names: ClassVar[Mapping[str, str]] = {}
    pictured: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dev + self.test > 1:
            raise ValueError(f"dev and test are shares of one whole: {self.dev} + {self.test} is more than 1")
        if "{}" not in self.prompt:
            raise ValueError("the prompt has no {} for the name of the class")
        return self

    @abstractmethod
    def shown(self) -> Iterator[Shown | Fault | Note]:
        """Every picture in order."""

    def documents(self) -> Iterator[Document | Fault | Note]:
        """Pictures, then captions, as the direction has them. What cannot be read is a fault of the corpus."""
        pictures = self.direction in ("text_to_image", "both", "views")
        ids: set[Any] = set()
        bare = 0
        for item in self.shown():
            if not isinstance(item, Shown):
                yield item
                continue
            bare += not item.captions
            if not pictures or _again(item.id, ids):
                continue
            caption = item.captions[0] if item.captions else ""
            yield Document(item.file, item.line, item.id, caption, None, item.group, item.picture, item.label)
        if self.direction in ("image_to_text", "both"):
            yield from self._captions()
        if self.direction == "classes":
            yield from self._classes()
        if bare and self.direction not in ("views", "classes"):
            yield Note(f"{bare:,} pictures have no caption")

    def queries(self) -> Iterator[Query]:
        """Captions, then pictures, as the direction has them."""
        if self.direction in ("text_to_image", "both"):
            seen: set[Any] = set()
            for item in self._sound():
                for caption in item.captions:
                    key = self._query_id(item, caption)
                    if not _again(key, seen):
                        yield Query(item.file, item.line, key, caption)
        if self.direction != "text_to_image":
            ids: set[Any] = set()
            for item in self._sound():
                if not _again(item.id, ids):
                    caption = item.captions[0] if item.captions else ""
                    yield Query(item.file, item.line, item.id, caption, picture=item.picture)

    def judgements(self) -> Iterator[Judgement]:
        """Which caption, picture or class belongs to which."""
        if self.direction == "views":
            yield from self._of_views()
            return
        for item in self._sound():
            split = self._split(item)
            if self.direction == "classes":
                if item.label is not None:
                    yield Judgement(item.file, item.line, item.id, item.label, 1, split)
                continue
            for caption in item.captions:
                if self.direction in ("text_to_image", "both"):
                    yield Judgement(item.file, item.line, self._query_id(item, caption), item.id, 1, split)
                if self.direction in ("image_to_text", "both"):
                    yield Judgement(item.file, item.line, item.id, _caption_id(caption), 1, split)

    def _sound(self) -> Iterator[Shown]:
        return (item for item in self.shown() if isinstance(item, Shown))

    def _split(self, item: Shown) -> str:
        if item.split is not None:
            return item.split
        key = item.id if item.group is None else item.group
        return split_of(key if isinstance(key, str) else repr(key), self.dev, self.test)

    def _query_id(self, item: Shown, caption: Any) -> str:
        """Of a caption in one split: pictures of one split that share it are its positives."""
        return f"{self._split(item)}/{_caption_id(caption)}"

    def _captions(self) -> Iterator[Document]:
        seen: set[str] = set()
        for item in self._sound():
            for caption in item.captions:
                key = _caption_id(caption)
                if not _again(key, seen):
                    yield Document(item.file, item.line, key, caption, None, item.group, None, item.label)

    def _classes(self) -> Iterator[Document]:
        seen: set[Any] = set()
        for item in self._sound():
            if item.label is not None and not _again(item.label, seen):
                text = self.prompt.replace("{}", item.label) if isinstance(item.label, str) else item.label
                yield Document(item.file, item.line, item.label, text, label=item.label)

    def _of_views(self) -> Iterator[Judgement]:
        members: dict[str, list[Any]] = {}
        for item in self._sound():
            if isinstance(item.group, str):  # ingest refuses any other
                members.setdefault(item.group, []).append(item.id)
        ids: set[Any] = set()
        for item in self._sound():
            if _again(item.id, ids):
                continue
            split = self._split(item)
            if split == "train":
                yield Judgement(item.file, item.line, item.id, item.id, 1, split)
            if isinstance(item.group, str) and (split != "train" or self.group_positives):
                for other in members.get(item.group, ()):
                    if other != item.id:
                        yield Judgement(item.file, item.line, item.id, other, 1, split)


def _again(key: Any, seen: set[Any]) -> bool:
    """Whether a key was seen before; an id that is none is not held, and ingest refuses it."""
    if not isinstance(key, str):
        return False
    if key in seen:
        return True
    seen.add(key)
    return False


def _caption_id(caption: Any) -> str:
    """Captions that are equal after normalising have one id; one that is no text is refused by ingest."""
    if wrong_text(caption):
        return f"caption/{caption!r:.40}"
    return f"caption/{text_hash(caption) & (1 << 64) - 1:016x}"
