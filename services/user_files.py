"""A CSV file of users: its rows, and what is wrong with each cell by itself. Nothing is looked up.

    email,name,full_name,description,role,groups,policy,password

The first line names the columns, in any order; only `email` has to be there. Groups are names, separated by blanks,
semicolons or `|`. What is in the file goes into cells of other people's spreadsheets again, so texts that would be formulas
there are refused (CWE-1236).
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from services import inputs, passwords
from services.db.tables import User
from services.errors import Problems
from services.permissions import RANK

COLUMNS: Final = ("email", "name", "full_name", "description", "role", "groups", "policy", "password")
MOST_CHARACTERS: Final = 512 * 1024
MOST_ROWS: Final = 1000
_FORMULA: Final = re.compile(r"[=+@\t\r-].")
_SEPARATORS: Final = re.compile(r"[\s;|]+")


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a cell, and what would be right."""

    #: Of the file, from 1; 0: of the file as a whole.
    line: int
    #: Empty: the line as a whole.
    column: str
    message: str


@dataclass
class Row:
    """One user of the file; `user` once it is made."""

    line: int
    email: str
    name: str
    full_name: str = ""
    description: str = ""
    role: str = "USER"
    group_names: Sequence[str] = ()
    policy_name: str = ""
    #: It is there already and stays as it is.
    skipped: bool = False
    password: str | None = field(default=None, repr=False)
    generated: bool = False
    user: User | None = None
    ticket: str | None = field(default=None, repr=False)


class _Broken(Exception):
    """A record that is not CSV; `line` is where it begins."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read(text: str) -> tuple[list[Row], list[Wrong]]:
    """The rows of a file, and what is wrong with them by themselves. Nothing is looked up."""
    text = text.removeprefix("\ufeff")
    if len(text) > MOST_CHARACTERS:
        return [], [Wrong(0, "", f"A file has at most {MOST_CHARACTERS} characters; send it in parts.")]
    if "\ufffd" in text:
        return [], [Wrong(0, "", "Some characters were lost on the way; save the file as UTF-8.")]
    lines = _lines(text)
    rows: list[Row] = []
    problems: list[Wrong] = []
    seen: dict[str, int] = {}
    try:
        line, header = next(lines, (1, []))
        columns = [cell.strip().lower() for cell in header]
        problems += _check_header(line, columns)
        if problems:
            return [], problems
        for line, cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) == MOST_ROWS:
                problems.append(Wrong(line, "", f"At most {MOST_ROWS} users at once; send them in parts."))
                break
            row, wrong = _row(line, columns, cells)
            if row.email and row.email in seen:
                wrong.append(Wrong(line, "email", f"The address is in line {seen[row.email]} already."))
            seen.setdefault(row.email, line)
            rows.append(row)
            problems += wrong
    except _Broken as broken:
        return [], [
            *problems,
            Wrong(broken.line, "", f"This is not CSV: {broken}. Put texts into double quotes."),
        ]
    if not rows and not problems:
        problems.append(Wrong(0, "", "There are no users in it."))
    return rows, problems


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each record. What separates cells is what does so in the first line."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise _Broken(begin, str(error)) from error


def _check_header(line: int, columns: Sequence[str]) -> list[Wrong]:
    problems = [
        Wrong(line, column, f"There is no such column; there are {', '.join(COLUMNS)}.")
        for column in dict.fromkeys(columns)
        if column not in COLUMNS
    ]
    problems += [
        Wrong(line, column, "The column is there twice.")
        for column in COLUMNS
        if list(columns).count(column) > 1
    ]
    if "email" not in columns:
        problems.append(Wrong(line, "email", "The first line names the columns, `email` among them."))
    return problems


def _row(line: int, columns: Sequence[str], cells: Sequence[str]) -> tuple[Row, list[Wrong]]:
    """A record's user, and what is wrong with it."""
    wrong: list[Wrong] = []
    if len(cells) > len(columns):
        wrong.append(Wrong(line, "", f"It has {len(cells)} cells, and there are {len(columns)} columns."))
    given = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
    problems = Problems()
    email = inputs.check_email(given.get("email", ""), problems, "email")
    name = given.get("name") or email.partition("@")[0][:64]
    name = inputs.check_person(name, problems, "name", required=True)
    full_name = inputs.check_person(given.get("full_name", ""), problems, "full_name")
    description = inputs.check_description(given.get("description", ""), problems, "description")
    for column in ("name", "full_name", "description"):
        if _FORMULA.match(given.get(column, "")):
            problems.add(column, "A spreadsheet would take it for a formula; begin with another character.")
    role = (given.get("role") or "USER").upper()
    if role not in RANK:
        problems.add("role", f"One of {', '.join(RANK)}.")
    password = given.get("password") or None
    if password is not None:
        passwords.check(password, problems, "password")
    names = [part for part in _SEPARATORS.split(given.get("groups", "")) if part]
    wrong += [Wrong(line, column, message) for column, message in problems.fields]
    row = Row(
        line=line,
        email=email,
        name=name,
        full_name=full_name,
        description=description,
        role=role,
        group_names=list(dict.fromkeys(names)),
        policy_name=given.get("policy", ""),
        password=password,
    )
    return row, wrong
