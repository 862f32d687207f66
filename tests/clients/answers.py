"""What every answer must look like (the vendor's envelope), and the texts of the vendor's code table."""

import re

TEXTS = {
    1002: "access_token is null",
    1003: "grant type invalid",
    1004: "sign invalid",
    1005: "clientId invalid",
    1010: "token invalid",
    1013: "request time is invalid",
    1100: "param is empty",
    1101: "params range invalid",
    1105: "missing the header",
    1106: "permission deny",
    1108: "uri path invalid",
    1109: "param is illegal, please check it",
    1199: "your requests are too frequent",
    2001: "device is offline",
    2003: "function not support",
    2006: "user not exist",
    2008: "command or value not support",
    2009: "not support this device",
    2021: "Illegal phone",
    2022: "Illegal email",
    2401: "username or password wrong",
    2403: "country code not support this area",
    2406: "skill id invalid",
    2503: "scene not exist",
}


def _envelope(answer, members):
    assert set(answer) == members | {"success", "t", "tid"}, answer
    assert type(answer["t"]) is int and len(str(answer["t"])) == 13, answer
    assert re.fullmatch("[0-9a-f]{32}", answer["tid"]), answer


def good(answer):
    """The result of a success."""
    assert answer["success"] is True, answer
    _envelope(answer, {"result"})
    return answer["result"]


def done(answer):
    """A success that says no more than that."""
    assert good(answer) is True, answer


def refused(answer, code):
    """A failure, with the vendor's number and text."""
    assert answer["success"] is False, answer
    _envelope(answer, {"code", "msg"})
    assert type(answer["code"]) is int, answer
    assert (answer["code"], answer["msg"]) == (code, TEXTS[code])


def types_of(members):
    """The JSON type of each member, for comparing a whole shape at once."""
    return {name: type(value) for name, value in members.items()}


ANY = object()


def assert_shape(value, shape):
    """Exactly these members and types, all the way down. A shape is a type, `ANY`, a dictionary of shapes, the shape of a
    list's rows in a list, or an empty list for an empty one. A member whose name ends in "?" need not be there."""
    if isinstance(shape, dict):
        shape = {name.rstrip("?"): inner for name, inner in shape.items()
                 if not name.endswith("?") or name.rstrip("?") in value}
        flat = {name: inner if isinstance(inner, type) else type(value.get(name)) for name, inner in shape.items()}
        assert types_of(value) == flat
        for name, inner in shape.items():
            assert_shape(value[name], inner)
    elif isinstance(shape, list):
        assert isinstance(value, list) and bool(value) == bool(shape), value
        for row in value:
            assert_shape(row, shape[0])
    else:
        assert shape is ANY or type(value) is shape, (value, shape)
