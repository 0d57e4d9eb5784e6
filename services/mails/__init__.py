"""Mails: written down in the transaction of what they tell, and sent by one manager at a time."""

from services.mails.deliver import Sender, purge
from services.mails.queue import (
    ORDERS,
    MailFilter,
    are_delayed,
    find,
    get,
    make,
    many,
    page,
    retry,
    total,
    write,
)
from services.mails.templates import LANGUAGES
from services.mails.transports import Configured, MailRefused, Outbox, SmtpServer, Transport

__all__ = [
    "LANGUAGES",
    "ORDERS",
    "Configured",
    "MailFilter",
    "MailRefused",
    "Outbox",
    "Sender",
    "SmtpServer",
    "Transport",
    "are_delayed",
    "find",
    "get",
    "make",
    "many",
    "page",
    "purge",
    "retry",
    "total",
    "write",
]
