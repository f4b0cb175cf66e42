"""What a run hands to the storage beside its artifacts: its folder, and what the ledger paid for meanwhile."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import fsspec

from configs.settings import Settings
from flows.places import ledger_of, storage_of, storage_options
from tasks.errors import LlavaflowError
from tasks.ledger.exports import Exports
from tasks.sinks import failing_for_good


class Keeping:
    """Of one run. Does nothing where all is kept on this machine."""

    def __init__(self, settings: Settings, run: str, started: datetime, logger: logging.Logger) -> None:
        self.settings, self.run, self.started, self.logger = settings, run, started, logger
        self._known = False

    def before_asking(self) -> None:
        """Take in what other machines paid for, once a run. Raises DataError for an export that cannot be read."""
        exports = self._exports()
        if exports is not None and not self._known:
            if taken := exports.take_in():
                self.logger.info("ledger: %d answers that were paid for elsewhere", taken)
            self._known = True

    def after(self, folder: Path) -> str | None:
        """Write the ledger's export and the run's folder. Returns what went wrong, in words.

        A storage out of reach does not fail a run that has ended: its folder stays here.
        """
        runs = storage_of(self.settings, "runs")
        if runs is None:
            return None
        try:
            if self._known and (exports := self._exports()):
                exports.write(self.run, self.started.timestamp())
            with failing_for_good(f"{runs}/{self.run}"):
                filesystem = fsspec.core.url_to_fs(runs, **(storage_options(runs, self.settings) or {}))[0]
                for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                    filesystem.put_file(str(path), f"{runs}/{self.run}/{path.relative_to(folder).as_posix()}")
        except (OSError, LlavaflowError) as error:
            return f"{self.run} is not in the storage: {error}; copy {folder} there by hand"
        return None

    def _exports(self) -> Exports | None:
        uri = storage_of(self.settings, "ledger")
        if uri is None or self.settings.ledger_url:
            return None
        return Exports(ledger_of(self.settings), uri, storage_options(uri, self.settings))
