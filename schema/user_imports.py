"""Users from a CSV file."""

from enum import Enum

import strawberry

from schema.fields import said
from schema.tasks import Task
from schema.users import Role, User
from services import imports, user_files


@strawberry.enum(description="What is done with a row of an imported file.")
class ImportAction(Enum):
    CREATE = strawberry.enum_value("CREATE", description="A user is made.")
    SKIP = strawberry.enum_value("SKIP", description="There is such a user already, and it stays as it is.")


@strawberry.input(description="Users to be made from a CSV file.")
class ImportUsersInput:
    domain_id: strawberry.ID = said("The domain that they belong to.")
    csv: str = said(
        "A first line with the columns `email`, `name`, `full_name`, `description`, `role`, `groups`, `policy`, `password`, "
        "of which only `email` has to be there, and at most 1000 users. Groups are names, separated by blanks or semicolons."
    )
    dry_run: bool = said("Only say what would happen, and all that is wrong.", default=False)
    skip_existing: bool = said(
        "Leave users alone whose address is there already; else such a row is wrong.", default=False
    )
    generate_passwords: bool = said(
        "Make up a password, to be changed at the first login, for each who has none in the file; "
        "else they choose one by a link.",
        default=False,
    )
    mail_links: bool = said("Mail the links to choose a password, instead of answering them.", default=False)


@strawberry.type(description="What is wrong with a cell of an imported file.")
class ImportProblem:
    line: int = said("The line of the file, from 1; 0: the file as a whole.")
    column: str = said("The column; empty: the line as a whole.")
    message: str = said("What is wrong, and what would be right.")


@strawberry.type(description="A row of an imported file, and what is done with it.")
class ImportedUser:
    line: int = said("The line of the file.")
    action: ImportAction = said("What is done, or would be.")
    email: str = said("The address, as it is kept.")
    name: str = said("User name.")
    full_name: str = said("Full name.")
    role: Role | None = said("What they may do; null when what the file says is no role.")
    group_names: list[str] = said("Groups that they are made members of.")
    user: User | None = said("The new user; null in a dry run, and when none was made.")
    password: str | None = said("The password that was made up. It is shown this once; null: there is none.")
    password_link: str | None = said(
        "With which the user chooses a password. It is shown this once; null in a dry run, or when there is a password."
    )

    @classmethod
    def of(cls, row: user_files.Row, welcome: str) -> "ImportedUser":
        made = row.user is not None
        return cls(
            line=row.line,
            action=ImportAction.SKIP if row.skipped else ImportAction.CREATE,
            email=row.email,
            name=row.name,
            full_name=row.full_name,
            role=Role(row.role) if row.role in Role.__members__ else None,
            group_names=list(row.group_names),
            user=User.of(row.user) if row.user is not None else None,
            password=row.password if made and row.generated else None,
            password_link=f"{welcome}{row.ticket}" if row.ticket else None,
        )


@strawberry.type(description="What was done with a file of users, or would be.")
class ImportUsersPayload:
    done: bool = said("False: it was a dry run, and nothing was made; or `task` is to make them.")
    task: Task | None = said(
        "What makes the users of a file with more than 50 passwords, all of them or none; null: nothing is left to do."
    )
    problems: list[ImportProblem] = said(
        "What is wrong, in the order of lines; only of a dry run, else it is an error."
    )
    users: list[ImportedUser] = said("Each row.")

    @classmethod
    def of(cls, found: imports.Import, welcome: str) -> "ImportUsersPayload":
        return cls(
            done=found.done,
            task=None if found.task is None else Task.of(found.task),
            problems=[
                ImportProblem(line=one.line, column=one.column, message=one.message) for one in found.problems
            ],
            users=[ImportedUser.of(row, welcome) for row in found.rows],
        )
