"""Names, versions, bounds and close codes of the link."""

PROTOCOL = 1
SUBPROTOCOL = "berth-link.1"
STREAM_SUBPROTOCOL = "berth-stream.1"

#: No frame is longer than this (bytes); a longer one ends the connection with close code 1009.
MAX_FRAME = 4 * 1024 * 1024
#: An agent sends at most this many events that are not acknowledged yet.
EVENT_WINDOW = 32
#: A kernel's log kept after its end is at most this long (bytes, the newest kept).
MAX_KEPT_LOG = 1024 * 1024

# Websocket close codes of our own (RFC 6455 §7.4.2 leaves 4000–4999 to applications).
CLOSE_BAD_CREDENTIAL = 4401
CLOSE_PROTOCOL = 4406
CLOSE_MALFORMED = 4400
CLOSE_SUPERSEDED = 4409
CLOSE_REMOVED = 4410
CLOSE_NO_STREAM = 4404
#: These end one connection only; the agent dials again and replays from what was acknowledged.
CLOSE_SILENT = 4408
CLOSE_GAP = 4411
CLOSE_FLOOD = 4429
