"""The picker as one long-lived process: an ASGI app under uvicorn, with the settings of its functions on Lambda."""
