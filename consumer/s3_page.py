"""One page of a listing: from XML to keys. A thousand keys cost some 5 ms, most of them libxml2's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_plus

from lxml import etree

from consumer.s3_errors import XML
from consumer.s3_object import unquoted
from handlers.contract import TransientError

FIELDS: Final = ("Key", "ETag", "Size", "LastModified")


class Entry(NamedTuple):
    """A listed object."""

    key: str
    etag: str
    """Without quotes; empty when the store gives none."""
    size: int
    modified: int
    """Epoch milliseconds in whole seconds, which is what a HEAD tells."""


class Page(NamedTuple):
    """What one request brought."""

    entries: list[Entry]
    folders: list[str]
    """What keys begin with up to their next slash, where these were asked for instead of the keys."""
    token: str
    """Asks for the next page; empty on the last."""


def page_query(prefix: str, after: str, token: str, *, folders: bool = False) -> str:
    """
    Return the query of a page.

    Args:
        prefix: Of the keys.
        after: The key before the first one; left out where it lies before the prefix, as some stores then list nothing.
        token: Of the page before; stands for `after`.
        folders: Keys that go on beyond a slash after the prefix are not wanted, only what they begin with.
    """
    asked = {
        "delimiter": "/" if folders else "",
        "list-type": "2",
        "encoding-type": "url",
        "prefix": prefix,
        "continuation-token": token,
    }
    if not token and after > prefix:
        asked["start-after"] = after
    return "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in asked.items() if value)


def parsed(body: bytes, bucket: str) -> Page:
    """
    Read a page.

    Raises:
        TransientError: It is not one.
    """
    try:
        root = etree.fromstring(body, XML)
        *object_texts, folder_texts = _texts(root.tag.rpartition("}")[0].removeprefix("{"))
        columns = [texts(root) for texts in object_texts]
        ours = {etree.QName(child).localname: child.text or "" for child in _beside_the_entries(root)}
        keys, etags, sizes, times = columns if len({*map(len, columns)}) == 1 else _uneven(root)
        folders = folder_texts(root)
        if ours.get("EncodingType") == "url":
            keys, folders = _decoded(keys), _decoded(folders)
        entries = list(map(Entry, keys, map(unquoted, etags), map(int, sizes), _times(times)))
    except (etree.XMLSyntaxError, ValueError, TypeError) as error:
        raise TransientError(f"bucket {bucket}: the store's listing cannot be read: {error}") from error
    more = ours.get("IsTruncated") == "true"
    if more and not ours.get("NextContinuationToken"):
        raise TransientError(f"bucket {bucket}: the store's listing does not say how it goes on")
    return Page(entries, folders, ours["NextContinuationToken"] if more else "")


@cache
def _texts(namespace: str) -> Sequence[Callable[[Any], Any]]:
    """Return what reads one field of all objects, for each field; then what reads the folders."""
    prefix, known = ("s:", {"s": namespace}) if namespace else ("", None)
    paths = [f"{prefix}Contents/{prefix}{field}/text()" for field in FIELDS]
    paths.append(f"{prefix}CommonPrefixes/{prefix}Prefix/text()")
    return [etree.XPath(path, namespaces=known, smart_strings=False) for path in paths]


def _beside_the_entries(root: Any) -> Iterator[Any]:
    return root.xpath("*[not(*)]", smart_strings=False)  # type: ignore[no-any-return]


def _uneven(root: Any) -> list[list[str]]:
    """Return the fields where some objects lack one, object by object."""
    namespace = root.tag.rpartition("}")[0]
    start = namespace + "}" if namespace else ""
    found = root.findall(f"{start}Contents")
    return [[entry.findtext(f"{start}{field}", "") for entry in found] for field in FIELDS]


def _decoded(keys: list[str]) -> list[str]:
    joined = "".join(keys)
    if "%" not in joined and "+" not in joined:
        return keys
    return [unquote_plus(key) for key in keys]


def _times(times: Iterable[str]) -> Iterator[int]:
    known: dict[str, int] = {}
    for text in times:
        second = text[:19]
        at = known.get(second)
        if at is None:
            at = known[second] = int(datetime.fromisoformat(f"{second}+00:00").timestamp()) * 1000
        yield at
