"""What an evaluation leaves for its report: small files of one kind each, beside the predictions.

Evaluators count while they score, gather as they do, and write ``records/<task>.json`` in their
output folder. A record's size follows the number of classes, not that of pictures.
"""

from .files import RECORDS, RecordError, read_json, write_record
from .instances import instance_record
from .panoptic import PanopticRecord
from .run import TimedEvaluator
from .semantic import SemanticRecord

__all__ = [
    "RECORDS",
    "PanopticRecord",
    "RecordError",
    "SemanticRecord",
    "TimedEvaluator",
    "instance_record",
    "read_json",
    "write_record",
]
