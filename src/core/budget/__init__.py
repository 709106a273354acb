"""The one pace at which all slots call Discogs."""
