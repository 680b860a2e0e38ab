"""The local ClickHouse with roles: `python -m tests.support.roles_gateway --path DIR --port PORT`.

The engine reads the statements of `plan --roles` from a configuration file; each request runs in the role named like
its user. `default` has all privileges.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

from urllib3.exceptions import HTTPError

from barograph_server.local import engine, http_gateway
from barograph_server.local.child_process import choose_port
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.roles import ROLES, Role, statements
from tests.support.http import request
from tests.support.limited_engine import write_users
from tests.support.pipeline import ROOT, wait_for

ADMIN = "default"
_ROLE = "role of the request"


def write_config(folder: Path, database: str, configured: Sequence[Role] = ROLES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    roles = {"everything": ["GRANT ALL ON *.*"]}
    for role, those in statements(database, configured):
        roles[role.name] = [each.rpartition(" TO ")[0] for each in those if each.startswith("GRANT ")]
    elements = "".join(f"<{name}>{_grants(those)}</{name}>" for name, those in roles.items())
    granted = _grants([f"GRANT {name}" for name in roles])
    return write_users(folder, "default", f"<profiles><default/></profiles><roles>{elements}</roles>", granted)


def _grants(those: list[str]) -> str:
    return "<grants>" + "".join(f"<query>{escape(each)}</query>" for each in those) + "</grants>"


@contextmanager
def roles_gateway(folder: Path, host: str, database: str, roles: Sequence[Role] = ROLES) -> Iterator[Address]:
    write_config(folder, database, roles)
    address = Address(host, choose_port(), database)
    words = [sys.executable, "-m", "tests.support.roles_gateway", f"--path={folder}", f"--port={address.port}"]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (folder / "gateway.log").read_text()
        try:
            return request("GET", f"http://{address}/ping", timeout_s=5).status == 200
        except HTTPError:
            return False

    wait_for(answers, "the guarded engine", 60)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(60)


def as_role(address: Address, role: str, database: str | None = None, *, create: bool = False) -> Client:
    return connect(Address(address.host, address.port, database or address.database, role), create=create)


class RoleEngine(engine.Engine):
    def __init__(self, path: Path, options: Mapping[str, int | str] = engine.ENGINE_OPTIONS) -> None:
        super().__init__(path, {**options, "config-file": str(path / "config.xml")})

    def execute(self, request: engine.Request) -> engine.Reply:
        settings = dict(request.settings)
        role = settings.pop(_ROLE)
        session = engine._Session(self._address, is_kept=False)
        try:
            try:
                session._run(f"SET ROLE {role}")
            except Exception as error:
                raise engine.EngineError.from_engine(error) from error
            return session.execute(dataclasses.replace(request, settings=settings))
        finally:
            session.close()


class RoleHandler(http_gateway._Handler):
    def _authenticate(self, arguments: Mapping[str, str]) -> str:
        return self._credentials()[0]

    def _request(self, arguments: dict[str, str], body: bytes, *, read_only: bool) -> engine.Request:
        user = self._authenticate(arguments)
        request = super()._request(arguments, body, read_only=read_only)
        role = "everything" if user == ADMIN else user
        return dataclasses.replace(request, settings={**request.settings, _ROLE: role})


if __name__ == "__main__":
    vars(http_gateway).update(Engine=RoleEngine, _Handler=RoleHandler)
    sys.exit(http_gateway.main())
