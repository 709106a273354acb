"""How clients of AWS are made."""

from typing import Final

from botocore.config import Config

CLIENT: Final = Config(user_agent="rotation-artist-backfill", connect_timeout=3, read_timeout=10)
"""The name that CloudTrail shows; botocore would make up a longer one for every call, a tenth of what a call costs.

Seconds: a call that hangs is made again within the 20 s that a part keeps for committing; botocore would wait 60.
"""
