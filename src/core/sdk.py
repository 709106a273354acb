"""How clients of AWS are made."""

from typing import Final

from botocore.config import Config

CLIENT: Final = Config(user_agent="rotation-artist-backfill")
"""The name that CloudTrail shows; botocore would make up a longer one for every call, a tenth of what a call costs."""
