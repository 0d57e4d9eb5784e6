"""Messages as frames of bytes, and back."""

from typing import TypeVar

import msgspec

from agents.protocol.constants import MAX_FRAME
from agents.protocol.to_agent import ToAgent
from agents.protocol.to_manager import ToManager

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_to_manager = msgspec.msgpack.Decoder(ToManager)
_to_agent = msgspec.msgpack.Decoder(ToAgent)


class MalformedFrame(ValueError):
    """A frame is too long, not MessagePack, or not a message of this protocol."""


def encode(message: ToManager | ToAgent) -> bytes:
    return _encoder.encode(message)


def decode_to_manager(frame: bytes) -> ToManager:
    """Read a frame that an agent sent.

    Raises:
        MalformedFrame: with what is wrong and where; never anything else, whatever the bytes are.
    """
    return _decode(_to_manager, frame)


def decode_to_agent(frame: bytes) -> ToAgent:
    """Read a frame that the manager sent. Raises as `decode_to_manager`."""
    return _decode(_to_agent, frame)


def _decode(decoder: "msgspec.msgpack.Decoder[T]", frame: bytes) -> T:
    if len(frame) > MAX_FRAME:
        raise MalformedFrame(f"frame of {len(frame)} bytes; at most {MAX_FRAME} are allowed")
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise MalformedFrame(str(error)) from error
