"""``report.html``: an evaluation as a page, made of the files that it left in OUTPUT_DIR."""

from .build import REPORT, build_page, write_report
from .run_info import RUN_FILE, Published, write_run_info

__all__ = ["REPORT", "RUN_FILE", "Published", "build_page", "write_report", "write_run_info"]
