"""Views: the kinds of positive and negative views, and the cutting of all views of a question.

In: a decoded image, evidence and settings. Out: encoded views, with every seed and setting that shaped their pixels.
Loads no model library: worker processes import it."""

from __future__ import annotations

from viewgen.views.cut_views import ViewsConfig, cut_views, recompute_view
from viewgen.views.kinds import Kind

__all__ = ["Kind", "ViewsConfig", "cut_views", "recompute_view"]
