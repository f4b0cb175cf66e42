"""Where promotions of this installation are locked and written down: a database, S3, or files under the root.

The database of LLAVAFLOW_LEDGER_URL where that is set, else the S3 of LLAVAFLOW_STORAGE or LLAVAFLOW_STORE, else
files: what several machines share already is what they lock by.
"""

from __future__ import annotations

from configs.settings import Settings
from flows.places import storage_options
from tasks.register.audit import JsonlAudit
from tasks.register.database import Database, DatabaseAudit, database_lock
from tasks.register.desk import Desk, RegistryPort
from tasks.register.lock import file_lock
from tasks.register.objects import Bucket, ObjectAudit, object_lock

TRAIL, LOCK = "registry-audit.jsonl", "registry-audit.lock"


def desk_of(settings: Settings, registry: RegistryPort, who: str = "", run: str = "", flow_run: str = "") -> Desk:
    """The desk of a model and its alias."""
    name = f"{registry.name}/{registry.alias}"
    if settings.ledger_url:
        database = Database(settings.ledger_url)
        audit, lock = DatabaseAudit(database), lambda: database_lock(database, name)
        return Desk(registry, audit, lock, who=who, run=run, flow_run=flow_run)
    shared = settings.storage or settings.store
    if shared and shared.startswith("s3://"):
        bucket = Bucket(shared, storage_options(shared, settings))
        return Desk(
            registry, ObjectAudit(bucket), lambda: object_lock(bucket, name), who=who, run=run, flow_run=flow_run
        )
    home = settings.home()
    return Desk(
        registry, JsonlAudit(home / TRAIL), lambda: file_lock(home / LOCK), who=who, run=run, flow_run=flow_run
    )
