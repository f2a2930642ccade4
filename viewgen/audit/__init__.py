"""The audit: what a view shows of the evidence, in what else it differs from the positive, and which flags that raises.

In: cut views, the models that searched for the evidence. Out: measured and flagged views, or a rejected question."""

from __future__ import annotations

from viewgen.audit.auditor import Auditor, measure
from viewgen.audit.flags import FLAGS, AuditConfig

__all__ = ["FLAGS", "AuditConfig", "Auditor", "measure"]
