"""Views: the kinds of positive and negative views, the choice of donors, and the cutting of all views of a question.

In: a decoded image, a question with its evidence, settings. Out: encoded views, with every seed and setting that shaped
their pixels. Loads no model library: worker processes import it."""

from __future__ import annotations

from viewgen.views.cutting import ViewsConfig, cut_views, recompute_view
from viewgen.views.donors import DonorCandidate, choose_donors
from viewgen.views.kinds import KINDS, Kind, kind_modules, kinds_of, register

__all__ = [
    "KINDS",
    "DonorCandidate",
    "Kind",
    "ViewsConfig",
    "choose_donors",
    "cut_views",
    "kind_modules",
    "kinds_of",
    "recompute_view",
    "register",
]
