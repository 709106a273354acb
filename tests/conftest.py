"""What all tests share."""

import os

from hypothesis import settings

# CI tries the same examples every time, so that a change is judged by what it changes; a developer tries new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
