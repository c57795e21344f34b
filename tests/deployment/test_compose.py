"""What compose starts is confined, waits for its stores, and is reached by this machine only."""

import os
import re
import subprocess

import pytest
import yaml
from running import make
from settings_source import CLOSE_SECONDS, settings_defaults


@pytest.fixture
def services(project):
    return yaml.safe_load((project / "compose.yaml").read_text())["services"]


def test_every_container_is_confined(services):
    assert set(services) == {"service", "caddy", "prometheus", "grafana", "redis", "postgres"}
    for name, service in services.items():
        # Into Prometheus' root compose writes the secret.
        assert service["read_only"] is (name != "prometheus")
        assert service["cap_drop"] == ["ALL"]
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "${COMPOSE_RESTART:-on-failure:5}"
        assert service["pids_limit"] > 0
        assert service["cpus"] > 0
        assert service["memswap_limit"] == service["mem_limit"]
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


def test_stores_are_healthy_first_and_reached_by_the_service_only(project, services):
    networks = yaml.safe_load((project / "compose.yaml").read_text())["networks"]
    for store in ("redis", "postgres"):
        assert services["service"]["depends_on"][store] == {"condition": "service_healthy"}
        assert "healthcheck" in services[store]
        assert "ports" not in services[store]
        (network,) = services[store]["networks"]
        assert networks[network]["internal"] is True


def test_the_public_port_is_open_to_this_machine_only(services):
    assert all(port.startswith("127.0.0.1:") for port in services["service"]["ports"])


def test_a_password_of_any_characters_stands_in_no_url(services):
    environment = services["service"]["environment"]
    assert environment["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert "PASSWORD" not in environment["DATABASE_URL"]


def test_caddy_is_there_when_asked_for_and_then_alone_open_to_all(services):
    assert services["caddy"]["profiles"] == ["caddy"]
    assert "0.0.0.0:443:443/udp" in services["caddy"]["ports"]
    assert services["caddy"]["networks"] == ["front"]


def test_prometheus_is_there_when_asked_for_and_reads_the_admin_port_with_its_token(
    project, services
):
    assert services["prometheus"]["profiles"] == ["prometheus", "grafana"]
    assert all(port.startswith("127.0.0.1:") for port in services["prometheus"]["ports"])
    (secret,) = services["prometheus"]["secrets"]
    config = yaml.safe_load((project / "deploy/prometheus/prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert job["static_configs"] == [{"targets": ["service:9100"]}]


def test_prometheus_refuses_to_run_where_it_would_see_nothing(services, tmp_path):
    shell, flag, script, name = services["prometheus"]["entrypoint"]
    token = tmp_path / "token"
    program = tmp_path / "prometheus"
    program.write_text('#!/bin/sh\necho "runs $@"\n')
    program.chmod(0o755)
    script = script.replace("/run/secrets/admin_token", str(token)).replace("$$", "$")

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shell, flag, script, name, "--one", "--two"],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    token.touch()
    refused = start()
    assert refused.returncode == 1
    assert refused.stderr.startswith("ADMIN_TOKEN is not set")
    token.write_text("t" * 32)
    assert start().stdout == "runs --one --two\n"


def test_grafana_is_there_when_asked_for_and_nobody_can_change_anything(project, services):
    grafana = services["grafana"]
    assert grafana["profiles"] == ["grafana"]
    assert all(port.startswith("127.0.0.1:") for port in grafana["ports"])
    assert grafana["depends_on"] == {"prometheus": {"condition": "service_healthy"}}
    environment = grafana["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"

    mounted = dict(volume.removesuffix(":ro").split(":") for volume in grafana["volumes"])
    provisioning = project / "deploy" / "grafana" / "provisioning"
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/boards.yaml").read_text())["providers"]
    assert provider["options"]["path"] == mounted["./deploy/grafana/boards"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{provider['options']['path']}/")
    assert (project / "deploy/grafana/boards" / home.rsplit("/", 1)[1]).is_file()

    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    config = yaml.safe_load((project / "deploy/prometheus/prometheus.yaml").read_text())
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]


def test_the_admin_port_is_open_to_others_only_with_a_token(services):
    environment = services["service"]["environment"]
    assert environment["ADMIN_HOST"] == "${ADMIN_TOKEN:+0.0.0.0}"
    assert environment["ADMIN_TOKEN"] == "${ADMIN_TOKEN:-}"


OF_THE_CONTAINER = {
    "ENVIRONMENT": "production",
    "DEBUG": "false",
    "HOST": "0.0.0.0",
    "PORT": 8000,
    "ADMIN_PORT": 9100,
    "WORKERS": 0,
    "PROFILE_FOLDER": "",
    "REDIS_URL": "redis://redis:6379/0",
    "DATABASE_URL": "postgresql://service@postgres:5432/service",
    "GRACE_PERIOD_SECONDS": 35,
}
FILES = {f"{name}_FILE" for name in ("SECRET_KEY", "REDIS_URL", "DATABASE_URL", "ADMIN_TOKEN")}
"""What a developer's file may name, of his machine; a name beside its file is refused."""


def test_settings_of_ones_own_reach_the_container_from_a_file_that_may_be_missing(services):
    assert services["service"]["env_file"] == [{"path": ".env", "required": False}]


def test_what_a_developer_has_in_the_file_changes_nothing_that_the_container_decides(
    project, services
):
    file = dict.fromkeys([*settings_defaults(project), "GREETING"], "of the developer")
    # As Compose merges: of two, `environment` wins, which reads the file by ${…} only.
    merged = file | services["service"]["environment"]
    assert {name: merged[name] for name in OF_THE_CONTAINER} == OF_THE_CONTAINER
    assert merged["GREETING"] == merged["RATES_URL"] == "of the developer"
    secrets = [name for name in services["service"]["environment"] if f"{name}_FILE" in FILES]
    assert len(secrets) == len(FILES)
    for name, value in services["service"]["environment"].items():
        if name in FILES:
            assert value == ""
            continue
        assert value == OF_THE_CONTAINER.get(name, value)
        assert name in OF_THE_CONTAINER or str(value).startswith("${")
    page = (project / "docs" / "deployment.md").read_text()
    assert all(f"`{name}`" in page for name in OF_THE_CONTAINER)


def test_a_secret_key_must_be_given(services):
    assert services["service"]["environment"]["SECRET_KEY"].startswith("${SECRET_KEY:?")


def test_the_grace_period_of_compose_covers_drain_and_closing(project):
    service = yaml.safe_load((project / "compose.yaml").read_text())["services"]["service"]
    grace = float(service["stop_grace_period"].removesuffix("s"))
    drain = settings_defaults(project)["TIMEOUT_DRAIN_SECONDS"]
    assert grace >= drain + CLOSE_SECONDS + 2
    assert service["environment"]["GRACE_PERIOD_SECONDS"] == grace


@pytest.fixture
def up(project, tmp_path):
    """Run `make up` with a docker that does nothing; return the hops it wrote, and the file."""
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    dotenv = project / ".env"

    def up(text: str | None = None, **variables: object) -> tuple[str, dict[str, str]]:
        dotenv.unlink(missing_ok=True)
        if text is not None:
            dotenv.write_text(text)
        done = make(project, "up", PATH=f"{tmp_path}:{os.environ['PATH']}", **variables)
        assert done.returncode == 0, done.stderr
        lines = dotenv.read_text().splitlines() if dotenv.exists() else []
        given = dict(line.split("=", 1) for line in lines if "=" in line)
        written = lines[len((text or "").splitlines()) :]
        return "1" if "TRUSTED_PROXY_HOPS=1" in written else "", given

    yield up
    dotenv.unlink(missing_ok=True)


@pytest.mark.parametrize("target", ["up", "down"])
def test_a_start_that_fails_shows_the_logs_and_stopping_needs_no_secret(project, tmp_path, target):
    said = tmp_path / "said"
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "${{SECRET_KEY:-unset}} $*" >> "{said}"\n[ "$2" != up ]\n')
    docker.chmod(0o755)
    variables = {"SECRET_KEY": "k"} if target == "up" else {}
    done = make(project, target, PATH=f"{tmp_path}:{os.environ['PATH']}", **variables)
    if target == "up":
        up, logs = said.read_text().splitlines()
        assert (up, logs) == ("k compose up --build --wait", "k compose logs --tail 20")
        assert done.returncode != 0
    else:
        # Compose reads its file for this too, which asks for a key.
        assert said.read_text() == "none compose --profile * down\n"
        assert done.returncode == 0


def test_secrets_are_added_to_what_stands_in_the_file(up):
    _, given = up("RATES_URL=http://rates")  # without an end of its line
    assert given["RATES_URL"] == "http://rates"
    assert len(given["SECRET_KEY"]) == 64
    assert "ADMIN_TOKEN" not in given
    assert up("SECRET_KEY=kept\n")[1] == {"SECRET_KEY": "kept"}
    assert up(SECRET_KEY="of the shell")[1] == {}


@pytest.mark.parametrize(
    "line",
    [
        *("export SECRET_KEY=kept", " SECRET_KEY = kept", "SECRET_KEY='kept' # of the team"),
        *("SECRET_KEY=\nSECRET_KEY=kept", 'export  SECRET_KEY="kept"'),
    ],
)
def test_a_secret_that_stands_in_the_file_in_any_dialect_is_kept(project, up, line):
    up(f"{line}\n")
    assert (project / ".env").read_text() == f"{line}\n"


def test_a_secret_in_a_file_of_its_own_is_asked_for_and_no_other_is_made(project, up):
    line = "SECRET_KEY_FILE=/run/key\n"
    with pytest.raises(AssertionError, match=r'export SECRET_KEY="\$\(cat /run/key\)"'):
        up(line)
    assert (project / ".env").read_text() == line
    up(line, SECRET_KEY="of the shell")
    assert (project / ".env").read_text() == line


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        ("export COMPOSE_PROFILES=caddy\n", "1"),
        ("COMPOSE_PROFILES=caddy # a front\n", "1"),
        ("COMPOSE_PROFILES=grafana, caddy\n", "1"),
        ("COMPOSE_PROFILES=caddy\nexport TRUSTED_PROXY_HOPS=2\n", ""),
        ("COMPOSE_PROFILES=caddy\nTRUSTED_PROXY_HOPS = 2\n", ""),
        ("# COMPOSE_PROFILES=caddy\n", ""),
        ("NO_COMPOSE_PROFILES=caddy\n", ""),
    ],
)
def test_a_profile_that_stands_in_the_file_in_any_dialect_counts(up, text, hops):
    assert up(f"SECRET_KEY=kept\n{text}")[0] == hops


@pytest.mark.parametrize("where", ["shell", "file"])
def test_profiles_count_wherever_they_are_chosen(up, where):
    def chosen(profiles: str, text: str = "") -> tuple[str, dict[str, str]]:
        if where == "shell":
            return up(text, COMPOSE_PROFILES=profiles)
        return up(f'{text}COMPOSE_PROFILES="{profiles}"\n')

    hops, given = chosen("caddy,grafana")
    assert (hops, len(given["ADMIN_TOKEN"])) == ("1", 64)
    assert chosen("prometheus")[0] == ""
    assert chosen("caddy", "TRUSTED_PROXY_HOPS=2\n")[0] == ""  # compose reads it there


def test_hops_of_the_shell_go_before_what_caddy_takes(up):
    assert up("SECRET_KEY=kept\n", COMPOSE_PROFILES="caddy", TRUSTED_PROXY_HOPS=2)[0] == ""


def test_what_compose_reads_from_the_file_is_no_unknown_setting(project):
    text = (project / "compose.yaml").read_text()
    names = set(re.findall(r"\$\{([A-Z_]+)", text))
    source = (project / "src" / "service" / "settings.py").read_text()
    [others] = re.findall(r"of_others\b.*frozenset\(\{(.*)\}\)", source)
    known_anyway = {name for name in names if name.startswith(("POSTGRES_", "COMPOSE_"))}
    assert names - settings_defaults(project).keys() - known_anyway == {
        name.strip('" ') for name in others.split(",")
    }
