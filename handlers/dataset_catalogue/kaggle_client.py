"""
Kaggle's API through `kagglesdk`, whose client has a limit neither to its patience nor to what it reads.

Stands on methods of version 0.1.37 that are not public (`_init_session`, `_try_fill_auth`): it reads tokens from files
of the user and from the environment, whatever it was given, sends requests that never time out, and has no way to say
where to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import requests
from kagglesdk.datasets.services.dataset_api_service import DatasetApiClient
from kagglesdk.datasets.types.dataset_api_service import (
    ApiDataset,
    ApiDownloadDatasetRequest,
    ApiGetDatasetRequest,
    ApiListDatasetsRequest,
)
from kagglesdk.datasets.types.dataset_enums import DatasetSortBy
from kagglesdk.kaggle_env import KaggleEnv
from kagglesdk.kaggle_http_client import KaggleHttpClient

from handlers.dataset_catalogue.claims import Claimed
from handlers.dataset_catalogue.descriptions import Description, aware
from handlers.dataset_catalogue.dropped import BEGUN, Allowance
from handlers.dataset_catalogue.faults import NoSuchDataset, SourceAway
from handlers.dataset_catalogue.site import Site
from handlers.dataset_catalogue.web import AGENT, Patience, check, told

SOURCE: Final = "kaggle"

PIECE: Final = 1 << 20
"""Bytes of a download that are in memory."""


class _Checked(Patience):
    """Tells errors by their status, before the client looks for JSON in a body that may have none."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.timeout_seconds)
        self._site = site

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; raises what the status of its answer means."""
        answer = super().send(*args, **kwargs)
        check(answer, f"kaggle: {answer.request.path_url}", self._site)
        return answer


class _Http(KaggleHttpClient):  # type: ignore[misc]  # it has no types
    """The client's connection."""

    def __init__(self, site: Site) -> None:
        given = site.credentials
        super().__init__(
            env=KaggleEnv.PROD, username=given.kaggle_username, password=given.kaggle_key, user_agent=AGENT
        )
        self._endpoint = site.endpoints[SOURCE]
        self._site = site

    def _init_session(self) -> requests.Session:
        is_new = self._session is None
        super()._init_session()
        session: requests.Session = self._session
        if is_new:
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Checked(self._site))
        return session

    def _try_fill_auth(self) -> None:
        token = self._site.credentials.kaggle_token
        if token is not None:
            self._session.auth = self.BearerAuth(token)
        elif self._username and self._password:
            self._session.auth = (self._username, self._password)
        self._signed_in = self._session.auth is not None


class Kaggle:
    """Asks Kaggle, one request at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._http = _Http(site)
        self._client = DatasetApiClient(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.__exit__(None, None, None)

    def pages(self, sort_by: str, page_size: int) -> Iterator[list[Description]]:
        """Yield pages of the listing; raises as `dataset` does."""
        request = ApiListDatasetsRequest()
        request.sort_by = DatasetSortBy[f"DATASET_SORT_BY_{sort_by.upper()}"]
        request.page_size = page_size
        while True:
            self._site.pace(SOURCE).turn()
            with told(SOURCE, "listing"), _understood("listing"):
                answer = self._client.list_datasets(request)
                page = [_description(found) for found in answer.datasets]
            yield page
            if not page or not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def dataset(self, claimed: Claimed) -> Description:
        """
        Ask for one dataset.

        Raises:
            NoSuchDataset: Kaggle has none of this name and number, or does not show it.
            RateLimited, SourceAway, SourceRefuses, Stopped: As `faults` says.
        """
        if claimed.ref is None:
            return self._searched(claimed)
        request = ApiGetDatasetRequest()
        request.owner_slug, _, request.dataset_slug = claimed.ref.partition("/")
        self._site.pace(SOURCE).turn()
        with told(SOURCE, claimed.ref), _understood(claimed.ref):
            found = _description(self._client.get_dataset(request))
        if found.external_id != claimed.external_id:
            raise NoSuchDataset(f"kaggle: {claimed.ref} is number {found.external_id} now, not {claimed.external_id}")
        return found

    def _searched(self, claimed: Claimed) -> Description:
        """Nobody told who owns it: among those that its slug finds, it is the one with the number."""
        if claimed.slug is None:
            raise NoSuchDataset(f"kaggle: number {claimed.external_id} has no slug to search for")
        request = ApiListDatasetsRequest()
        request.search = claimed.slug
        self._site.pace(SOURCE).turn()
        with told(SOURCE, claimed.slug), _understood(claimed.slug):
            for found in self._client.list_datasets(request).datasets:
                if str(found.id) == claimed.external_id:
                    return _description(found)
        raise NoSuchDataset(f"kaggle: searching for {claimed.slug!r} does not find number {claimed.external_id}")

    def download(self, owner: str, slug: str, name: str, place: Path) -> None:
        """
        Download a file of a dataset, whole or not at all.

        Raises:
            TooLarge: It is longer than a file may be; and what `dataset` raises.
        """
        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug, request.file_name = owner, slug, name
        partial = place.with_name(f"{place.name}{BEGUN}")
        self._site.pace(SOURCE).turn()
        try:
            with told(SOURCE, name), self._client.download_dataset(request) as answer, partial.open("wb") as file:
                for piece in Allowance(name, self._site.max_uncompressed_bytes).take(answer.iter_content(PIECE)):
                    self._site.check_stop()
                    file.write(piece)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Kaggle's client reads answers as they should be: any other ends in whatever it stumbles over."""
    try:
        yield
    except requests.RequestException:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceAway(f"kaggle: {what}: an answer that makes no sense: {error}") from error


def _description(found: ApiDataset) -> Description:
    # What Kaggle does not tell, its client has as an empty text, or 0. No dataset has no bytes; some have no votes.
    if not isinstance(found.id, int) or not found.id:
        raise ValueError("a dataset without a number")
    meta = {
        "subtitle": found.subtitle or None,
        "version": found.current_version_number or None,
        "kernels": found.kernel_count,
        "usability": found.usability_rating,
        "owner": found.owner_name or None,
        "private": found.is_private,
    }
    formats = sorted({file.file_type.lower().lstrip(".") for file in found.files if file.file_type})
    columns = [column.name for file in found.files for column in file.columns if column.name]
    return Description(
        external_id=str(found.id),
        ref=found.ref or None,
        title=found.title or None,
        url=found.url or None,
        description=found.description or None,
        tags=[tag.name for tag in found.tags] or None,
        license=found.license_name or None,
        file_formats=formats or None,
        total_size_bytes=found.total_bytes or None,
        column_names=columns or None,
        download_count=found.download_count,
        view_count=found.view_count,
        like_count=found.vote_count,
        source_updated_at=aware(found.last_updated),
        source_meta={name: value for name, value in meta.items() if value is not None},
    )
