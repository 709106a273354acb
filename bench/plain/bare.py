"""A handler that does nothing: what no function can be faster than."""


def handler(_: object, __: object) -> dict[str, object]:
    return {}
