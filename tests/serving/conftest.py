"""Where the extra "web" is not installed, nothing of this folder runs."""

from importlib.util import find_spec

PACKAGES = ("fastapi", "fastapi_offline", "python_multipart", "uvicorn", "httpx2")
collect_ignore_glob = [] if all(map(find_spec, PACKAGES)) else ["*.py"]
