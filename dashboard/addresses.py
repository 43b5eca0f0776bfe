"""Where the dashboard listens, and what a browser is told about it. Light."""

from __future__ import annotations

import ipaddress
import os
import socket

from attribution.errors import UsageError

THIS_MACHINE = "127.0.0.1"
"""The default: the dashboard reads any project directory its user can read, and task files run code."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that mean all of a machine's, and one of them at which it can be reached from itself."""


class AddressError(UsageError):
    """The address that was asked for is none of this machine."""


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if address.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_address(address: str) -> None:
    """Refuse an address at which nothing of this machine can listen.

    Raises:
        AddressError: it is not an address, or not one of this machine.
    """
    try:
        problem = why_not(address, 0)
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    if problem:
        raise AddressError(
            f"'{address}' cannot be listened on ({problem}): give --address an address of this machine, or 0.0.0.0 for "
            "all of them."
        )


def why_not(address: str, port: int) -> str | None:
    """None if the port can be listened on at the address, else the reason.

    Raises:
        OSError: there is no such address.
    """
    family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        if os.name == "posix":  # elsewhere the option lets two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None


def url_of(address: str, port: int) -> str:
    """Where this machine's own browser finds it."""
    host = _EVERYWHERE.get(address, address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
