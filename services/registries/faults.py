"""What can be wrong with a registry, or with one image in it.

RegistryFault
├── Unreachable       UNREACHABLE        no answer, an answer that is too late, or one that asks to come back later
├── WrongPassword     WRONG_PASSWORD     it does not let us in
├── NotThere          NOT_THERE          it has no such thing, or does not say so
├── BadAnswer         BAD_ANSWER         what it answers is not what a registry answers
├── Elsewhere         ELSEWHERE          it sends us where we do not go
└── BrokenManifest    BROKEN_MANIFEST    an image's own documents are not what they should be
"""

from typing import ClassVar


class RegistryFault(Exception):
    """`message`: for an administrator, with what to do where something can be done."""

    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(RegistryFault):
    code = "UNREACHABLE"


class WrongPassword(RegistryFault):
    code = "WRONG_PASSWORD"


class NotThere(RegistryFault):
    code = "NOT_THERE"


class BadAnswer(RegistryFault):
    code = "BAD_ANSWER"


class Elsewhere(RegistryFault):
    code = "ELSEWHERE"


class BrokenManifest(RegistryFault):
    code = "BROKEN_MANIFEST"
