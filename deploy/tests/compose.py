"""What a schema cannot say of a compose file: that what it names is there, and that its gates, recorder, indexer and API
find everything that their config files name in what is mounted for them.

compose.py FILE POSTERN     POSTERN checks each config file, with certificates and folders as the services would have them;
                            prints each thing that is wrong; the status is 1 if anything is
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from ruamel.yaml import YAML

path = pathlib.Path(sys.argv[1]).resolve()
postern = sys.argv[2]
file = YAML(typ="safe").load(path)
services, volumes, secrets = (file.get(part) or {} for part in ("services", "volumes", "secrets"))
wrong, used = [], set()


def mounts(service):
    """Source and target of each mount; volumes have a short form (source:target[:mode]) and a long one."""
    for volume in service.get("volumes", []):
        yield (volume["source"], volume["target"]) if isinstance(volume, dict) else volume.split(":")[:2]


def named(name, service):
    """Everything that a service names is declared, or lies there."""
    for source, _ in mounts(service):
        if source.startswith((".", "/")):
            if not (path.parent / source).exists():
                wrong.append(f"{name} mounts {source}, which is not there")
        else:
            used.add(source)
            if source not in volumes:
                wrong.append(f"{name} mounts the volume {source}, which is not declared")
    for secret in service.get("secrets", []):
        if secret not in secrets:
            wrong.append(f"{name} reads the secret {secret}, which is not declared")
    for other, needs in service.get("depends_on", {}).items():
        if other not in services:
            wrong.append(f"{name} waits for {other}, which is no service")
        elif needs["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            wrong.append(f"{name} waits until {other} is healthy, which never says so")
    build = service.get("build")
    if build and not (path.parent / build["context"] / build["dockerfile"]).exists():
        wrong.append(f"{name} is built from {build['dockerfile']}, which is not there")


def configured(name, service, folder):
    """The config that the service reads passes `config check`, each path in it led to what is mounted there."""
    places = {f"/run/secrets/{secret}": folder / "secrets" / secret for secret in service.get("secrets", [])}
    config = None
    for source, target in mounts(service):
        if target == service["command"][-1]:
            config = (path.parent / source).read_text()
        else:
            places[target] = folder / source
    if config is None:
        wrong.append(f"{name} has no config file at {service['command'][-1]}")
        return
    for place in sorted(places, key=len, reverse=True):
        config = re.sub(f"{re.escape(place)}(?=[/\"])", str(places[place]), config)
    for lost in re.findall(r'"(?:file://)?(/[^"]*)"', config):
        if not lost.startswith(str(folder)):
            wrong.append(f"{name}: {lost} in its config lies in nothing that is mounted")
    written = folder / f"{name}.toml"
    written.write_text(config)
    environment = {**os.environ, **service.get("environment", {})}
    check = [postern, "--config", written, "config", "check"]
    done = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        wrong.append(f"{name}: {done.stdout}{done.stderr}".strip())


with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    for folder in [*volumes, "secrets"]:
        (scratch / folder).mkdir()
    for secret in secrets:
        (scratch / "secrets" / secret).write_text("secret\n")
        (scratch / "secrets" / secret).chmod(0o600)
    subprocess.run(["bash", path.parent / "config/certificates.sh", scratch / "certificates"], check=True)
    for name, service in services.items():
        named(name, service)
        if service.get("image", "").startswith("postern:"):
            configured(name, service, scratch)
wrong += [f"the volume {volume} is declared and not used" for volume in volumes if volume not in used]

print("\n".join(wrong) or f"compose: {len(services)} services; all that they name is there, their configs hold")
sys.exit(bool(wrong))
