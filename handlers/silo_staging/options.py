"""Options of a SILO route: what a person may set in `[routes.options]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from handlers.silo_staging.config import Coordination
from handlers.silo_staging.paths import is_name


class Options(BaseModel):
    """How the folders of a route become databases of SILO."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path | None = Field(
        default=None,
        description="Folder of the staging areas, one for each organism, shared with SILO; unset: `silo` in the home.",
    )
    coordination: Coordination = Field(
        default="sentinels",
        description="Who runs SILO. `sentinels`: somebody who watches `<root>/<organism>/preprocessing/input` for the "
        "file `run_silo`, such as infra/silo/kubernetes/watch.sh. `direct`: this process.",
    )
    silo: Path = Field(default=Path("/usr/local/bin/silo"), description='The program, for `coordination = "direct"`.')
    preprocessing_config: str = Field(
        default="preprocessing_config.yaml",
        description='SILO\'s configuration, for `coordination = "direct"`: a path, or the name of a file that lies in '
        "the folder of the organism.",
    )
    silo_timeout_seconds: float = Field(default=3600, gt=0, description="How long a run of SILO may take.")
    lineages: dict[str, dict[int, str]] = Field(
        default_factory=dict,
        description="Addresses of lineage definitions by system and version of the pipeline: "
        '`{ pango = { 1 = "http://…/lineages.yaml" } }`.',
    )
    hierarchical_filters: dict[str, str] = Field(
        default_factory=dict,
        description="Addresses of services that know the hierarchy above values, by field of the metadata.",
    )
    backends: dict[str, str] = Field(
        default_factory=dict,
        description="Addresses of backends by organism, for organisms whose releases are polled instead of dropped: "
        '`{ ebola = "http://backend:8079/ebola" }`.',
    )
    poll_seconds: float = Field(default=30, gt=0, description="Time between two polls of a backend.")
    hard_refresh_seconds: float = Field(
        default=3600, gt=0, description="How often everything is taken from a backend again, whatever it says."
    )
    on_delete: Literal["keep", "remove"] = Field(
        default="keep",
        description="What becomes of an organism whose folder is gone. `keep`: SILO keeps it. `remove`: its staging "
        "area is removed, with what SILO made of it.",
    )

    @field_validator("lineages", "hierarchical_filters", "backends")
    @classmethod
    def _names_files(cls, given: dict[str, object]) -> dict[str, object]:
        for name in given:
            if not is_name(name):
                raise ValueError(f"{name!r} cannot be the name of a file")
        return given
