"""A Python that is newer than ours, for a peer that needs one."""

import shutil
import subprocess
from pathlib import Path

NEWER = ("python3.13", "python3.12", "python3.14")
RELEASE = "trixie"  # Debian's, that has the first of them
PACKAGES = ("python3.13-minimal", "libpython3.13-stdlib", "libstdc++6")
SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
CODENAME = "VERSION_CODENAME="


class Missing(Exception):
    """Why a peer cannot be measured here, in a sentence."""


def newer_python(folder: Path) -> list[str]:
    """The command of one: what is on the PATH, or else, on an older Debian, the next release's, unpacked in `folder`.

    That one is started by its own loader, and touches nothing of the system. Raises Missing.
    """
    for name in NEWER:
        if (found := shutil.which(name)) and works(found):
            return [found]
    if not list(folder.glob("usr/bin/python3.*")):
        unpack(folder)
    [libraries] = [path.parent for path in folder.glob("usr/lib/*/libc.so.6")]
    [loader] = libraries.glob("ld-linux*.so.*")
    return [str(loader), "--library-path", str(libraries), str(folder / "usr/bin" / NEWER[0])]


def works(python: str) -> bool:
    """A version manager has commands of all names, of which some say only that there is no such version."""
    return not subprocess.run([python, "-c", "import ssl"], capture_output=True, check=False).returncode


def unpack(folder: Path) -> None:
    sources = next((path for path in map(Path, SOURCES) if path.exists()), None)
    if sources is None or not shutil.which("apt-get"):
        raise Missing(f"it needs one of {', '.join(NEWER)}, and this is no Debian to take one from")
    system = Path("/etc/os-release").read_text().splitlines()
    [codename] = [line.removeprefix(CODENAME) for line in system if line.startswith(CODENAME)]
    state = folder / "apt"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    own = state / f"debian{sources.suffix}"
    own.write_text(sources.read_text().replace(codename, RELEASE))
    apt = ["apt-get", "-q", "-o", f"Dir::Etc::SourceList={own}", "-o", "Dir::Etc::SourceParts=/dev/null"]
    apt += ["-o", f"Dir::State={state}", "-o", f"Dir::State::status={state / 'status'}"]
    apt += ["-o", f"Dir::Cache={state}", "-o", "APT::Sandbox::User=root"]
    run([*apt, "update"])
    run([*apt, "install", "-y", "--no-install-recommends", "--download-only", *PACKAGES])
    for package in (state / "archives").glob("*.deb"):
        run(["dpkg-deb", "-x", str(package), str(folder)])


def run(command: list[str]) -> str:
    """What it prints. Raises Missing with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise Missing(f"{' '.join(command[:3])} … failed: {said[:300]}")
    return done.stdout
